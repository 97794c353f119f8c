"""Equalisation leaves the function as it was and makes the ranges of matched channels equal."""

import numpy as np
import onnx
import pytest

from edgekd.quantize.recover import equalize

from .networks import network, run, samples, separable, stored

ROUNDING = 1e-5
"""Of outputs around 1: some tens of float32 roundings (6e-8) in sums of tens of terms."""


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def uneven(model: onnx.ModelProto) -> onnx.ModelProto:
    """The depthwise channels times 0.001 to 1000, the next layer's inputs divided by it; the function stays."""
    factors = np.logspace(-3, 3, 6).astype(np.float32)
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        change = {
            "w2": values * factors.reshape(-1, 1, 1, 1) if tensor.name == "w2" else None,
            "b2": values * factors if tensor.name == "b2" else None,
            "w3": values / factors.reshape(1, -1, 1, 1) if tensor.name == "w3" else None,
        }.get(tensor.name)
        if change is not None:
            tensor.CopyFrom(onnx.numpy_helper.from_array(change, tensor.name))
    return model


@pytest.mark.parametrize("activation", ["Relu", "LeakyRelu", "PRelu", "Identity"])
def test_the_function_stays_through_every_activation_that_scales(activation: str) -> None:
    model, x = uneven(separable(activation=activation)), samples(5)
    found = equalize(model)
    assert [(pair.first, pair.second) for pair in found.pairs] == [
        ("first", "depthwise"),
        ("depthwise", "pointwise"),
        ("pointwise", "y"),
    ]
    assert found.converged
    assert found.max_change > 30
    np.testing.assert_allclose(run(found.model, x)[0], run(model, x)[0], atol=ROUNDING, rtol=ROUNDING)


def test_matched_channels_end_with_one_range_on_both_sides_of_a_depthwise_layer_too() -> None:
    weights = stored(equalize(uneven(separable())).model)
    made = np.abs(weights["w1"]).max(axis=(1, 2, 3))
    depthwise = np.abs(weights["w2"]).max(axis=(1, 2, 3))
    read = np.abs(weights["w3"]).max(axis=(0, 2, 3))
    np.testing.assert_allclose(made, depthwise, rtol=1e-2)
    np.testing.assert_allclose(depthwise, read, rtol=1e-2)


def test_a_rescaled_network_and_the_original_come_out_the_same() -> None:
    plain, other = (stored(equalize(model).model) for model in (separable(), uneven(separable())))
    for name, values in plain.items():
        np.testing.assert_allclose(other[name], values, rtol=2e-2, atol=1e-6)


def test_two_channels_worked_by_hand() -> None:
    # Ranges 4 and 1 before, 1 and 4 after: s = sqrt(1/4) and sqrt(4/1), all ranges become 2.
    weights = {
        "w1": np.array([[4.0], [1.0]], dtype=np.float32),
        "b1": np.array([1.0, 1.0], dtype=np.float32),
        "w2": np.array([[1.0, 4.0]], dtype=np.float32),
    }
    nodes = [
        ("Gemm", ["x", "w1", "b1"], "h", {"transB": 1}),
        ("Relu", ["h"], "a"),
        ("Gemm", ["a", "w2"], "y", {"transB": 1}),
    ]
    found = equalize(network(nodes, weights, shape=["batch", 1]))
    after = stored(found.model)
    np.testing.assert_allclose(after["w1"], [[2], [2]])
    np.testing.assert_allclose(after["b1"], [0.5, 2])
    np.testing.assert_allclose(after["w2"], [[2, 2]])
    assert found.max_change == pytest.approx(2)


def test_the_model_given_is_not_changed() -> None:
    model = separable()
    before = model.SerializeToString()
    equalize(model)
    assert model.SerializeToString() == before


