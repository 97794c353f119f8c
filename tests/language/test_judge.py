"""Verdicts: three ways, by whole intervals; and which file ships."""

import pytest

from edgekd.language import judge

LIMITS = {"max_perplexity_ratio": 1.2, "max_token_ms": 2.0, "max_size_bytes": 100.0}


def judged(*, ratio: float = 1.1, spread: float = 0.05, ms: float = 1.0, size: int = 50, limits: object = None):  # type: ignore[no-untyped-def]
    return judge.judge(
        ratio={
            "perplexity_ratio": ratio,
            "perplexity_ratio_low": ratio - spread,
            "perplexity_ratio_high": ratio + spread,
        },
        token={"p50_ms": ms, "p50_low": 0.9 * ms, "p50_high": 1.1 * ms},
        size_bytes=size,
        limits=LIMITS if limits is None else limits,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "pass"),
        ({"ratio": 1.18}, "inconclusive"),
        ({"ratio": 1.3}, "fail"),
        ({"ms": 1.9}, "inconclusive"),
        ({"ms": 3.0}, "fail"),
        ({"size": 101}, "fail"),
        ({"ratio": 1.18, "ms": 3.0}, "fail"),
        ({"limits": {}}, "inconclusive"),
    ],
)
def test_only_a_whole_interval_inside_the_limit_passes(changes: dict[str, float], verdict: str) -> None:
    assert judged(**changes).verdict == verdict


def test_what_is_not_bounded_is_inconclusive() -> None:
    ratio = {"perplexity_ratio": 1.0, "perplexity_ratio_low": None, "perplexity_ratio_high": None}
    found = judge.judge(ratio=ratio, token={}, size_bytes=1, limits={"max_perplexity_ratio": 1.2})
    assert found.verdict == "inconclusive"


def test_the_fastest_of_the_best_ships_and_the_others_say_why_not() -> None:
    gates = {"fp32": judged(), "int8": judged(ratio=1.12), "int4": judged(ratio=1.5)}
    sizes = {"fp32": 400, "int8": 100, "int4": 50}
    chosen = judge.choose(gates, token_ms={"fp32": 1.0, "int8": 0.8, "int4": 0.5}, size_bytes=sizes)
    assert chosen.name == "int8"
    assert chosen.reasons["fp32"] == "1.25x the time of int8 a token"
    assert chosen.reasons["int4"] == "1 of 3 limits fail: max_perplexity_ratio"


def test_of_files_as_fast_the_smallest_ships() -> None:
    gates = {"fp32": judged(), "int8": judged()}
    chosen = judge.choose(gates, token_ms={"fp32": 1.0, "int8": 1.015}, size_bytes={"fp32": 400, "int8": 100})
    assert chosen.name == "int8"
    assert chosen.reasons["fp32"] == "as fast as int8, 4.00x its size"
