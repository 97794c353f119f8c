"""Corrected biases give the quantized layers fp32's means; nothing else changes."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekd.quantize.recover import correct_biases, joined

from .networks import network, quantize, run, samples, separable, stored

LAYERS = ["first", "depthwise", "pointwise", "y"]


def shifts(fp32: onnx.ModelProto, int8: Path, x: np.ndarray) -> dict[str, float]:
    """Layer -> root mean square, over channels, of the shift of the mean against that of the channel's own values."""
    found = {}
    for name in LAYERS:
        ours, theirs = (run(model, x, [name])[0] for model in (fp32, int8))
        axes = (0, *range(2, ours.ndim))
        found[name] = float(np.sqrt(np.square((theirs - ours).mean(axis=axes)).mean()) / ours.std())
    return found


def uneven() -> onnx.ModelProto:
    """The small network with channels of one depthwise layer that differ a hundredfold: rounding shifts their means."""
    model = separable()
    factors = np.logspace(-1.5, 0.5, 6).astype(np.float32).reshape(-1, 1, 1, 1)
    for tensor in model.graph.initializer:
        if tensor.name == "w2":
            tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) * factors, "w2"))
    return model


def test_the_means_of_every_layer_come_back_after_quantizing_again(tmp_path: Path) -> None:
    model, x = uneven(), samples(200)
    int8 = quantize(model, tmp_path / "int8.onnx", x)
    corrected = correct_biases(model, int8, x, input_name="x")
    before, after = shifts(model, int8, x), shifts(model, quantize(corrected, tmp_path / "again.onnx", x), x)
    assert max(before.values()) > 0.004
    # What is left is the bias' own rounding and the ranges of a new calibration.
    assert all(after[name] < 0.001 for name in LAYERS), (before, after)


def test_a_second_pass_finds_what_a_layer_inherits(tmp_path: Path) -> None:
    model, x = uneven(), samples(200)
    int8 = quantize(model, tmp_path / "int8.onnx", x)
    left = []
    for passes in (1, 2, 3):
        corrected = correct_biases(model, int8, x, input_name="x", passes=passes)
        left.append(max(shifts(model, quantize(corrected, tmp_path / f"{passes}.onnx", x), x).values()))
    assert left[1] < left[0] / 3
    assert left[2] <= left[1]


def test_only_biases_change_and_the_model_given_does_not(tmp_path: Path) -> None:
    model, x = uneven(), samples(40)
    untouched = model.SerializeToString()
    corrected = correct_biases(model, quantize(model, tmp_path / "int8.onnx", x), x, input_name="x")
    assert model.SerializeToString() == untouched
    before, after = stored(model), stored(corrected)
    assert before.keys() == after.keys()
    assert {name for name in before if not np.array_equal(before[name], after[name])} == {"b1", "b2", "b3", "b4"}
    assert [node.SerializeToString() for node in corrected.graph.node] == [
        node.SerializeToString() for node in model.graph.node
    ]


@pytest.mark.parametrize("kind", ["Conv", "Gemm", "MatMul and Add"])
def test_a_bias_worked_by_hand(kind: str, tmp_path: Path) -> None:
    """0.3 of a range of 1 is 38 of 127 steps: each x loses (0.3 - 38/127) x, on average 127.5 of that."""
    weight, bias = np.array([[1.0], [0.3]], dtype=np.float32), np.array([0.0, 2.0], dtype=np.float32)
    x = np.arange(256, dtype=np.float32).reshape(-1, 1)
    if kind == "Conv":  # without a bias, which it gets
        x, weights = x.reshape(-1, 1, 1, 1), {"w": weight.reshape(2, 1, 1, 1)}
        nodes: list[object] = [("Conv", ["x", "w"], "y")]
    elif kind == "MatMul and Add":
        weights, nodes = {"w": weight.T, "b": bias}, [("MatMul", ["x", "w"], "p"), ("Add", ["p", "b"], "y")]
    else:
        weights, nodes = {"w": weight.T, "b": bias}, [("Gemm", ["x", "w", "b"], "y")]
    model = network(nodes, weights, shape=["batch", *x.shape[1:]])  # type: ignore[arg-type]
    corrected = correct_biases(model, quantize(model, tmp_path / "int8.onnx", x), x, input_name="x", passes=2)
    gained = (run(corrected, x[:1])[0] - run(model, x[:1])[0]).reshape(-1)
    # The Add of a MatMul's output is on a grid of its own (255 steps of 1), whose rounding averages to 0.002 at most.
    np.testing.assert_allclose(gained, [0, 127.5 * (0.3 - 38 / 127)], atol=5e-3)


@pytest.mark.parametrize("kind", ["MatMul", "Gemm with beta"])
def test_a_product_without_a_bias_to_move_stays_as_it_is(kind: str, tmp_path: Path) -> None:
    weights = {"w": np.array([[1.0, 0.3]], dtype=np.float32)}
    if kind == "MatMul":
        nodes: list[object] = [("MatMul", ["x", "w"], "y")]
    else:
        weights["b"], nodes = np.ones(2, dtype=np.float32), [("Gemm", ["x", "w", "b"], "y", {"beta": 0.5})]
    model = network(nodes, weights, shape=["batch", 1])  # type: ignore[arg-type]
    x = np.arange(256, dtype=np.float32).reshape(-1, 1)
    corrected = correct_biases(model, quantize(model, tmp_path / "int8.onnx", x), x, input_name="x")
    assert corrected.SerializeToString() == model.SerializeToString()


def test_the_number_of_samples_a_run_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = uneven(), samples(50)
    int8 = quantize(model, tmp_path / "int8.onnx", x)
    whole = stored(correct_biases(model, int8, x, input_name="x"))
    monkeypatch.setattr(joined, "BATCH", 7)
    for name, values in stored(correct_biases(model, int8, x, input_name="x")).items():
        np.testing.assert_allclose(values, whole[name], atol=1e-5)


def test_a_bias_that_two_layers_share_is_corrected_for_each(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    weights = {name: random.normal(0, 1, (3, 3)).astype(np.float32) for name in ("w1", "w2")}
    weights["b"] = random.normal(0, 1, 3).astype(np.float32)
    nodes = [("Gemm", ["x", "w1", "b"], "h"), ("Relu", ["h"], "a"), ("Gemm", ["a", "w2", "b"], "y")]
    model, x = network(nodes, weights, shape=["batch", 3]), samples(64, shape=(3,))
    corrected = correct_biases(model, quantize(model, tmp_path / "int8.onnx", x), x, input_name="x")
    one, two = (stored(corrected)[node.input[2]] for node in corrected.graph.node if node.op_type == "Gemm")
    assert not np.array_equal(one, two)
    assert corrected.graph.node[0].input[2] != corrected.graph.node[2].input[2]
