"""A trained depthwise network with channels made uneven: plain per-tensor int8 collapses, recovery brings it back."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekd.data.fashion_mnist import read_vendored
from edgekd.quantize.recover import Recovered, Score, recover

from .networks import quantize, run
from .trained import depthwise_net, pixels, uneven


@dataclass
class Case:
    """A trained network, calibration pictures, and labelled ones that neither training nor calibration saw."""

    model: onnx.ModelProto
    calibration: np.ndarray
    x: np.ndarray
    y: np.ndarray

    def accuracy(self, model: onnx.ModelProto | Path) -> float:
        return float((run(model, self.x)[0].argmax(axis=1) == self.y).mean())


@pytest.fixture(scope="module")
def bars(draw: Callable[..., object]) -> Case:
    train, test = draw(600, classes=4, size=12), draw(1000, classes=4, size=12, seed=1)
    model = depthwise_net(train.inputs, train.labels, epochs=4)  # type: ignore[attr-defined]
    return Case(model, pixels(train.inputs[:100]), pixels(test.inputs), test.labels)  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def fashion() -> Case:
    pool = read_vendored()
    model = depthwise_net(pool.train.inputs, pool.train.labels, epochs=4)
    return Case(model, pixels(pool.train.inputs[:200]), pixels(pool.test.inputs), pool.test.labels)


def recovered(case: Case, model: onnx.ModelProto, folder: Path, *, gate: float = 0.01) -> Recovered:
    """Recovery with the real quantizer and the real score, all layers of one cost, and no hurry."""
    fp32, count = folder / "fp32.onnx", iter(range(100))
    onnx.save(model, str(fp32))
    whole = case.accuracy(fp32)

    def rebuild(source: Path | onnx.ModelProto, exclude: frozenset[str]) -> Path:
        return quantize(source, folder / f"{next(count)}.onnx", case.calibration, exclude=exclude)

    def score(path: Path) -> Score:
        drop = whole - case.accuracy(path)
        return Score(value=drop, high=drop)

    return recover(
        fp32,
        rebuild(fp32, frozenset()),
        case.calibration,
        input_name="x",
        rebuild=rebuild,
        score=score,
        within=lambda found: found.high <= gate,
        cost_ms=lambda node: 1.0,
        deadline=lambda: math.inf,
    )


def check(case: Case, folder: Path) -> None:
    hard = uneven(case.model)
    np.testing.assert_allclose(run(hard, case.x[:50])[0], run(case.model, case.x[:50])[0], atol=1e-3)
    found = recovered(case, hard, folder)
    assert found.steps[0].before.value > 0.2  # the collapse
    assert found.score.value <= 0.01
    assert found.met
    assert found.equalised
    assert found.excluded == ()
    assert case.accuracy(found.path) >= case.accuracy(hard) - 0.01


def test_a_rescaled_depthwise_net_collapses_and_stays_within_a_point_once_equalised(bars: Case, tmp_path: Path) -> None:
    assert bars.accuracy(bars.model) > 0.9
    check(bars, tmp_path)


@pytest.mark.slow
def test_the_same_on_real_pictures(fashion: Case, tmp_path: Path) -> None:
    assert fashion.accuracy(fashion.model) > 0.7
    check(fashion, tmp_path)


def test_where_relu6_forbids_equalisation_few_layers_in_fp32_bring_it_back(bars: Case, tmp_path: Path) -> None:
    """The rescaled net with Clip(0, large) for its Relus: the same function, which equalisation may not touch."""
    hard = uneven(bars.model)
    limits = [onnx.numpy_helper.from_array(np.array(v, dtype=np.float32), n) for n, v in (("zero", 0), ("high", 1e6))]
    hard.graph.initializer.extend(limits)
    for node in hard.graph.node:
        if node.op_type == "Relu":
            node.op_type = "Clip"
            node.input.extend(["zero", "high"])
    found = recovered(bars, hard, tmp_path)
    assert found.met
    assert not found.equalised
    assert "Clip" in found.steps[0].reason
    assert 0 < len(found.excluded) < 6
    assert found.steps[-1].name.startswith("fp32 layers")
    assert bars.accuracy(found.path) >= bars.accuracy(hard) - 0.01
