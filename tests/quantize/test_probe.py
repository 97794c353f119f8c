"""A probe says how much faster than fp32 a file is and how close to it; the clock is the test's own."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekd.errors import BadInputError
from edgekd.quantize.probe import MAX_OUTPUT_BYTES, Probes

from .small_nets import CPU, answers, decibels, mixed, normal, samples, save

X = samples(40)
MS = 1_000_000


class Clock:
    """Every look at it takes a millisecond, so an inference takes one too."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        self.now += MS
        return self.now


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mixed(tmp_path_factory.mktemp("net") / "fp32.onnx")


def changed(net: Path, target: Path, name: str, factor: float) -> Path:
    """The network with one of its weights multiplied."""
    model = onnx.load(str(net))
    for tensor in model.graph.initializer:
        if tensor.name == name:
            values = onnx.numpy_helper.to_array(tensor) * np.float32(factor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, name))
    onnx.save(model, str(target))
    return target


def test_a_file_is_as_fast_as_itself_and_nothing_is_between_them(net: Path) -> None:
    found = Probes(net, X, CPU, labels=None, clock=Clock()).probe(net, seconds=0.2)
    assert found.ratio == 1.0
    assert found.drop == 0.0
    assert found.sqnr_db > 250  # the noise is nothing, and its logarithm must be a number


def test_a_slower_file_has_the_ratio_of_its_time_and_what_disturbs_some_of_it_does_not_count(net: Path) -> None:
    clock = Clock()
    probes = Probes(net, X, CPU, labels=None, clock=clock)
    calls = iter(range(10**6))

    def slow(batch: np.ndarray) -> np.ndarray:
        clock.now += 2 * MS + (500 * MS if next(calls) % 3 == 0 else 0)  # every third is interrupted
        return np.zeros((len(batch), 5), np.float32)

    assert probes.ratio(slow, seconds=1.0) == 3.0


def test_timing_takes_what_it_may_and_at_least_a_few_turns(net: Path) -> None:
    def spent(seconds: float) -> float:
        clock = Clock()
        Probes(net, X, CPU, labels=None, clock=clock).probe(net, seconds=seconds)
        return clock.now / 1e9

    assert spent(0.0) < 0.3
    assert 1.0 < spent(1.0) < 1.3


def test_a_known_ratio_is_not_measured_again(net: Path) -> None:
    clock = Clock()
    assert Probes(net, X, CPU, labels=None, clock=clock).probe(net, seconds=9, ratio=0.25).ratio == 0.25
    assert clock.now == 0


def test_the_noise_is_that_of_the_outputs(net: Path, tmp_path: Path) -> None:
    other = changed(net, tmp_path / "other.onnx", "w4", 1.01)
    found = Probes(net, X, CPU, labels=None).probe(other, seconds=0, ratio=1)
    assert found.sqnr_db == pytest.approx(decibels(answers(net, X), answers(other, X)), abs=1e-6)


def test_without_labels_other_classes_are_a_loss_and_with_them_only_lost_ones(net: Path, tmp_path: Path) -> None:
    turned = changed(changed(net, tmp_path / "turned.onnx", "w4", -1.0), tmp_path / "turned.onnx", "b4", -1.0)
    mine, theirs = answers(turned, X).argmax(axis=1), answers(net, X).argmax(axis=1)
    assert (mine != theirs).mean() > 0.9
    blind = Probes(net, X, CPU, labels=None)
    assert blind.closeness(turned)[1] == blind.probe(turned, seconds=0, ratio=1).drop == (mine != theirs).mean()
    assert Probes(net, X, CPU, labels=theirs).closeness(turned)[1] == 1 - (mine == theirs).mean()
    assert Probes(net, X, CPU, labels=mine).closeness(turned)[1] == (mine == theirs).mean() - 1  # better than fp32
    assert Probes(net, X, CPU, labels=np.full(40, 99)).closeness(turned)[1] == 0.0


def test_the_noise_of_the_drop_is_its_standard_error(net: Path, tmp_path: Path) -> None:
    """Of n samples of which a share p is lost: the root of p (1 - p) / n."""
    turned = changed(net, tmp_path / "turned.onnx", "w4", -0.2)
    found = Probes(net, X, CPU, labels=answers(net, X).argmax(axis=1)).probe(turned, seconds=0, ratio=1)
    assert 0 < found.drop < 1
    assert found.drop_noise == pytest.approx(np.sqrt(found.drop * (1 - found.drop) / len(X)))


def test_a_map_of_classes_counts_places(tmp_path: Path) -> None:
    net = save(tmp_path / "map.onnx", [("Conv", ["x", "w"], "y")], {"w": normal(3, 4, 1, 1)}, ["batch", 4, 10, 10])
    other = changed(net, tmp_path / "other.onnx", "w", -1.0)
    maps = answers(net, X)
    expected = (maps.argmax(axis=1) != (-maps).argmax(axis=1)).mean()
    assert Probes(net, X, CPU, labels=np.zeros(40, np.int64)).closeness(other)[1] == pytest.approx(expected)


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_outputs_that_are_no_numbers_are_refused(factor: float, net: Path, tmp_path: Path) -> None:
    broken = changed(net, tmp_path / "broken.onnx", "b4", factor)
    probes = Probes(net, X, CPU, labels=None)
    for ask in (lambda: probes.probe(broken, seconds=0), lambda: probes.closeness(broken)[1]):
        with pytest.raises(BadInputError, match="its outputs are not finite"):
            ask()


def test_large_outputs_are_compared_on_fewer_samples(tmp_path: Path) -> None:
    """8 of 40 samples where fp32's outputs on all would not fit."""
    size = MAX_OUTPUT_BYTES // 4 // 10 // 4
    nodes = [("Flatten", ["x"], "flat"), ("MatMul", ["flat", "w"], "narrow"), ("Tile", ["narrow", "times"], "y")]
    constants = {"w": normal(400, 4), "times": np.array([1, size])}
    net = save(tmp_path / "wide.onnx", nodes, constants, ["batch", 4, 10, 10])
    probes = Probes(net, X, CPU, labels=np.arange(40))
    assert len(probes.inputs) == 10
    assert probes.labels is not None and len(probes.labels) == 10