def test_a_map_that_is_padded_pooled_and_flattened_keeps_its_channels_as_blocks() -> None:
    weights = {
        "w1": normal(4, 2, 3, 3) * np.logspace(-2, 2, 4, dtype=np.float32).reshape(-1, 1, 1, 1),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "w2": normal(4 * 3 * 3, 5, seed=1),
    }
    nodes = [
        ("Conv", ["x", "w1"], "c"),
        ("Relu", ["c"], "a"),
        ("Pad", ["a", "pads"], "p"),
        ("MaxPool", ["p"], "m", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("AveragePool", ["m"], "v", {"kernel_shape": [2, 2]}),
        ("Flatten", ["v"], "f"),
        ("MatMul", ["f", "w2"], "y"),
    ]
    model, x = network(nodes, weights, shape=["batch", 2, 8, 8]), samples(5)
    found = equalize(model)
    assert [(pair.first, pair.second, pair.channels) for pair in found.pairs] == [("c", "y", 4)]
    np.testing.assert_allclose(run(found.model, x)[0], run(model, x)[0], atol=1e-3, rtol=ROUNDING)
    after = stored(found.model)
    read = np.abs(after["w2"]).reshape(4, 9, 5).max(axis=(1, 2))
    np.testing.assert_allclose(np.abs(after["w1"]).max(axis=(1, 2, 3)), read, rtol=1e-2)


def test_grouped_convolutions_match_group_by_group() -> None:
    weights = {"w1": normal(6, 2, 3, 3), "w2": normal(4, 3, 3, 3, seed=1), "b1": normal(6)}
    weights["w1"][2] *= 50
    nodes = [
        ("Conv", ["x", "w1", "b1"], "c"),
        ("Relu", ["c"], "a"),
        ("Conv", ["a", "w2"], "y", {"group": 2}),
    ]
    model, x = network(nodes, weights, shape=["batch", 2, 8, 8]), samples(5)
    found = equalize(model)
    np.testing.assert_allclose(run(found.model, x)[0], run(model, x)[0], atol=1e-3, rtol=1e-4)
    after = stored(found.model)
    read = np.abs(after["w2"]).reshape(2, 2, 3, 9).max(axis=(1, 3)).reshape(-1)
    np.testing.assert_allclose(np.abs(after["w1"]).max(axis=(1, 2, 3)), read, rtol=1e-2)


def test_a_matmul_and_the_add_of_its_bias_are_one_layer() -> None:
    weights = {"w1": normal(5, 4) * np.logspace(-2, 2, 4, dtype=np.float32), "b1": normal(4), "w2": normal(4, 2)}
    nodes = [
        ("MatMul", ["x", "w1"], "p"),
        ("Add", ["b1", "p"], "h"),
        ("Relu", ["h"], "a"),
        ("MatMul", ["a", "w2"], "y"),
    ]
    model, x = network(nodes, weights, shape=["batch", 7, 5]), samples(3, shape=(7, 5))
    found = equalize(model)
    assert [(pair.first, pair.second) for pair in found.pairs] == [("p", "y")]
    np.testing.assert_allclose(run(found.model, x)[0], run(model, x)[0], atol=1e-4, rtol=1e-4)
    assert not np.array_equal(stored(found.model)["b1"], weights["b1"])


def test_relu6_is_skipped_and_named_and_a_clip_without_upper_limit_is_a_relu() -> None:
    def clipped(*limits: float) -> onnx.ModelProto:
        names = [f"limit{index}" for index in range(len(limits))]
        weights = {"w1": normal(4, 2, 1, 1), "w2": normal(3, 4, 1, 1)}
        weights |= {name: np.array(value, dtype=np.float32) for name, value in zip(names, limits, strict=True)}
        nodes = [("Conv", ["x", "w1"], "c"), ("Clip", ["c", *names], "six"), ("Conv", ["six", "w2"], "y")]
        return network(nodes, weights, shape=["batch", 2, 8, 8])

    found = equalize(clipped(0, 6))
    assert found.pairs == ()
    assert "Clip 'six' after it has an upper limit (Relu6, say)" in found.skipped[0]
    assert (found.max_change, found.sweeps, found.converged) == (1.0, 0, True)
    assert len(equalize(clipped(0)).pairs) == 1
    assert equalize(clipped(-1)).pairs == ()


@pytest.mark.parametrize(
    ("middle", "reason"),
    [
        ([("Sigmoid", ["c"], "s"), ("Conv", ["s", "w2"], "y")], "Sigmoid 's' after it does not commute"),
        ([("Conv", ["c", "w2"], "d"), ("Add", ["c", "d"], "y")], "'c' has several readers"),
        ([("Transpose", ["c"], "t", {"perm": [0, 1, 3, 2]}), ("Conv", ["t", "w2"], "y")], "Transpose 't' after it"),
        ([("Pad", ["c", "pads", "one"], "p"), ("Conv", ["p", "w2"], "y")], "Pad 'p' after it"),
        ([("Pad", ["c", "wide"], "p"), ("Conv", ["p", "w8"], "y")], "Pad 'p' after it"),
        ([("Reshape", ["c", "mixed"], "r"), ("MatMul", ["r", "w64"], "y")], "Reshape 'r' after it"),
        ([("ReduceMean", ["c"], "r", {"axes": [1, 2, 3]}), ("Conv", ["r", "w1c"], "y")], "ReduceMean 'r' after it"),
    ],
)
def test_what_does_not_scale_with_the_channel_ends_a_chain_and_is_named(middle: list[object], reason: str) -> None:
    everything = {
        **{"w1": normal(4, 2, 1, 1), "w2": normal(4, 4, 1, 1), "w8": normal(3, 5, 1, 1), "w1c": normal(3, 1, 1, 1)},
        **{"w64": normal(64, 3), "mixed": np.array([-1, 64])},  # 64 of a sample's 256 numbers: one channel a row
        **{"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "wide": np.array([0, 0, 0, 0, 0, 1, 0, 0])},
        "one": np.array(1, dtype=np.float32),
    }
    nodes = [("Conv", ["x", "w1"], "c"), *middle]
    used = {name for node in nodes for name in node[1]}  # type: ignore[index]
    weights = {name: value for name, value in everything.items() if name in used}
    model = network(nodes, weights, shape=["batch", 2, 8, 8])  # type: ignore[arg-type]
    found = equalize(model)
    assert found.pairs == ()
    assert any(reason in sentence for sentence in found.skipped)


def test_a_weight_that_two_layers_share_is_copied_before_it_is_scaled() -> None:
    weights = {"w": normal(4, 4, 1, 1), "w0": normal(4, 2, 1, 1)}
    weights["w0"][0] *= 30
    nodes = [
        ("Conv", ["x", "w0"], "c0"),
        ("Relu", ["c0"], "a0"),
        ("Conv", ["a0", "w"], "c1"),
        ("Relu", ["c1"], "a1"),
        ("Conv", ["a1", "w"], "y"),
    ]
    model, x = network(nodes, weights, shape=["batch", 2, 4, 4]), samples(3, shape=(2, 4, 4))
    found = equalize(model)
    assert len(found.pairs) == 2
    np.testing.assert_allclose(run(found.model, x)[0], run(model, x)[0], atol=1e-3, rtol=1e-4)


def test_a_dead_channel_is_left_alone_because_its_bias_would_blow_up() -> None:
    weights = {"w1": normal(4, 2, 1, 1), "b1": np.ones(4, dtype=np.float32), "w2": normal(3, 4, 1, 1)}
    weights["w1"][1] = 0
    weights["w1"][2] *= 1e-12
    nodes = [("Conv", ["x", "w1", "b1"], "c"), ("Relu", ["c"], "a"), ("Conv", ["a", "w2"], "y")]
    model, x = network(nodes, weights, shape=["batch", 2, 4, 4]), samples(3, shape=(2, 4, 4))
    after = equalize(model).model
    assert np.abs(stored(after)["b1"]).max() < 10
    np.testing.assert_allclose(run(after, x)[0], run(model, x)[0], atol=ROUNDING, rtol=ROUNDING)


def test_an_intermediate_that_is_an_output_of_the_network_is_not_scaled() -> None:
    model, x = separable(), samples(3)
    model.graph.output.append(onnx.ValueInfoProto(name="a1"))
    for before, after in zip(run(model, x), run(equalize(model).model, x), strict=True):
        np.testing.assert_allclose(after, before, atol=ROUNDING, rtol=ROUNDING)
