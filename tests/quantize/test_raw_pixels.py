"""The preprocessing of pixels folds into the first convolution, which then runs on the pixels; or it stays."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from edgekd.kernels import profile
from edgekd.quantize.calibrate.observe import observe
from edgekd.quantize.calibrate.ranges import ranges
from edgekd.quantize.raw_pixels import fold_preprocessing
from edgekd.quantize.scheme import Scheme
from edgekd.quantize.write import write

from .small_nets import CPU, answers, decibels, normal, save

MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
SIZE = 8


def pixels(count: int, channels: int, *, layout: str = "nhwc") -> np.ndarray:
    shape = (count, SIZE, SIZE, channels) if layout == "nhwc" else (count, channels, SIZE, SIZE)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def column(values: np.ndarray) -> np.ndarray:
    return values.reshape(1, -1, 1, 1)


def net(
    path: Path,
    steps: list[Any],
    constants: dict[str, Any],
    *,
    channels: int = 3,
    layout: str = "nhwc",
    bias: bool = True,
    kind: int = TensorProto.UINT8,
    after: tuple[Any, ...] = (),
    **conv: Any,
) -> Path:
    """[Transpose,] Cast, `steps` from "floats" to "scaled", Conv; `after`: further nodes."""
    nhwc = layout == "nhwc"
    nodes = [("Transpose", ["x"], "turned", {"perm": [0, 3, 1, 2]})] if nhwc else []
    nodes += [("Cast", ["turned" if nhwc else "x"], "floats", {"to": TensorProto.FLOAT}), *steps]
    inputs = ["scaled", "w", "b"] if bias else ["scaled", "w"]
    nodes += [("Conv", inputs, "conv", {"pads": [1] * 4} | conv), *after]
    weights = {"w": normal(6, channels // conv.get("group", 1), 3, 3, size=0.3), "b": normal(6, seed=1)}
    shape = ["batch", SIZE, SIZE, channels] if nhwc else ["batch", channels, SIZE, SIZE]
    every = constants | weights if bias else constants | {"w": weights["w"]}
    return save(path, nodes, every, shape, kind=kind)  # type: ignore[arg-type]


GREY: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "scaled": ([("Div", ["floats", "s"], "scaled")], {"s": np.float32(255)}),
    "multiplied": ([("Mul", ["s", "floats"], "scaled")], {"s": np.float32(1 / 255)}),
    "normalised": (
        [("Div", ["floats", "s"], "d"), ("Sub", ["d", "m"], "c"), ("Div", ["c", "v"], "scaled")],
        {"s": np.float32(255), "m": np.full((1, 1, 1, 1), 0.2860, np.float32), "v": np.float32(0.3530)},
    ),
    "mul and add": (
        [("Mul", ["floats", "s"], "d"), ("Add", ["o", "d"], "scaled")],
        {"s": np.float32(1 / 127.5), "o": np.full((1,), -1, np.float32)},
    ),
    "turned round": (
        [("Sub", ["one", "floats"], "d"), ("Div", ["d", "s"], "scaled")],
        {"one": np.float32(255), "s": np.float32(255)},
    ),
}
# A zero point is a whole pixel: one whose preprocessing is 0 to the last bit, or half a pixel off at the border.
EXACT = {"scaled", "multiplied", "turned round"}


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
@pytest.mark.parametrize("form", sorted(GREY))
def test_one_channel_computes_the_same(form: str, layout: str, tmp_path: Path) -> None:
    steps, constants = GREY[form]
    path = net(tmp_path / "net.onnx", steps, constants, channels=1, layout=layout)
    folded = saved(path)
    x = pixels(8, 1, layout=layout)
    before, after = answers(path, x), answers(folded, x)
    inner = (..., slice(1, -1), slice(1, -1))
    np.testing.assert_allclose(after[inner], before[inner], rtol=1e-4, atol=1e-4)
    if form in EXACT:
        np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4)
    assert np.abs(after - before).max() <= border(path, folded)
    kinds = [node.op_type for node in onnx.load(str(folded)).graph.node]
    assert kinds == (["Transpose"] if layout == "nhwc" else []) + ["DequantizeLinear", "Conv"]


def saved(path: Path) -> Path:
    folded = fold_preprocessing(onnx.load(str(path)))
    assert folded is not None
    onnx.checker.check_model(folded, full_check=True)
    target = path.with_name("folded.onnx")
    onnx.save(folded, str(target))
    return target


def border(path: Path, folded: Path) -> float:
    """The most that the bias can be wrong in the padding: all weights of a channel times what is left of its zero."""
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(str(folded)).graph.initializer}
    original = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(str(path)).graph.initializer}
    zero = np.full((1, SIZE, SIZE, original["w"].shape[1]), constants["pixels_zero_point"], np.uint8)
    proto = onnx.load(str(path))
    if proto.graph.node[0].op_type != "Transpose":
        zero = np.ascontiguousarray(zero.transpose(0, 3, 1, 2))
    proto.graph.output[0].name = "scaled"
    onnx.save(proto, str(path.with_name("scaled.onnx")))
    left = np.abs(answers(path.with_name("scaled.onnx"), zero)).max(axis=(0, 2, 3))
    return float((np.abs(original["w"]).sum(axis=(2, 3)) @ left).max()) + 1e-4


def three(path: Path, form: str, **more: Any) -> Path:
    if form == "div, sub, div":
        steps = [("Div", ["floats", "s"], "d"), ("Sub", ["d", "m"], "c"), ("Div", ["c", "v"], "scaled")]
        return net(path, steps, {"s": np.float32(255), "m": column(MEAN), "v": column(STD)}, **more)
    steps = [("Mul", ["floats", "f"], "d"), ("Add", ["d", "o"], "scaled")]
    factor, offset = 1 / (255 * STD), -MEAN / STD
    constants = {"f": column(factor), "o": offset.reshape(3, 1, 1)}
    return net(path, steps, constants, **more)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
@pytest.mark.parametrize("form", ["div, sub, div", "mul, add"])
def test_with_other_means_a_channel_only_the_border_differs_and_by_no_more_than_it_can(
    form: str, layout: str, bias: bool, tmp_path: Path
) -> None:
    path = three(tmp_path / "net.onnx", form, layout=layout, bias=bias)
    folded, x = saved(path), pixels(8, 3, layout=layout)
    before, after = answers(path, x), answers(folded, x)
    np.testing.assert_allclose(after[..., 1:-1, 1:-1], before[..., 1:-1, 1:-1], rtol=1e-4, atol=1e-4)
    assert 1e-3 < np.abs(after - before).max() <= border(path, folded)
    assert decibels(before, after) > 20


def test_without_padding_nothing_differs(tmp_path: Path) -> None:
    path = three(tmp_path / "net.onnx", "mul, add", pads=[0] * 4)
    x = pixels(8, 3)
    np.testing.assert_allclose(answers(saved(path), x), answers(path, x), rtol=1e-4, atol=1e-4)


def test_the_first_layer_runs_in_int8_on_the_pixels_themselves(tmp_path: Path) -> None:
    after = (("Relu", ["conv"], "relu"), ("Conv", ["relu", "w2"], "second"), ("Flatten", ["second"], "flat"))
    more = {"w2": normal(4, 6, 3, 3, seed=3, size=0.2)}
    steps = [("Mul", ["floats", "f"], "d"), ("Add", ["d", "o"], "scaled")]
    constants = {"f": column(1 / (255 * STD)), "o": column(-MEAN / STD)} | more
    path = net(tmp_path / "net.onnx", steps, constants, after=after, pads=[0] * 4)
    folded, x = saved(path), pixels(40, 3)
    before = {node.op_type for node in profile(quantized(path, x), x, CPU, runs=1).nodes}
    ran = profile(quantized(folded, x), x, CPU, runs=1)
    kinds = {node.op_type for node in ran.nodes}
    assert before & {"Cast", "Mul", "Add", "QLinearMul", "QLinearAdd"}
    assert not kinds & {"Cast", "Mul", "Add", "Div", "Sub", "QLinearMul", "QLinearAdd", "QuantizeLinear"}
    assert {node.name: node.kind for node in ran.nodes if node.name in ("conv", "second")} == {
        "conv": "int8",
        "second": "int8",
    }
    assert decibels(answers(path, x), answers(quantized(folded, x), x)) > 30


def quantized(path: Path, x: np.ndarray) -> Path:
    target = path.with_name(f"{path.stem}-int8.onnx")
    write(path, target, Scheme(), ranges(observe(path, x, input_name="x"), "minmax"))
    return target


SCALE = [("Div", ["floats", "s"], "scaled")]
S = {"s": np.float32(255)}
REFUSED: dict[str, dict[str, Any]] = {
    "float input": {"kind": TensorProto.FLOAT},
    "the pixels are read twice": {"after": (("Cast", ["x"], "again", {"to": 1}), ("Flatten", ["again"], "more"))},
    "the scaled pixels are read twice": {"after": (("Flatten", ["scaled"], "more"),)},
    "a number a column": {"steps": [("Div", ["floats", "s"], "scaled")], "constants": {"s": np.full(8, 9, np.float32)}},
    "a number a row": {"constants": {"s": np.full((8, 1), 9, np.float32)}},
    "a number a pixel": {"constants": {"s": np.full((1, 1, 8, 8), 9, np.float32)}},
    "division by pixels": {"steps": [("Div", ["s", "floats"], "scaled")]},
    "division by zero": {"constants": {"s": np.float32(0)}},
    "a step that is no scaling": {"steps": [("Sqrt", ["floats"], "scaled")]},
    "a grouped convolution": {"group": 3},
    "two pixels together": {"steps": [("Mul", ["floats", "floats"], "scaled")]},
}


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_what_is_no_preprocessing_is_left_alone(case: str, tmp_path: Path) -> None:
    given = {"steps": SCALE, "constants": S} | REFUSED[case]
    path = net(tmp_path / "net.onnx", **given)
    model = onnx.load(str(path))
    before = model.SerializeToString(deterministic=True)
    assert fold_preprocessing(model) is None
    assert model.SerializeToString(deterministic=True) == before


def test_a_network_that_gives_its_scaled_pixels_away_is_left_alone(tmp_path: Path) -> None:
    model = onnx.load(str(net(tmp_path / "net.onnx", SCALE, S)))
    model.graph.output.append(onnx.helper.make_tensor_value_info("scaled", TensorProto.FLOAT, None))
    assert fold_preprocessing(model) is None


def test_a_network_without_a_convolution_is_left_alone(tmp_path: Path) -> None:
    nodes = [
        ("Cast", ["x"], "floats", {"to": TensorProto.FLOAT}),
        ("Div", ["floats", "s"], "scaled"),
        ("MatMul", ["scaled", "w"], "y"),
    ]
    path = save(tmp_path / "net.onnx", nodes, S | {"w": normal(8, 3)}, ["batch", 8], kind=TensorProto.UINT8)
    assert fold_preprocessing(onnx.load(str(path))) is None


def test_the_original_is_not_changed(tmp_path: Path) -> None:
    model = onnx.load(str(net(tmp_path / "net.onnx", SCALE, S)))
    before = model.SerializeToString(deterministic=True)
    assert fold_preprocessing(model) is not None
    assert model.SerializeToString(deterministic=True) == before
