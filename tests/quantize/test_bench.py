"""The bench runs a network once for all its ranges, keeps one file a variant and writes down what everything cost."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekd.errors import BadInputError
from edgekd.progress import Progress
from edgekd.quantize.bench import Bench, Candidate, finite_and_different
from edgekd.quantize.prepare import prepare
from edgekd.quantize.probe import Probes
from edgekd.quantize.scheme import METHODS, Scheme
from edgekd.quantize.tune import _faster
from edgekd.quantize.write import is_quantized, quantizable

from .small_nets import CPU, mixed, samples

X = samples(40)
MakeBench = Callable[..., Bench]


class Clock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def make(tmp_path: Path) -> MakeBench:
    """A bench with a small network; `said` gets its progress."""

    def make(
        *, budget: float = 60.0, clock: Callable[[], float] | None = None, said: list[Progress] | None = None
    ) -> Bench:
        (tmp_path / "bench").mkdir()
        prepared = prepare(mixed(tmp_path / "fp32.onnx"), tmp_path)
        return Bench(
            prepared.path,
            X,
            Probes(prepared.path, X, CPU, labels=None),
            CPU,
            input_name=prepared.input_name,
            metadata={"author": "me"},
            folder=tmp_path / "bench",
            budget_seconds=budget,
            max_memory_bytes=None,
            listener=([] if said is None else said).append,
            clock=clock or Clock(),
        )

    return make


def built(bench: Bench, variant: str = "int8-u8s8", scheme: Scheme | None = None) -> Candidate:
    found = bench.build(variant, scheme or Scheme(), ratio=0.5)
    assert isinstance(found, Candidate), found
    return found


def test_a_candidate_is_a_file_with_its_probe_and_the_network_s_own_metadata(make: MakeBench) -> None:
    found = built(make())
    assert found.probe.ratio == 0.5 and found.probe.sqnr_db > 20
    assert found.sentence() == Scheme().sentence()
    assert [(e.key, e.value) for e in onnx.load(str(found.path)).metadata_props] == [("author", "me")]


def test_a_converted_candidate_says_how_it_is_made_and_keeps_the_metadata(make: MakeBench) -> None:
    found = make().build("fp16", None, ratio=1.0)
    assert isinstance(found, Candidate)
    assert found.sentence() == "16-bit floats inside, 32-bit inputs and outputs"
    assert [e.key for e in onnx.load(str(found.path)).metadata_props] == ["author"]


def test_the_network_runs_once_for_all_methods(make: MakeBench) -> None:
    said: list[Progress] = []
    bench = make(said=said)
    for method in METHODS:
        found = bench.ranges(bench.prepared, method)
        assert all(low <= 0 <= high for low, high in found.values())
    assert sum(progress.stage == "calibrate" and progress.done == 0 for progress in said) <= 1
    assert bench.ranges(bench.prepared, "minmax") != bench.ranges(bench.prepared, "mse")


def test_ranges_of_a_network_that_differs_in_its_biases_are_those_of_the_original(make: MakeBench) -> None:
    bench = make()
    other = bench.save(onnx.load(str(bench.prepared)), "corrected")
    bench.ranges(bench.prepared, "minmax")
    bench.same_ranges(other, bench.prepared)
    assert bench.ranges(other, "minmax") == bench.ranges(bench.prepared, "minmax")


def test_only_the_best_file_of_a_variant_stays(make: MakeBench) -> None:
    bench = make()
    first = built(bench)
    bench.keep(first)
    bench.note("variants", "int8-u8s8", "a", kept=True, reason="b", probe=first.probe)
    second = built(bench, scheme=Scheme(method="mse"))
    assert second.path != first.path
    bench.keep(second)
    bench.note("ranges", "int8-u8s8", "a", kept=True, reason="b")
    third = built(bench)
    bench.drop(third)
    assert list(bench.folder.glob("*.onnx")) == [second.path]
    assert bench.best == {"int8-u8s8": second}


def test_what_cannot_be_built_is_told_in_one_line_and_leaves_no_file(make: MakeBench) -> None:
    bench = make()
    bench.probes.inputs = bench.probes.inputs[:, :3]
    found = bench.build("int8-u8s8", Scheme(), ratio=0.5)
    assert isinstance(found, str) and "\n" not in found and "cannot run the model" in found
    assert not list(bench.folder.glob("*.onnx"))


def test_every_try_costs_the_time_since_the_one_before(make: MakeBench) -> None:
    clock = Clock()
    bench = make(clock=clock)
    for seconds in (2.0, 0.5):
        clock.now += seconds
        bench.note("ranges", "int8-u8s8", "mse", kept=False, reason="no gain")
    assert [decision.seconds for decision in bench.decisions] == [2.0, 0.5]
    assert bench.decisions[0].ratio is None


def test_the_time_is_up_when_it_is_used_and_that_is_remembered(make: MakeBench) -> None:
    clock = Clock()
    bench = make(budget=10, clock=clock)
    clock.now += 9
    assert bench.left() == 1 and not bench.out_of_time
    clock.now += 2
    assert bench.left() == 0 and bench.out_of_time


def test_progress_is_the_share_of_the_budget_and_never_more(make: MakeBench) -> None:
    clock, said = Clock(), list[Progress]()
    bench = make(budget=10, clock=clock, said=said)
    for _ in range(3):
        clock.now += 4
        bench.say("mse")
    assert [(progress.done, progress.total) for progress in said] == [(4, 10), (8, 10), (10, 10)]


@pytest.mark.parametrize("count", [0, 1, 20])
def test_calibration_data_without_variety_is_refused(count: int) -> None:
    with pytest.raises(BadInputError, match=rf"has {count} sample\(s\), all equal"):
        finite_and_different(np.repeat(X[:1], count, axis=0))
    finite_and_different(X[:2])


def test_a_change_that_would_leave_nothing_in_int8_is_refused_however_fast(make: MakeBench) -> None:
    bench = make()
    first = built(bench)
    bench.keep(replace(first, probe=replace(first.probe, ratio=1e9)))
    bench.note("variants", "int8-u8s8", "its first file", kept=True, reason="")
    _faster(bench, "nodes", bench.best["int8-u8s8"], Scheme(exclude=tuple(sorted(quantizable(first.fp32)))))
    assert bench.decisions[-1].reason == "nothing would be left in int8" and not bench.decisions[-1].kept
    assert is_quantized(first.path)
