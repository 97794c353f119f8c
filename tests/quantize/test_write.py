"""A QDQ file is standard, near fp32, of the types that were asked for, and in float exactly where it says so."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekd.kernels import profile
from edgekd.quantize.calibrate.observe import observe
from edgekd.quantize.calibrate.ranges import ranges
from edgekd.quantize.portable.saturation import layers
from edgekd.quantize.prepare import prepare
from edgekd.quantize.scheme import PAIRS, Pair, Scheme, Weights
from edgekd.quantize.write import has_other_nodes, quantizable, write

from .small_nets import CPU, answers, decibels, mixed, normal, samples, save, stored

X = samples(48)
PRODUCTS = ("first", "depthwise", "hidden", "last")
Ranges = Mapping[str, tuple[float, float]]


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("net")
    return prepare(mixed(folder / "fp32.onnx", metadata={"author": "me"}), folder).path


@pytest.fixture(scope="module")
def bounds(net: Path) -> Ranges:
    return ranges(observe(net, X, input_name="x"), "minmax")


def weights(path: Path) -> dict[str, np.ndarray]:
    """The quantized matrices and kernels by name: what a DequantizeLinear takes from an initializer."""
    constants = stored(path)
    fed = {node.input[0] for node in onnx.load(str(path)).graph.node if node.op_type == "DequantizeLinear"}
    return {name: constants[name] for name in fed & constants.keys() if constants[name].ndim > 1}


def dequantized(path: Path) -> dict[str, np.ndarray]:
    """The matrices and kernels that the file computes with, by the layer that takes them."""
    constants, proto = stored(path), onnx.load(str(path))
    makers = {node.output[0]: node for node in proto.graph.node}
    found = {}
    for node in proto.graph.node:
        if node.name in PRODUCTS and makers[node.input[1]].op_type == "DequantizeLinear":
            values, scale, zero = (constants[name] for name in makers[node.input[1]].input)
            assert zero.ndim == 0 or len(zero) == len(values)  # all of them have their channels first
            column = (-1, *[1] * (values.ndim - 1))
            found[node.name] = (values.astype(np.float32) - zero.reshape(column)) * scale.reshape(column)
    return found


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize(
    ("pair", "kept"),
    [
        ("u8u8", "full"),
        *((p, w) for p in ("u8s8", "s8s8") for w in ("full", "safe", "7bit", "7bit-there", "u8u8-there")),
    ],
)
def test_every_scheme_gives_a_standard_file_near_fp32(
    pair: Pair, kept: Weights, per_channel: bool, net: Path, bounds: Ranges, tmp_path: Path
) -> None:
    path = tmp_path / "int8.onnx"
    write(net, path, Scheme(pair=pair, weights=kept, per_channel=per_channel), bounds)
    proto = onnx.load(str(path))
    onnx.checker.check_model(proto, full_check=True)
    assert {node.domain for node in proto.graph.node} == {""}
    activation, weight = PAIRS[pair]
    zeros = {stored(path)[node.input[2]].dtype.name for node in proto.graph.node if node.op_type == "QuantizeLinear"}
    assert zeros == {activation}
    kinds = {values.dtype.name for values in weights(path).values()}
    assert kinds == {weight} if kept != "u8u8-there" else kinds <= {"uint8", "int8"}
    scales = [values.size for name, values in stored(path).items() if name.startswith(("w1", "w2")) and "scale" in name]
    assert set(scales) == ({8} if per_channel else {1})
    # A value rounded to 8 bits of its range has 6.02 x 8 - 10 dB at its normal spread; a chain of layers loses ten.
    assert decibels(answers(net, X), answers(path, X)) > 25
    assert {entry.key: entry.value for entry in proto.metadata_props}["author"] == "me"


@pytest.mark.parametrize("kept", ["safe", "7bit", "7bit-there", "u8u8-there"])
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("pair", ["u8s8", "s8s8"])
def test_what_is_made_portable_cannot_saturate_and_full_weights_can(
    pair: Pair, per_channel: bool, kept: Weights, net: Path, bounds: Ranges, tmp_path: Path
) -> None:
    path = tmp_path / "int8.onnx"
    write(net, path, Scheme(pair=pair, per_channel=per_channel), bounds)
    assert [layer.node for layer in layers(path, pairing="kernel") if layer.can_saturate]
    write(net, path, Scheme(pair=pair, per_channel=per_channel, weights=kept), bounds)
    found = {layer.node: layer.worst_pair_sum for layer in layers(path, pairing="kernel")}
    assert tuple(found) == PRODUCTS
    assert max(found.values()) <= 32_767


@pytest.mark.parametrize("per_channel", [True, False])
def test_safe_weights_are_closer_to_fp32_than_seven_bits(
    per_channel: bool, net: Path, bounds: Ranges, tmp_path: Path
) -> None:
    exact = {"first": "w1", "depthwise": "w2", "hidden": "w3", "last": "w4"}
    errors = {}
    for kept in ("safe", "7bit", "full"):
        write(net, tmp_path / "int8.onnx", Scheme(per_channel=per_channel, weights=kept), bounds)  # type: ignore[arg-type]
        found = dequantized(tmp_path / "int8.onnx")
        assert found.keys() == exact.keys()
        errors[kept] = sum(float(np.square(found[node] - stored(net)[name]).sum()) for node, name in exact.items())
    assert errors["full"] <= errors["safe"] < 0.7 * errors["7bit"]


def test_only_layers_that_could_saturate_lose_a_bit(net: Path, bounds: Ranges, tmp_path: Path) -> None:
    changed = onnx.load(str(net))
    for tensor in changed.graph.initializer:
        if tensor.name == "w4":  # one large weight a row, and small ones beside it: no pair of them is heavy
            values = 0.2 * np.eye(5, 6, dtype=np.float32) + 0.001
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, "w4"))
    onnx.save(changed, str(tmp_path / "net.onnx"))
    write(tmp_path / "net.onnx", tmp_path / "int8.onnx", Scheme(weights="7bit-there"), bounds)
    largest = {
        layer: int(np.abs(weights(tmp_path / "int8.onnx")[f"{name}_quantized"].astype(int)).max())
        for layer, name in (("first", "w1"), ("last", "w4"))
    }
    assert largest["first"] <= 64
    assert largest["last"] > 120


@pytest.mark.parametrize("pair", ["u8s8", "u8u8"])
@pytest.mark.parametrize("layer", PRODUCTS)
def test_a_node_that_is_left_out_really_runs_in_float(
    layer: str, pair: Pair, net: Path, bounds: Ranges, tmp_path: Path
) -> None:
    """ONNX Runtime's optimizer would quantize the weights of a Conv or Gemm between conversions by itself."""
    path = tmp_path / "int8.onnx"
    write(net, path, Scheme(pair=pair, exclude=(layer,)), bounds)
    onnx.checker.check_model(onnx.load(str(path)), full_check=True)
    ran = {node.name: node for node in profile(path, X, CPU, runs=1).nodes}
    assert {name: ran[name].kind for name in PRODUCTS} == {
        name: "float" if name == layer else "int8" for name in PRODUCTS
    }
    assert layer not in [found.node for found in layers(path)]
    assert decibels(answers(net, X), answers(path, X)) > 25


