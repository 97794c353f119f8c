"""Weights in 8 or 4 bits keep what the network computes, run on MatMulNBits, and are refused where there are none."""

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd.errors import BadInputError
from edgekd.kernels import profile, sentence
from edgekd.quantize.weight_only import quantize_blocks, write_weight_only
from edgekd.runner import runner
from edgekd.session import SessionOptions, facts, open_session

CPU = SessionOptions()
BITS = [(8, 35.0), (4, 15.0)]
"""Bits and the least signal-to-noise ratio in decibels: rounding to b bits leaves about 6.02 b - 10 of it at 128
normal weights a scale, whose largest is about 2.7 times their deviation."""


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def save(path: Path, nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], width: int = 256) -> Path:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", None])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def write_mlp(path: Path) -> Path:
    """A MatMul with an Add, and two Gemm as torch exports them."""
    weights = {"w1": draw(256, 200), "b1": draw(200), "w2": draw(96, 200), "b2": draw(96), "w3": draw(10, 96)}
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["m1"], name="first"),
        helper.make_node("Add", ["m1", "b1"], ["a1"], name="bias"),
        helper.make_node("Relu", ["a1"], ["r1"], name="relu"),
        helper.make_node("Gemm", ["r1", "w2", "b2"], ["g2"], name="second", transB=1),
        helper.make_node("Gemm", ["g2", "w3"], ["y"], name="third", transB=1),
    ]
    return save(path, nodes, {name: value / 16 for name, value in weights.items()})


@pytest.fixture(scope="module")
def mlp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mlp(tmp_path_factory.mktemp("mlp") / "fp32.onnx")


def answers(path: Path, inputs: np.ndarray) -> np.ndarray:
    session = open_session(path, CPU)
    return np.asarray(runner(session, facts(session, path))(inputs))


def decibels(exact: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(np.square(exact).sum() / np.square(exact - other).sum()))


def dequantized(weights: np.ndarray, *, bits: int, block_size: int) -> np.ndarray:
    """What the stored blocks stand for, by the operator's description; (K, N)."""
    blocks = quantize_blocks(weights, bits=bits, block_size=block_size)
    values = blocks.packed.astype(np.int32)
    if bits == 4:
        values = np.stack([values & 15, values >> 4], axis=-1).reshape(*values.shape[:2], -1)
    floats = (values - 2 ** (bits - 1)) * blocks.scales[..., None]
    return floats.reshape(len(floats), -1)[:, : len(weights)].T.astype(np.float32)


@pytest.mark.parametrize(("bits", "least"), BITS)
def test_the_network_answers_nearly_as_before(bits: int, least: float, mlp: Path, tmp_path: Path) -> None:
    inputs = draw(32, 256, seed=1)
    made = write_weight_only(mlp, tmp_path / "net.onnx", bits=bits)
    assert made.layers == ("first", "second")
    assert made.left == ("third: fewer than 1024 values",)
    assert 0.9 < made.share < 1.0
    assert decibels(answers(mlp, inputs), answers(tmp_path / "net.onnx", inputs)) > least


@pytest.mark.parametrize(("bits", "least"), BITS)
def test_the_file_is_smaller_by_the_bits_and_runs_on_weight_only_kernels(
    bits: int, least: float, mlp: Path, tmp_path: Path
) -> None:
    write_weight_only(mlp, tmp_path / "net.onnx", bits=bits)
    assert (tmp_path / "net.onnx").stat().st_size < (bits / 32 + 0.06) * mlp.stat().st_size
    found = profile(tmp_path / "net.onnx", draw(4, 256), CPU)
    ran = {node.name: node.kind for node in found.nodes}
    assert (ran["first"], ran["second"], ran["third"]) == ("weight-only", "weight-only", "float")
    assert found.fp32_islands == ()  # all but the weights is float by design
    assert "in weight-only kernels" in sentence(found)


@pytest.mark.parametrize(("bits", "least"), BITS)
@pytest.mark.parametrize("rows", [256, 200, 16])
def test_the_kernel_reads_the_blocks_as_they_were_meant(bits: int, least: float, rows: int, tmp_path: Path) -> None:
    weights = draw(rows, 96, seed=2)
    source = save(
        tmp_path / "fp32.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"], name="m")], {"w": weights}, rows
    )
    write_weight_only(source, tmp_path / "net.onnx", bits=bits, block_size=32)
    meant = dequantized(weights, bits=bits, block_size=32)
    # the rest is the kernel's own rounding of activations to 8 bits
    got = answers(tmp_path / "net.onnx", np.eye(rows, dtype=np.float32))
    np.testing.assert_allclose(got, meant, atol=1e-5)
    assert decibels(weights, meant) > least


