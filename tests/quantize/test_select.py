"""What ships is the fastest of the fittest, the baseline in doubt, and every other one is told why."""

import itertools
from dataclasses import replace

import pytest

from edgekd.quantize import Candidate, Choice, choose


def candidate(name: str, rounds: tuple[float, ...], verdict: str = "pass", p50: float | None = None) -> Candidate:
    failed = () if verdict == "pass" else ("max_top1_drop",)
    middle = sorted(rounds)[len(rounds) // 2] if p50 is None else p50
    return Candidate(name=name, verdict=verdict, p50_ms=middle, round_p50_ms=rounds, failed_checks=failed)


def test_the_faster_variant_ships_and_its_gain_is_said() -> None:
    choice = choose([candidate("fp32", (4, 4, 4)), candidate("int8", (2, 2, 2))])
    assert choice.selected == "int8"
    assert "2.00 times as fast as fp32" in choice.reasons["int8"]
    assert choice.reasons["fp32"] == "2.00 times the latency of int8"


def test_where_int8_is_slower_fp32_ships_and_int8_is_told_by_how_much() -> None:
    choice = choose([candidate("fp32", (2, 2, 2)), candidate("int8", (3, 3, 3))])
    assert choice == Choice(
        selected="fp32",
        reasons={
            "fp32": "no other variant fared as well at the gate and was faster in every round",
            "int8": "1.50 times fp32's latency: not faster in every round",
        },
    )


def test_a_variant_that_lost_one_round_does_not_ship_though_its_pooled_median_is_lower() -> None:
    choice = choose([candidate("fp32", (2.0, 2.0, 2.0)), candidate("int8", (1.5, 2.1, 1.5))])
    assert choice.selected == "fp32"
    assert choice.reasons["int8"] == "0.75 times fp32's latency: not faster in every round"


def test_a_variant_that_won_every_round_but_not_the_pool_does_not_ship() -> None:
    assert choose([candidate("fp32", (2, 2, 2)), candidate("int8", (1, 1, 1), p50=2.5)]).selected == "fp32"


def test_an_equal_variant_does_not_ship() -> None:
    assert choose([candidate("fp32", (2, 2, 2)), candidate("int8", (2, 2, 2))]).selected == "fp32"


def test_the_fastest_of_all_is_left_when_it_fails_the_gate_and_is_told_at_which_limit() -> None:
    candidates = [candidate("fp32", (4, 4)), candidate("u8s8", (1, 1), "fail"), candidate("7bit", (2, 2))]
    choice = choose(candidates)
    assert choice.selected == "7bit"
    assert choice.reasons["u8s8"] == "fail at the gate: max_top1_drop"


def test_a_passing_variant_beats_a_baseline_that_is_too_slow_for_the_gate() -> None:
    choice = choose([candidate("fp32", (4, 4), "fail"), candidate("int8", (2, 2))])
    assert choice.selected == "int8"
    assert choice.reasons["fp32"] == "fail at the gate: max_top1_drop"


def test_a_passing_baseline_beats_a_faster_variant_that_is_inconclusive() -> None:
    choice = choose([candidate("fp32", (4, 4)), candidate("int8", (2, 2), "inconclusive")])
    assert choice.selected == "fp32"
    assert choice.reasons["int8"] == "inconclusive at the gate: max_top1_drop"


def test_when_all_fail_the_fastest_is_shown() -> None:
    rounds = {"fp32": 4, "u8s8": 1, "u8u8": 2}
    choice = choose([candidate(name, (ms, ms), "fail") for name, ms in rounds.items()])
    assert choice.selected == "u8s8"


def test_when_none_passes_the_best_verdict_counts_before_speed() -> None:
    candidates = [
        candidate("fp32", (4, 4), "fail"),
        candidate("a", (1, 1), "fail"),
        candidate("b", (3, 3), "inconclusive"),
    ]
    assert choose(candidates).selected == "b"


def test_a_loser_is_compared_with_the_winner_where_the_baseline_is_out_of_the_race() -> None:
    candidates = [candidate("fp32", (1, 1), "fail"), candidate("a", (2, 2)), candidate("b", (3, 3))]
    choice = choose(candidates)
    assert choice.selected == "a"
    assert choice.reasons["b"] == "1.50 times the latency of a"


def test_a_loser_with_the_lowest_median_is_told_of_the_round_it_lost() -> None:
    candidates = [candidate("fp32", (4, 4, 4)), candidate("a", (3, 3, 3)), candidate("b", (2, 5, 2))]
    choice = choose(candidates)
    assert choice.selected == "a"
    assert choice.reasons["b"] == "0.50 times fp32's latency: not faster in every round"


def test_without_a_baseline_the_fastest_ships() -> None:
    choice = choose([candidate("a", (2, 2), "fail"), candidate("b", (1, 1), "fail")])
    assert choice.selected == "b"
    assert choice.reasons["b"] == "fastest of those that fared best at the gate"


@pytest.mark.parametrize("verdicts", [*itertools.product(("pass", "inconclusive", "fail"), repeat=3)])
def test_what_ships_has_the_best_verdict_and_all_have_a_reason(verdicts: tuple[str, ...]) -> None:
    rank = {"pass": 0, "inconclusive": 1, "fail": 2}
    for order in itertools.permutations((1.0, 2.0, 3.0)):
        candidates = [
            candidate(name, (ms, ms), verdict)
            for name, ms, verdict in zip(("fp32", "a", "b"), order, verdicts, strict=True)
        ]
        choice = choose(candidates)
        fit = [c for c in candidates if rank[c.verdict] == min(rank[v] for v in verdicts)]
        assert choice.selected == min(fit, key=lambda c: c.p50_ms).name
        assert all(choice.reasons[c.name] for c in candidates)


def test_of_two_equally_fast_variants_the_more_accurate_ships() -> None:
    quick = replace(candidate("7bit", (1.99, 1.99)), quality=0.90)
    exact = replace(candidate("u8s8", (2.0, 2.0)), quality=0.91)
    choice = choose([candidate("fp32", (4, 4)), quick, exact])
    assert choice.selected == "u8s8"
    assert choice.reasons["7bit"] == "as fast as u8s8 within 2%, and no more accurate"


def test_a_variant_slower_by_more_than_a_tie_does_not_ship_for_its_accuracy() -> None:
    quick = replace(candidate("7bit", (1.9, 1.9)), quality=0.90)
    exact = replace(candidate("u8s8", (2.0, 2.0)), quality=0.99)
    assert choose([candidate("fp32", (4, 4)), quick, exact]).selected == "7bit"


def test_a_gain_on_fp32_that_is_no_more_than_a_tie_leaves_fp32() -> None:
    assert choose([candidate("fp32", (2.0, 2.0)), candidate("int8", (1.99, 1.99))]).selected == "fp32"
