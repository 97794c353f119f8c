"""Absolute limits by how many inferences were late, beside the reference workload."""

from typing import Any

import numpy as np
import onnx
import pytest

from edgekd import budget, result
from edgekd.budget.reference import REFERENCE_SHA256
from edgekd.errors import BadInputError
from edgekd.files import sha256

SOURCES = dict.fromkeys(budget.LIMITS, "given")


def raw(blocks: list[list[float]], *, reference: float = 0.25, **more: Any) -> dict[str, Any]:
    """Cycles of so many milliseconds."""
    cycles = [{"new": [round(1e6 * ms) for ms in block], "base": [round(1e6 * reference)] * 8} for block in blocks]
    return {"cycles": cycles, "factor": 1.0, "constant": {"new": False}} | more


def mixed(share_late: float, *, cycles: int = 40, seed: int = 0) -> list[list[float]]:
    """1 ms, but a share that takes 3 ms, spread evenly."""
    rng = np.random.default_rng(seed)
    return [list(np.where(rng.random(20) < share_late, 3.0, 1.0)) for _ in range(cycles)]


@pytest.mark.parametrize(
    ("share_late", "verdict"), [(0.0, "pass"), (0.03, "pass"), (0.1, "inconclusive"), (0.3, "fail"), (1.0, "fail")]
)
def test_a_p90_limit_is_met_when_clearly_less_than_a_tenth_is_late(share_late: float, verdict: str) -> None:
    _, gate = budget.judge(raw(mixed(share_late)), limits={"max_p90_ms": 2.0}, sources=SOURCES)
    assert gate.verdict == verdict


def test_a_p99_takes_hundreds_of_samples_and_says_how_many() -> None:
    measured, gate = budget.judge(raw(mixed(0.0, cycles=8)), limits={"max_p99_ms": 2.0}, sources=SOURCES)
    assert gate.verdict == "inconclusive"
    assert "samples are needed at least" in gate.checks[0].note
    assert measured["p99_ms"] is None
    measured, gate = budget.judge(raw(mixed(0.0, cycles=120)), limits={"max_p99_ms": 2.0}, sources=SOURCES)
    assert gate.verdict == "pass"
    assert measured["p99_ms"] == 1.0


def test_late_inferences_that_come_in_bursts_count_as_fewer_samples() -> None:
    """A tenth less than the limit allows, all of them in few blocks: independent samples would pass."""
    even = [[3.0] + [1.0] * 19 for _ in range(40)]
    bursts = [[3.0] * 20 if i % 20 == 0 else [1.0] * 20 for i in range(40)]
    verdicts = [
        budget.judge(raw(blocks), limits={"max_p90_ms": 2.0}, sources=SOURCES)[1].verdict for blocks in (even, bursts)
    ]
    assert verdicts == ["pass", "inconclusive"]


def test_times_are_normalised_by_the_reference_s_on_the_other_machine() -> None:
    measured, gate = budget.judge(raw(mixed(0.0), factor=2.0), limits={"max_p50_ms": 1.5}, sources=SOURCES)
    assert measured["p50_ms"] == 2.0
    assert measured["reference_p50_ms"] == 0.25
    assert gate.verdict == "fail"


def test_a_machine_that_changed_its_speed_is_noticed_by_the_reference() -> None:
    steady = raw(mixed(0.0))
    assert budget.unsteady(steady) is None
    for cycle in steady["cycles"][20:]:
        cycle["base"] = [ns * 2 for ns in cycle["base"]]
    assert budget.unsteady(steady) == pytest.approx(1.0)


def test_the_reference_workload_is_the_very_file_that_baselines_were_measured_with() -> None:
    assert sha256(budget.REFERENCE) == REFERENCE_SHA256
    onnx.checker.check_model(onnx.load(budget.REFERENCE), full_check=True)
    assert budget.REFERENCE.stat().st_size < 100_000


HERE = {
    "target": {"name": "t", "title": "T", "proxy": True, "sha256": "0"},
    "conditions": {"isa": "avx2", "onnxruntime": "1.32", "provider": "CPU", "options": {"threads": 1}, "batch_size": 1},
}
THERE = HERE | {
    "kind": "latency",
    "metric": "time",
    "base": result.file_facts(budget.REFERENCE),
    "raw": raw(mixed(0.0), reference=0.5),
}


def test_the_reference_s_time_elsewhere_comes_from_its_samples() -> None:
    assert budget.there_ms(THERE, HERE) == 0.5


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "compare"},
        {"metric": "instructions"},
        {"base": {"sha256": "0" * 64}},
        {"base": None},
        {"target": {"name": "other"}},
        {"conditions": HERE["conditions"] | {"isa": "avx512_vnni"}},
        {"conditions": HERE["conditions"] | {"batch_size": 2}},
        {"conditions": HERE["conditions"] | {"options": {"threads": 2}}},
        {"raw": {"cycles": []}},
    ],
)
def test_only_a_like_result_beside_the_same_reference_can_be_normalised_to(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInputError):
        budget.there_ms(THERE | wrong, HERE)


def test_what_another_machine_cannot_tell_exactly_has_to_be_clear_by_that_much() -> None:
    """1 ms, known to 10 %: limits within a tenth of it decide nothing."""
    verdicts = {
        limit: budget.judge(raw(mixed(0.0), floor=0.1), limits={"max_p50_ms": limit}, sources=SOURCES)[1].verdict
        for limit in (0.85, 0.95, 1.05, 1.15)
    }
    assert verdicts == {0.85: "fail", 0.95: "inconclusive", 1.05: "inconclusive", 1.15: "pass"}