@pytest.mark.skipif(importlib.util.find_spec("onnx_ir") is None, reason="ONNX Runtime's own writer needs onnx_ir")
def test_eight_bits_are_those_of_onnxruntimes_own_writer(tmp_path: Path) -> None:
    from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

    weights = draw(200, 96, seed=3)
    source = save(
        tmp_path / "fp32.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"], name="m")], {"w": weights}, 200
    )
    config = DefaultWeightOnlyQuantConfig(block_size=64, is_symmetric=True, accuracy_level=4, bits=8)
    theirs = MatMulNBitsQuantizer(onnx.load(str(source)), algo_config=config)
    theirs.process()
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in theirs.model.model.graph.initializer}
    ours = quantize_blocks(weights, bits=8, block_size=64)
    apart = np.abs(ours.packed.astype(int) - stored["w_Q8"]).reshape(96, -1)[:, :200]  # behind K nothing is read
    assert apart.max() <= 1  # theirs multiplies by the inverse scale: another way to round what lies halfway
    assert apart.mean() < 1e-3
    np.testing.assert_allclose(ours.scales, stored["w_scales"], rtol=1e-6)


def test_four_bits_by_hand() -> None:
    # 8 is the largest, so -8 stands for it: scale -1, and each whole number is met; -1 -> 1 -> 1 + 8 = 9
    column = np.zeros((16, 1), np.float32)
    column[:4, 0] = [8, -1, 2, -7]
    blocks = quantize_blocks(column, bits=4, block_size=16)
    assert blocks.scales.tolist() == [[-1.0]]
    assert blocks.packed[0, 0, :3].tolist() == [0 | 9 << 4, 6 | 15 << 4, 8 | 8 << 4]


def test_the_chosen_range_leaves_less_error_than_the_whole_range() -> None:
    weights = draw(1024, 64, seed=4)
    blocks = weights.reshape(8, 128, 64)
    extreme = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=1, keepdims=True), axis=1)
    whole = (np.clip(np.rint(blocks / (extreme / -8)), -8, 7) * (extreme / -8)).reshape(weights.shape)
    chosen = dequantized(weights, bits=4, block_size=128)
    assert decibels(weights, chosen) > decibels(weights, whole) + 0.3


def test_a_matrix_of_zeros_stays_zero() -> None:
    assert not dequantized(np.zeros((40, 3), np.float32), bits=4, block_size=32).any()


def test_weights_that_two_layers_share_are_stored_once(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="one"),
        helper.make_node("MatMul", ["h", "w"], ["i"], name="two"),
        helper.make_node("Gemm", ["i", "w"], ["y"], name="turned", transB=1),
    ]
    source = save(tmp_path / "fp32.onnx", nodes, {"w": draw(64, 64) / 8}, 64)
    write_weight_only(source, tmp_path / "net.onnx", bits=8)
    names = [tensor.name for tensor in onnx.load(str(tmp_path / "net.onnx")).graph.initializer]
    assert names == ["w_8bit", "w_8bit_scales", "w_t8bit", "w_t8bit_scales"]
    inputs = draw(4, 64, seed=1)
    assert decibels(answers(source, inputs), answers(tmp_path / "net.onnx", inputs)) > 30


def test_weights_that_something_else_reads_stay(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="product"),
        helper.make_node("ReduceSum", ["w"], ["total"], name="sum"),
        helper.make_node("Add", ["h", "total"], ["y"], name="add"),
    ]
    source = save(tmp_path / "fp32.onnx", nodes, {"w": draw(64, 64)}, 64)
    made = write_weight_only(source, tmp_path / "net.onnx", bits=8)
    assert made.share == 0.0
    assert np.isfinite(answers(tmp_path / "net.onnx", draw(2, 64))).all()


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"alpha": 0.5}, "a Gemm with factors"), ({"beta": 2.0}, "a Gemm with factors"), ({}, "not constant")],
)
def test_a_product_that_would_not_be_the_same_stays_and_says_why(
    options: dict[str, float], reason: str, tmp_path: Path
) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="easy"),
        helper.make_node("Gemm", ["h", "w" if options else "h", "b"], ["y"], name="hard", transB=1, **options),
    ]
    source = save(tmp_path / "fp32.onnx", nodes, {"w": draw(64, 64), "b": draw(1)}, 64)
    made = write_weight_only(source, tmp_path / "net.onnx", bits=4)
    assert made.layers == ("easy",)
    assert made.left[0].startswith("hard: ")
    assert reason in made.left[0]


def test_a_network_without_large_products_is_refused_with_the_reason(float_net: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"nothing to quantize: no MatMul or Gemm .* fewer than 1024 values"):
        write_weight_only(float_net, tmp_path / "net.onnx", bits=8)
    assert not (tmp_path / "net.onnx").exists()


def test_bits_and_blocks_that_have_no_kernel_are_refused(mlp: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="weights of 3 bits"):
        write_weight_only(mlp, tmp_path / "net.onnx", bits=3)
    with pytest.raises(BadInputError, match="a power of two from 16 on"):
        write_weight_only(mlp, tmp_path / "net.onnx", bits=4, block_size=100)


def test_the_same_file_gives_the_same_bytes(mlp: Path, tmp_path: Path) -> None:
    for name in ("one.onnx", "two.onnx"):
        write_weight_only(mlp, tmp_path / name, bits=4)
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()