def test_two_gemm_layouts_and_a_matmul_can_be_left_out(tmp_path: Path) -> None:
    constants = {"w1": normal(12, 16), "w2": normal(10, 12, seed=1), "w3": normal(10, 6, seed=2), "w4": normal(6, 4)}
    nodes = [
        ("Gemm", ["x", "w1t"], "plain"),
        ("Gemm", ["plain", "w2"], "turned", {"transB": 1}),
        ("MatMul", ["turned", "w3"], "product"),
        ("Gemm", ["product", "w4"], "y"),
    ]
    constants["w1t"] = np.ascontiguousarray(constants.pop("w1").T)
    net, x = save(tmp_path / "net.onnx", nodes, constants, ["batch", 16]), samples(40, 16)
    bounds = ranges(observe(net, x, input_name="x"), "minmax")
    for layer in ("plain", "turned", "product"):
        write(net, tmp_path / "int8.onnx", Scheme(exclude=(layer,)), bounds)
        ran = {node.name: node.kind for node in profile(tmp_path / "int8.onnx", x, CPU, runs=1).nodes}
        assert ran[layer] == "float", (layer, ran)
        assert decibels(answers(net, x), answers(tmp_path / "int8.onnx", x)) > 25


def test_matrix_products_alone_leave_the_rest_in_float(net: Path, bounds: Ranges, tmp_path: Path) -> None:
    path = tmp_path / "int8.onnx"
    write(net, path, Scheme(nodes="matrix"), bounds)
    ran = {node.name: node.kind for node in profile(path, X, CPU, runs=1).nodes}
    assert {name: ran[name] for name in PRODUCTS} == dict.fromkeys(PRODUCTS, "int8")
    assert ran["mean"] == "float"
    assert has_other_nodes(net)


def test_a_plain_cnn_has_nothing_but_products(tmp_path: Path) -> None:
    nodes = [("Conv", ["x", "w"], "conv"), ("Relu", ["conv"], "relu"), ("Flatten", ["relu"], "y")]
    path = save(tmp_path / "net.onnx", nodes, {"w": normal(3, 4, 3, 3)}, ["batch", 4, 10, 10])
    assert not has_other_nodes(path)
    assert {"conv", "relu"} >= quantizable(path) >= {"conv"}


def test_the_same_input_gives_the_same_bytes(net: Path, bounds: Ranges, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(net, tmp_path / name, Scheme(weights="safe", exclude=("hidden",)), bounds)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_nothing_is_printed(net: Path, bounds: Ranges, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(net, tmp_path / "int8.onnx", Scheme(), bounds)
    assert capfd.readouterr() == ("", "")
