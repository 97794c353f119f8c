"""Variants without int8 activation ranges: half precision keeps what overflows it in 32 bits, weights get small."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from edgekd.errors import BadInputError
from edgekd.quantize.calibrate.observe import observe
from edgekd.quantize.calibrate.ranges import ranges
from edgekd.quantize.convert import CONVERTED, LARGEST_HALF
from edgekd.quantize.prepare import prepare

from .small_nets import answers, decibels, mixed, normal, samples, save, stored

X = samples(24)


def convert(variant: str, net: Path, target: Path, inputs: np.ndarray = X) -> Path:
    CONVERTED[variant][0](net, target, ranges(observe(net, inputs, input_name="x"), "minmax"), ())
    return target


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("net")
    return prepare(mixed(folder / "fp32.onnx"), folder).path


@pytest.mark.parametrize(("variant", "least"), [("fp16", 55.0), ("int8-dynamic", 25.0)])
def test_a_converted_file_is_near_fp32(variant: str, least: float, net: Path, tmp_path: Path) -> None:
    made = convert(variant, net, tmp_path / "made.onnx")
    onnx.checker.check_model(onnx.load(str(made)), full_check=True)
    assert decibels(answers(net, X[:1]), answers(made, X[:1])) > least


@pytest.mark.parametrize("variant", ["int8-weight-only", "int4-weight-only"])
def test_weights_of_matrix_products_are_all_that_shrinks(variant: str, net: Path, tmp_path: Path) -> None:
    nodes = [
        ("Gemm", ["x", "w1"], "hidden", {"transB": 1}),
        ("Relu", ["hidden"], "relu"),
        ("MatMul", ["relu", "w2"], "y"),
    ]
    weights = {"w1": normal(64, 128, size=0.1), "w2": normal(64, 32, seed=1, size=0.1)}
    wide, x = save(tmp_path / "wide.onnx", nodes, weights, ["batch", 128]), samples(16, 128)
    made = convert(variant, wide, tmp_path / "made.onnx", x)
    kinds = {node.op_type for node in onnx.load(str(made)).graph.node}
    assert "MatMulNBits" in kinds and not kinds & {"Gemm", "MatMul"}
    assert made.stat().st_size < 0.4 * wide.stat().st_size
    assert decibels(answers(wide, x), answers(made, x)) > (35 if variant.startswith("int8") else 15)
    with pytest.raises(BadInputError):
        convert(variant, net, tmp_path / "none.onnx")  # too few weights in products


def test_weights_of_dynamic_files_are_unsigned(net: Path, tmp_path: Path) -> None:
    made = convert("int8-dynamic", net, tmp_path / "made.onnx")
    kinds = {node.op_type for node in onnx.load(str(made)).graph.node}
    assert "DynamicQuantizeLinear" in kinds and "ConvInteger" in kinds
    assert not [name for name, values in stored(made).items() if values.dtype == np.int8]


def test_an_output_that_half_precision_has_not_comes_out_whole(tmp_path: Path) -> None:
    nodes = [("Conv", ["x", "w"], "conv"), ("Mul", ["conv", "large"], "y")]
    constants = {"w": normal(4, 4, 3, 3, size=0.2), "large": np.float32(60_000)}
    net = save(tmp_path / "net.onnx", nodes, constants, ["batch", 4, 10, 10])
    assert decibels(answers(net, X), answers(convert("fp16", net, tmp_path / "made.onnx"), X)) > 55


def test_pixels_are_still_cast_before_a_node_that_stays_in_32_bits(tmp_path: Path) -> None:
    nodes = [
        ("Cast", ["x"], "floats", {"to": TensorProto.FLOAT}),
        ("Mul", ["floats", "large"], "scaled"),
        ("Div", ["scaled", "large"], "back"),
        ("Conv", ["back", "w"], "y"),
    ]
    constants = {"w": normal(4, 4, 3, 3, size=0.2), "large": np.float32(70_000)}
    net = save(tmp_path / "net.onnx", nodes, constants, ["batch", 4, 10, 10], kind=TensorProto.UINT8)
    x = np.random.default_rng(0).integers(0, 256, (8, 4, 10, 10), dtype=np.uint8)
    made = convert("fp16", net, tmp_path / "made.onnx", x)
    onnx.checker.check_model(onnx.load(str(made)), full_check=True)
    assert decibels(answers(net, x), answers(made, x)) > 55


def test_half_precision_is_inside_and_not_at_the_ends(net: Path, tmp_path: Path) -> None:
    graph = onnx.load(str(convert("fp16", net, tmp_path / "made.onnx"))).graph
    ends = [value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)]
    assert ends == [TensorProto.FLOAT, TensorProto.FLOAT]
    assert {tensor.data_type for tensor in graph.initializer if tensor.name.startswith("w")} == {TensorProto.FLOAT16}
    known = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    for node in graph.node:  # in an order in which each finds its inputs
        assert set(filter(None, node.input)) <= known, node.name
        known |= set(node.output)


@pytest.mark.parametrize("huge", [1e5, 1e37])
def test_a_constant_that_half_precision_has_not_stays_in_32_bits(huge: float, tmp_path: Path) -> None:
    nodes = [
        ("Conv", ["x", "w"], "conv"),
        ("Mul", ["conv", "huge"], "large"),
        ("Div", ["large", "huge"], "back"),
        ("Clip", ["back", "low", "high"], "y"),
    ]
    constants = {"w": normal(4, 4, 3, 3, size=0.2), "huge": np.float32(huge)}
    limits = {"low": np.float32(-3.4e38), "high": np.float32(3.4e38)}
    net = save(tmp_path / "net.onnx", nodes, constants | limits, ["batch", 4, 10, 10])
    made = convert("fp16", net, tmp_path / "made.onnx")
    onnx.checker.check_model(onnx.load(str(made)), full_check=True)
    assert np.isfinite(answers(made, X)).all()
    assert decibels(answers(net, X), answers(made, X)) > 55
    floats = {name for name, values in stored(made).items() if values.dtype == np.float32}
    assert floats == {"huge", "low", "high"}


def test_an_activation_that_half_precision_has_not_stays_in_32_bits(tmp_path: Path) -> None:
    """Squares of numbers around 1,000: the CPU provider computes in 32 bits, and would hide what a GPU gives."""
    nodes = [
        ("Mul", ["x", "thousand"], "large"),
        ("Mul", ["large", "large"], "square"),
        ("Sqrt", ["square"], "root"),
        ("Conv", ["root", "w"], "y"),
    ]
    constants = {"thousand": np.float32(1000), "w": normal(4, 4, 3, 3, size=0.01)}
    net = save(tmp_path / "net.onnx", nodes, constants, ["batch", 4, 10, 10])
    assert float(np.square(1000 * X).max()) > LARGEST_HALF
    made = convert("fp16", net, tmp_path / "made.onnx")
    assert np.isfinite(answers(made, X)).all()
    assert decibels(answers(net, X), answers(made, X)) > 55
    assert stored(made)["w"].dtype == np.float16
