"""Recovery keeps what helps, in the issue's order, stops at the gate and at the deadline, and tells every attempt."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekd.errors import BadInputError
from edgekd.progress import Progress
from edgekd.quantize.recover import Recovered, Score, correct_biases, equalize, recover

from .networks import quantize, samples, separable, stored

X = samples(40)
LAYERS = {"first", "depthwise", "pointwise", "y"}
Source = Path | onnx.ModelProto


@dataclass
class Bench:
    """Really quantized files, whose drop a test makes up from what is in them; each attempt takes `seconds`."""

    folder: Path
    drop: Callable[[str, frozenset[str]], float]
    seconds: float = 1.0
    left: float = math.inf
    costs: dict[str, float] = field(default_factory=dict)
    made: dict[Path, tuple[str, frozenset[str]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.fp32 = self.folder / "fp32.onnx"
        onnx.save(separable(), str(self.fp32))
        self.original, self.equalised = stored(separable()), stored(equalize(separable()).model)

    def kind(self, source: Source) -> str:
        """What was done to it: e(qualised weights), b(iases corrected)."""
        now = stored(onnx.load(str(source)) if isinstance(source, Path) else source)
        equalised = not np.array_equal(now["w1"], self.original["w1"])
        before = self.equalised if equalised else self.original
        corrected = any(not np.array_equal(now[name], before[name]) for name in ("b1", "b2", "b3", "b4"))
        return "e" * equalised + "b" * corrected

    def rebuild(self, source: Source, exclude: frozenset[str]) -> Path:
        path = quantize(source, self.folder / f"{len(self.made)}.onnx", X, exclude=exclude)
        self.made[path] = (self.kind(source), exclude)
        return path

    def score(self, path: Path) -> Score:
        self.left -= self.seconds
        value = self.drop(*self.made[path])
        return Score(value=value, high=value + 0.001)

    def recover(self, **options: object) -> Recovered:
        return recover(
            self.fp32,
            self.rebuild(self.fp32, frozenset()),
            X,
            input_name="x",
            rebuild=self.rebuild,
            score=self.score,
            within=lambda found: found.high <= 0.01,
            cost_ms=lambda node: self.costs.get(node, 1.0),
            deadline=lambda: self.left,
            **options,  # type: ignore[arg-type]
        )


def names(found: Recovered) -> list[str]:
    return [step.name for step in found.steps]


def test_a_file_within_the_gate_is_left_alone(tmp_path: Path) -> None:
    found = Bench(tmp_path, lambda kind, excluded: 0.009).recover()
    assert found.met
    assert found.steps == ()
    assert found.path == tmp_path / "0.onnx"
    assert not found.equalised
    assert not found.corrected


def test_equalisation_comes_first_and_is_enough_where_it_helps(tmp_path: Path) -> None:
    bench = Bench(tmp_path, lambda kind, excluded: 0.0 if "e" in kind else 0.3)
    found = bench.recover()
    assert found.met
    assert found.equalised
    assert names(found) == ["cross-layer equalisation"]
    (step,) = found.steps
    assert (step.helped, step.before.value, step.after) == (True, 0.3, Score(value=0.0, high=0.001))
    assert step.reason.startswith("3 pair(s) of layers matched")
    assert bench.kind(found.source) == "e"


def test_what_does_not_help_is_not_kept_and_the_next_starts_without_it(tmp_path: Path) -> None:
    drops = {"": 0.3, "e": 0.31, "b": 0.0}
    bench = Bench(tmp_path, lambda kind, excluded: drops[kind])
    found = bench.recover()
    assert names(found) == ["cross-layer equalisation", "bias correction"]
    assert [step.helped for step in found.steps] == [False, True]
    assert (found.equalised, found.corrected, found.excluded) == (False, True, ())
    assert bench.kind(found.source) == "b"


def test_what_helps_is_kept_though_it_is_not_enough_and_the_next_starts_from_it(tmp_path: Path) -> None:
    drops = {"": 0.3, "e": 0.2, "eb": 0.005}
    found = Bench(tmp_path, lambda kind, excluded: drops[kind]).recover()
    assert [(step.before.value, step.helped) for step in found.steps] == [(0.3, True), (0.2, True)]
    assert found.equalised
    assert found.corrected


@pytest.mark.parametrize("needed", [{"first"}, {"y"}, {"depthwise", "y"}, LAYERS])
def test_the_fewest_layers_go_back_to_fp32(needed: set[str], tmp_path: Path) -> None:
    found = Bench(tmp_path, lambda kind, excluded: 0.3 - 0.3 * (needed <= excluded)).recover()
    assert found.met
    assert set(found.excluded) == needed
    assert names(found)[:2] == ["cross-layer equalisation", "bias correction"]
    assert all(name.startswith("fp32 layers: ") for name in names(found)[2:])
    kept = [step for step in found.steps if step.helped][-1]
    assert all(name in kept.reason for name in needed)


def test_biases_are_corrected_anew_once_layers_are_left_out(tmp_path: Path) -> None:
    """What was right for a network all in int8 is wrong for one that is not: with the old biases it would be worse."""
    bench = Bench(tmp_path, lambda kind, excluded: {"": 0.3, "b": 0.2}.get(kind, 0.4) - 0.2 * ("pointwise" in excluded))
    found = bench.recover()
    assert found.met
    assert found.corrected
    assert found.excluded == ("pointwise",)
    again = quantize(bench.fp32, tmp_path / "again.onnx", X, exclude=["pointwise"])
    assert isinstance(found.source, onnx.ModelProto)
    assert found.source == correct_biases(bench.fp32, again, X, input_name="x")


def test_nodes_left_out_before_stay_so_and_are_not_tried_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path, lambda kind, excluded: 0.3 - 0.3 * ("y" in excluded))
    found = recover(
        bench.fp32,
        bench.rebuild(bench.fp32, frozenset({"first"})),
        X,
        input_name="x",
        rebuild=bench.rebuild,
        score=bench.score,
        within=lambda score: score.value <= 0.01,
        cost_ms=lambda node: 1.0,
        deadline=lambda: math.inf,
        excluded=frozenset({"first"}),
    )
    assert found.excluded == ("first", "y")
    assert all("first" in excluded for _, excluded in bench.made.values())
    assert all("first" not in step.reason for step in found.steps if step.name.startswith("fp32"))


def test_layers_that_cost_more_than_int8_gains_are_not_tried(tmp_path: Path) -> None:
    bench = Bench(tmp_path, lambda kind, excluded: 0.3 - 0.3 * ("y" in excluded), costs={"y": 2.0})
    found = bench.recover(budget_ms=1.5)
    assert not found.met
    assert found.excluded == ()
    assert all("y" not in excluded for _, excluded in bench.made.values())
    nothing = Bench(tmp_path, lambda kind, excluded: 0.3).recover(budget_ms=0.5)
    assert nothing.steps[-1].reason == "no quantized layer has an error and costs under 0.5 ms in fp32"


def test_the_cheaper_of_two_sets_that_meet_the_gate_wins(tmp_path: Path) -> None:
    def drop(kind: str, excluded: frozenset[str]) -> float:
        return 0.0 if "y" in excluded and excluded & {"first", "depthwise"} else 0.3

    costs = {"first": 90.0, "depthwise": 2.0}
    assert Bench(tmp_path, drop, costs=costs).recover().excluded == ("depthwise", "y")


def test_where_nothing_meets_the_gate_the_best_is_kept_and_said_not_to(tmp_path: Path) -> None:
    found = Bench(tmp_path, lambda kind, excluded: 0.3 - 0.02 * len(excluded) - 0.05 * ("e" in kind)).recover()
    assert not found.met
    assert found.equalised
    assert found.score.value == pytest.approx(min(step.after.value for step in found.steps if step.after))
    assert len(found.excluded) == 5  # all that are quantized, the pool too


@pytest.mark.parametrize(("seconds", "attempts"), [(0.5, 0), (2.5, 1), (3.5, 2), (4.5, 3)])
def test_no_attempt_begins_that_the_time_left_does_not_allow(seconds: float, attempts: int, tmp_path: Path) -> None:
    """Each takes a second. The first one cannot know that, and nothing begins with no time left."""
    bench = Bench(tmp_path, lambda kind, excluded: 0.3 - 0.001 * len(excluded), left=seconds)
    found = bench.recover()
    assert len([step for step in found.steps if step.after is not None]) == attempts
    assert bench.left > -1
    assert any("no time" in step.reason for step in found.steps)
    assert not found.met


def test_a_network_that_cannot_be_rebuilt_is_a_step_with_its_reason_and_the_search_goes_on(tmp_path: Path) -> None:
    bench = Bench(tmp_path, lambda kind, excluded: 0.3 - 0.3 * ("b" in kind))
    rebuild = bench.rebuild

    def fussy(source: Source, exclude: frozenset[str]) -> Path:
        if "e" in bench.kind(source):
            raise BadInputError("the quantizer does not know this graph")
        return rebuild(source, exclude)

    bench.rebuild = fussy  # type: ignore[method-assign]
    found = bench.recover()
    assert found.steps[0].reason == "the quantizer does not know this graph"
    assert found.steps[0].after is None
    assert found.met
    assert not found.equalised


def test_progress_names_each_attempt(tmp_path: Path) -> None:
    seen: list[Progress] = []
    found = Bench(tmp_path, lambda kind, excluded: 0.3 - 0.3 * ("y" in excluded)).recover(listener=seen.append)
    assert [progress.note for progress in seen] == names(found)
    assert {progress.stage for progress in seen} == {"recover"}
