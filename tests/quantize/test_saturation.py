"""What a file's integers say about saturation, and what real samples do; tests/test_isa.py has the kernels' word."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

from edgekd.progress import Progress
from edgekd.quantize.portable.saturation import layers, observed
from edgekd.quantize.portable.sites import sites

from .integer_nets import CHANNELS, Branch, bright, write_branches

HEAVY = np.full((2, CHANNELS, 3, 3), 127, dtype=np.int8)


def one(path: Path, branch: Branch, activation: str = "uint8") -> Path:
    write_branches(path, [branch], activation=activation)
    return path


@pytest.mark.parametrize("activation", ["uint8", "int8"])
def test_a_layer_of_heavy_weights_is_named_with_its_types_and_channels(tmp_path: Path, activation: str) -> None:
    weight = HEAVY.copy()
    weight[0] = 1
    (found,) = layers(one(tmp_path / "net.onnx", Branch(name="conv", weight=weight), activation))
    assert (found.node, found.op_type) == ("conv", "Conv")
    assert (found.activation_type, found.weight_type) == (activation, "int8")
    assert (found.worst_pair_sum, found.can_saturate, found.channels) == (255 * 254, True, (1,))
    assert found.observed_pair_sum is None


def test_uint8_weights_take_no_pair_sums(tmp_path: Path) -> None:
    (found,) = layers(one(tmp_path / "net.onnx", Branch(name="conv", weight=HEAVY.astype(np.uint8) + 128)))
    assert (found.weight_type, found.worst_pair_sum, found.can_saturate) == ("uint8", 0, False)


@pytest.mark.parametrize("transposed", [True, False])
def test_gemm_and_matmul_pair_along_the_reduction(tmp_path: Path, transposed: bool) -> None:
    weight = np.zeros((CHANNELS * 16, 3), dtype=np.int8)
    weight[4:6, 2] = 100
    turned = weight.T.copy() if transposed else weight
    branch = Branch(name="fc", weight=turned, op_type="Gemm" if transposed else "MatMul", transposed=transposed)
    (found,) = layers(one(tmp_path / "net.onnx", branch))
    assert (found.worst_pair_sum, found.channels) == (255 * 200, (2,))


def test_a_transposed_weight_is_turned_before_it_is_looked_at(tmp_path: Path) -> None:
    weight = np.zeros((CHANNELS * 16, 3), dtype=np.int8)
    weight[4:6, 2] = 100
    model = onnx.load(str(one(tmp_path / "net.onnx", Branch(name="fc", weight=weight, op_type="MatMul"))))
    stored = next(tensor for tensor in model.graph.initializer if tensor.name == "fc_w_q")
    stored.CopyFrom(numpy_helper.from_array(weight.T.copy(), "fc_w_q"))
    place = next(i for i, node in enumerate(model.graph.node) if node.op_type == "MatMul")
    model.graph.node[place].input[1] = "turned"
    model.graph.node.insert(place, helper.make_node("Transpose", ["fc_w"], ["turned"], perm=[1, 0]))
    (found,) = layers(model)
    assert (found.worst_pair_sum, found.channels) == (255 * 200, (2,))


def test_an_int8_operand_that_is_no_constant_counts_at_its_worst(tmp_path: Path) -> None:
    model = onnx.load(str(one(tmp_path / "net.onnx", Branch(name="conv", weight=HEAVY))))
    at = next(i for i, tensor in enumerate(model.graph.initializer) if tensor.name == "conv_w_q")
    del model.graph.initializer[at]
    (found,) = layers(model)
    assert (found.weight_type, found.worst_pair_sum, found.channels) == ("int8", 255 * 256, ())


def test_a_layer_in_float_is_not_listed(float_net: Path) -> None:
    assert layers(float_net) == ()


def test_the_operator_format_says_the_same_as_qdq(tmp_path: Path, float_net: Path) -> None:
    class Reader:
        def __init__(self) -> None:
            pictures = np.random.default_rng(0).random((4, 1, 8, 8), dtype=np.float32)
            self.batches = iter([{"x": pictures}])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.batches, None)

    found = {}
    for kind in (QuantFormat.QDQ, QuantFormat.QOperator):
        path = tmp_path / f"{kind}.onnx"
        quantize_static(
            str(float_net), str(path), Reader(), quant_format=kind, activation_type=QuantType.QUInt8, per_channel=False
        )
        found[kind] = [(layer.activation_type, layer.weight_type, layer.worst_pair_sum) for layer in layers(path)]
    assert found[QuantFormat.QDQ] == found[QuantFormat.QOperator]
    assert len(found[QuantFormat.QDQ]) == 2


@pytest.mark.parametrize("activation", ["uint8", "int8"])
def test_what_samples_reach_is_found_to_the_last_unit(tmp_path: Path, activation: str) -> None:
    path = one(tmp_path / "net.onnx", Branch(name="conv", weight=HEAVY), activation)
    inputs = np.zeros((3, CHANNELS, 4, 4), dtype=np.float32)
    inputs[1, 2], inputs[1, 3] = 150, 151
    for found in observed(path, inputs):
        assert found.observed_pair_sum == 127 * 301


def test_what_only_another_order_would_pair_is_not_observed(tmp_path: Path) -> None:
    weight = np.zeros((2, CHANNELS, 3, 3), dtype=np.int8)
    weight[:, 0, 0, :2] = 127
    (found,) = observed(one(tmp_path / "net.onnx", Branch(name="conv", weight=weight)), bright(4))
    assert found.can_saturate
    assert found.observed_pair_sum is None
    assert not layers(tmp_path / "net.onnx", pairing="kernel")[0].can_saturate


def test_a_gemm_is_observed_too_and_a_harmless_layer_is_not(tmp_path: Path) -> None:
    heavy, light = (np.full((CHANNELS * 16, 3), value, dtype=np.int8) for value in (127, 3))
    branches = [
        Branch(name="heavy", weight=heavy, op_type="MatMul"),
        Branch(name="light", weight=light, op_type="MatMul"),
    ]
    write_branches(tmp_path / "net.onnx", branches)
    first, second = observed(tmp_path / "net.onnx", np.full((1, CHANNELS, 4, 4), 255, dtype=np.float32))
    assert first.observed_pair_sum == 255 * 254
    assert second.observed_pair_sum is None


def test_groups_strides_dilations_and_padding_are_those_of_the_convolution(tmp_path: Path) -> None:
    """Each integer column times the weights is ONNX Runtime's own answer."""
    from edgekd.quantize.portable.patches import patches

    generator = np.random.default_rng(3)
    weight = generator.integers(-9, 9, (4, 8, 3, 2), dtype=np.int8)
    path = one(tmp_path / "net.onnx", Branch(name="conv", weight=weight, group=2))
    for own in (
        {"strides": [2, 1], "pads": [1, 0, 2, 1], "dilations": [1, 2]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 3]},
        {"auto_pad": "SAME_LOWER"},
        {"auto_pad": "VALID", "strides": [1, 2]},
    ):
        model = onnx.load(str(path))
        node = next(node for node in model.graph.node if node.op_type == "Conv")
        node.attribute.extend(helper.make_attribute(name, value) for name, value in own.items())
        (site,) = sites(model)
        values = generator.integers(0, 256, (1, CHANNELS, 4, 4)).astype(np.int32)
        expected = _convolve(values, weight, own)
        columns = patches(site, values, count=10**6, generator=generator)
        flat = np.moveaxis(weight.astype(int), 1, -1).reshape(2, 2, -1)
        mine = np.einsum("gpk,gok->gop", columns, flat).reshape(expected.shape)
        np.testing.assert_array_equal(mine, expected)


def _convolve(values: np.ndarray, weight: np.ndarray, own: dict[str, object]) -> np.ndarray:
    import onnxruntime

    node = helper.make_node("Conv", ["x", "w"], ["y"], group=2, **own)
    graph = helper.make_graph(
        [node],
        "conv",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, values.shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight.astype(np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return np.asarray(session.run(None, {"x": values.astype(np.float32)})[0])


def test_a_file_in_which_nothing_can_saturate_is_not_run(tmp_path: Path) -> None:
    write_branches(tmp_path / "net.onnx", [Branch(name="conv", weight=HEAVY // 2)])
    (found,) = observed(tmp_path / "net.onnx", np.zeros((2, 99)))  # no such network could run on that
    assert (found.can_saturate, found.observed_pair_sum) == (False, None)


def test_progress_is_told(tmp_path: Path) -> None:
    said: list[Progress] = []
    write_branches(tmp_path / "net.onnx", [Branch(name="conv", weight=HEAVY)])
    observed(tmp_path / "net.onnx", bright(5), samples=5, listener=said.append)
    assert [progress.done for progress in said] == [0, 1, 2, 3, 4]
    assert {progress.total for progress in said} == {5}
