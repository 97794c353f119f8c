"""The verdict on two files from raw cycles: three-way, from samples alone, and never a pass from too little."""

from typing import Any

import numpy as np
import pytest

from edgekd.cycles import spent
from edgekd.errors import BadInputError
from edgekd.versus import judge, look

SOURCES = {"max_regression": "given", "max_p90_regression": "given"}


def raw(ratio: float, *, cycles: int = 12, noise: float = 0.01, seed: int = 0, tail: float = 1.0) -> dict[str, Any]:
    """Cycles of 20 samples of about a millisecond; the new file's take `ratio` times as long, the last four `tail`."""
    rng = np.random.default_rng(seed)

    def block(scale: float, slow: float) -> list[int]:
        samples = 1e6 * scale * np.exp(rng.normal(0, noise, 20))
        samples[-4:] *= slow
        return [int(ns) for ns in samples]

    return {"cycles": [{"new": block(ratio, tail), "base": block(1, 1), "new_first": True} for _ in range(cycles)],
            "constant": {"new": False}}  # fmt: skip


@pytest.mark.parametrize(
    ("ratio", "verdict"), [(0.5, "pass"), (1.0, "pass"), (1.05, "inconclusive"), (1.1, "fail"), (2.0, "fail")]
)
def test_the_ratio_s_whole_interval_decides(ratio: float, verdict: str) -> None:
    measured, gate = judge(raw(ratio), limits={"max_regression": 0.05}, sources=SOURCES)
    assert gate.verdict == verdict
    (check,) = gate.checks
    assert (check.unit, check.limit, check.metric) == ("x", 1.05, "ratio_p50")
    assert check.low is not None and check.high is not None and check.value is not None
    assert check.low < check.value < check.high
    assert measured["ratio_p50"] == pytest.approx(ratio, rel=0.02)
    assert measured["new_p50_ms"] == pytest.approx(ratio, rel=0.02)


def test_a_file_may_be_asked_to_be_faster() -> None:
    assert judge(raw(0.7), limits={"max_regression": -0.2}, sources=SOURCES)[1].verdict == "pass"
    assert judge(raw(0.9), limits={"max_regression": -0.2}, sources=SOURCES)[1].verdict == "fail"


def test_a_slow_tail_fails_only_the_limit_of_the_tail() -> None:
    limits = {"max_regression": 0.05, "max_p90_regression": 0.05}
    _, gate = judge(raw(1.0, tail=1.5, cycles=18), limits=limits, sources=SOURCES)
    assert {check.name: check.verdict for check in gate.checks} == {
        "max_regression": "pass",
        "max_p90_regression": "fail",
    }
    assert gate.verdict == "fail"


def test_fewer_than_eight_cycles_are_inconclusive_and_say_how_many_are_needed() -> None:
    measured, gate = judge(raw(1.0, cycles=7), limits={"max_regression": 0.05}, sources=SOURCES)
    assert gate.verdict == "inconclusive"
    assert "7 cycles; at least 8 are needed" in gate.checks[0].note
    assert measured["ratio_p50"] is None


def test_each_look_spends_error_and_all_looks_together_no_more_than_a_fortieth() -> None:
    looks = [8, 12, 18, 27, 40, 60, 90, 135, 202, 303]
    assert [spent(n) for n in looks] == pytest.approx([0.025 / (k * (k + 1)) for k in range(1, 11)])
    assert spent(9) == spent(12)
    assert sum(spent(n) for n in looks) < 0.025


def test_two_limits_share_the_error_so_each_interval_is_wider() -> None:
    one = judge(raw(1.0), limits={"max_regression": 0.05}, sources=SOURCES)[0]
    two = judge(raw(1.0), limits={"max_regression": 0.05, "max_p90_regression": 0.05}, sources=SOURCES)[0]
    assert two["error"] == pytest.approx(one["error"] / 2)  # type: ignore[operator]
    assert two["ratio_p50_high"] > one["ratio_p50_high"]  # type: ignore[operator]


def test_a_constant_output_fails_however_fast_it_is() -> None:
    found = raw(0.1) | {"constant": {"new": True, "base": False}}
    _, gate = judge(found, limits={"max_regression": 0.05}, sources=SOURCES)
    assert gate.verdict == "fail"
    assert [check.name for check in gate.checks if check.verdict == "fail"] == ["min_different_outputs"]


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"cycles": []},
        {"cycles": [1]},
        {"cycles": [{"new": [1]}]},
        {"cycles": [{"new": [], "base": [1]}]},
        {"cycles": [{"new": [0], "base": [1]}]},
        {"cycles": [{"new": [-5], "base": [1]}]},
        {"cycles": [{"new": [True], "base": [1]}]},
        {"cycles": [{"new": [1.5], "base": [1]}]},
        {"cycles": [{"new": ["1"], "base": [1]}]},
    ],
)
def test_what_holds_no_samples_is_no_measurement(broken: dict[str, Any]) -> None:
    with pytest.raises(BadInputError, match="measure again"):
        judge(broken, limits={"max_regression": 0.05}, sources=SOURCES)


def test_a_look_says_whether_the_verdict_is_clear_and_how_it_stands() -> None:
    from edgekd.timing import Cycle

    def seen(ratio: float) -> tuple[bool, str]:
        cycles = [Cycle(new=tuple(c["new"]), base=tuple(c["base"]), first=True) for c in raw(ratio)["cycles"]]
        return look(cycles, limits={"max_regression": 0.05})

    assert seen(1.0)[0] and seen(1.2)[0] and not seen(1.05)[0]
    assert "12 cycles" in seen(1.0)[1] and "p50 1.0" in seen(1.0)[1]
