"""One pass sees what a run of the whole network would show, whatever the batch, and says what it cannot calibrate."""

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationMethod
from onnxruntime.quantization.calibrate import create_calibrator

from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.progress import Progress
from edgekd.quantize.calibrate.histogram import Histogram, add, empty
from edgekd.quantize.calibrate.observe import observe
from edgekd.quantize.calibrate.ranges import ranges

FLOAT = TensorProto.FLOAT
Array = np.ndarray


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    shape: list[Any],
    weights: dict[str, Array] | None = None,
    *,
    kind: int = FLOAT,
    **options: Any,
) -> Path:
    """A network from x to y."""
    stored = [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()]
    ends = [helper.make_tensor_value_info("x", kind, shape)], [helper.make_tensor_value_info("y", kind, None)]
    model = helper.make_model(
        helper.make_graph(nodes, "net", *ends, stored), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    onnx.save(model, str(path), **options)
    return path


def cnn(path: Path, *, batch: int | str = "n", size: int | str = 12, width: int = 6, **options: Any) -> Path:
    """Convolutions, a clip, a residual sum, pooling, and a matrix: every way a tensor can follow another."""
    generator = np.random.default_rng(0)
    weights = {
        "k0": generator.normal(0, 0.4, (width, 3, 3, 3)).astype(np.float32),
        "k1": generator.normal(0, 0.3, (width, width, 3, 3)).astype(np.float32),
        "dense": generator.normal(0, 1, (width, 5)).astype(np.float32),
        "zero": np.array(0, dtype=np.float32),
        "six": np.array(1.5, dtype=np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "k0"], ["c0"], pads=[1] * 4),
        helper.make_node("Clip", ["c0", "zero", "six"], ["r0"]),
        helper.make_node("Conv", ["r0", "k1"], ["c1"], pads=[1] * 4),
        helper.make_node("Add", ["r0", "c1"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["r1"]),
        helper.make_node("GlobalAveragePool", ["r1"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "dense"], ["y"]),
    ]
    return save(path, nodes, [batch, 3, size, size], weights, **options)


def noise(count: int, *shape: int) -> Array:
    return np.random.default_rng(1).normal(0, 1, (count, *shape)).astype(np.float32)


def assert_same(one: dict[str, Histogram], other: dict[str, Histogram]) -> None:
    assert one.keys() == other.keys()
    for name, histogram in one.items():
        twin = other[name]
        assert (histogram.low, histogram.high, histogram.n) == (twin.low, twin.high, twin.n), name
        np.testing.assert_array_equal(histogram.counts, twin.counts, err_msg=name)


def whole(path: Path, inputs: Array) -> dict[str, Array]:
    """Every tensor of the network, in full."""
    model = onnx.load(str(path))
    names = [name for node in model.graph.node for name in node.output]
    del model.graph.output[:]
    model.graph.output.extend(helper.make_tensor_value_info(name, FLOAT, None) for name in names)
    values = onnxruntime.InferenceSession(model.SerializeToString()).run(names, {"x": inputs})
    return {"x": inputs, **dict(zip(names, values, strict=True))}


def histogram_of(values: Array) -> Histogram:
    return add(empty(), values, low=float(values.min()), high=float(values.max()))


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cnn(tmp_path_factory.mktemp("net") / "net.onnx")


@pytest.fixture(scope="module")
def images() -> Array:
    return noise(20, 3, 12, 12)


def test_with_enough_samples_the_histogram_is_that_of_all_elements(net: Path, images: Array) -> None:
    full = whole(net, images)
    seen = observe(net, images, input_name="x", samples_per_tensor=6 * 12 * 12)
    assert seen.keys() == full.keys()
    assert_same(seen, {name: histogram_of(values) for name, values in full.items()})


@pytest.mark.parametrize("batch", [1, 7, 64])
@pytest.mark.parametrize("width", [6, 16])  # of 16 channels ONNX Runtime makes blocks
def test_the_result_is_bit_equal_for_any_batch_size(batch: int, width: int, tmp_path: Path) -> None:
    path, images = cnn(tmp_path / "net.onnx", width=width), noise(65, 3, 12, 12)
    one = observe(path, images, input_name="x", samples_per_tensor=50)
    assert_same(observe(path, images, input_name="x", samples_per_tensor=50, batch_size=batch), one)


def test_samples_are_spread_over_the_tensor_and_their_extremes_are_exact(net: Path, images: Array) -> None:
    full = whole(net, images)
    for name, histogram in observe(net, images, input_name="x", samples_per_tensor=64).items():
        values = full[name].reshape(len(images), -1)
        assert histogram.n == len(images) * min(64, values.shape[1])
        assert (histogram.low, histogram.high) == (values.min(), values.max())
        middles = (histogram.edges[:-1] + histogram.edges[1:]) / 2
        error = values.std() / histogram.n**0.5  # of a mean of random samples
        assert np.average(middles, weights=histogram.counts) == pytest.approx(
            values.mean(), abs=float(4 * error) + 1e-3
        )


def test_only_the_tensors_asked_for_are_returned(net: Path, images: Array) -> None:
    everything = observe(net, images, input_name="x")
    asked = observe(net, images, input_name="x", tensors=["r1", "flat"])
    assert list(asked) == ["r1", "flat"]
    for name, histogram in asked.items():  # what nobody looks at may be fused with its neighbour, and round otherwise
        assert (histogram.n, histogram.high) == (everything[name].n, pytest.approx(everything[name].high, rel=1e-6))


def test_a_network_of_a_fixed_batch_gets_pieces_of_it_and_copies_do_not_count(
    net: Path, images: Array, tmp_path: Path
) -> None:
    fixed = cnn(tmp_path / "fixed.onnx", batch=8)  # 20 samples: the last piece is filled up with 4 copies
    assert_same(observe(fixed, images, input_name="x"), observe(net, images, input_name="x"))
    one = cnn(tmp_path / "one.onnx", batch=1)
    assert observe(one, images, input_name="x")["y"].n == 20 * 5


def test_a_network_of_any_spatial_size_takes_the_samples_size(net: Path, images: Array, tmp_path: Path) -> None:
    dynamic = cnn(tmp_path / "dynamic.onnx", size="side")
    assert_same(observe(dynamic, images, input_name="x"), observe(net, images, input_name="x"))
    larger = observe(dynamic, noise(3, 3, 20, 20), input_name="x", samples_per_tensor=4000)
    assert (larger["x"].n, larger["r0"].n) == (3 * 3 * 400, 3 * 6 * 400)


def test_a_tensor_whose_size_depends_on_the_data_is_sampled_too(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("NonZero", ["x"], ["where"]),
        helper.make_node("Transpose", ["where"], ["index"]),
        helper.make_node("GatherND", ["x", "index"], ["y"]),
    ]
    path = save(tmp_path / "net.onnx", nodes, ["n", 9])
    inputs = np.maximum(noise(11, 9), 0)
    seen = observe(path, inputs, input_name="x", tensors=["y"])["y"]
    assert_same({"y": seen}, {"y": histogram_of(inputs[inputs > 0])})
    few = [
        observe(path, inputs, input_name="x", tensors=["y"], samples_per_tensor=3, batch_size=b)["y"] for b in (1, 8)
    ]
    assert_same({"y": few[0]}, {"y": few[1]})
    assert few[0].n == sum(min(3, count) for count in (inputs > 0).sum(axis=1))


def test_a_tensor_that_samples_share_counts_once_for_each(tmp_path: Path) -> None:
    weights = {"table": np.linspace(-1, 1, 40, dtype=np.float32), "rows": np.array([1, 40], dtype=np.int64)}
    nodes = [
        helper.make_node("Mul", ["table", "table"], ["squares"]),
        helper.make_node("Reshape", ["squares", "rows"], ["bias"]),
        helper.make_node("Add", ["x", "bias"], ["y"]),
    ]
    path, inputs = save(tmp_path / "net.onnx", nodes, ["n", 40], weights), noise(9, 40)
    for count in (10, 100):  # fewer than the tensor has, and more
        seen = [observe(path, inputs, input_name="x", samples_per_tensor=count, batch_size=b) for b in (1, 4, 64)]
        assert_same(seen[0], seen[1])
        assert_same(seen[0], seen[2])
        assert seen[0]["squares"].n == seen[0]["y"].n == 9 * min(count, 40)


def test_a_network_that_mixes_its_samples_axis_runs_one_at_a_time(tmp_path: Path) -> None:
    nodes = [helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]), helper.make_node("Exp", ["t"], ["y"])]
    path, inputs = save(tmp_path / "net.onnx", nodes, ["n", 4, 6]), noise(9, 4, 6)
    seen = [observe(path, inputs, input_name="x", samples_per_tensor=5, batch_size=b) for b in (1, 4)]
    assert_same(*seen)


def test_a_network_that_says_any_batch_and_means_one_still_runs(tmp_path: Path) -> None:
    weights = {"rows": np.array([1, 24], dtype=np.int64)}
    nodes = [helper.make_node("Reshape", ["x", "rows"], ["r"]), helper.make_node("Relu", ["r"], ["y"])]
    path, inputs = save(tmp_path / "net.onnx", nodes, ["n", 4, 6], weights), noise(9, 4, 6)
    assert observe(path, inputs, input_name="x")["y"].high == inputs.max()


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_other_floats_are_observed_too(kind: type, tmp_path: Path) -> None:
    code = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    path = save(tmp_path / "net.onnx", [helper.make_node("Add", ["x", "x"], ["y"])], ["n", 30], kind=code)
    inputs = noise(5, 30).astype(kind)
    expected = histogram_of((inputs + inputs).astype(np.float32))
    assert_same({"y": observe(path, inputs, input_name="x")["y"]}, {"y": expected})


def test_integers_are_no_activations(pixel_net: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 1), dtype=np.uint8)
    assert sorted(observe(pixel_net, pixels, input_name="x")) == sorted(
        ["floats", "scaled", "image", "map", "positive", "features", "logits"]
    )


def test_weights_outside_the_file_are_found_beside_it(
    net: Path, images: Array, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    path = cnn(
        tmp_path / "elsewhere" / "net.onnx", save_as_external_data=True, location="weights.bin", size_threshold=64
    )
    assert (path.parent / "weights.bin").is_file()
    monkeypatch.chdir(path.parent)
    assert_same(observe(Path("net.onnx"), images, input_name="x"), observe(net, images, input_name="x"))
    monkeypatch.chdir(tmp_path)
    assert_same(observe(path, images, input_name="x"), observe(net, images, input_name="x"))


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_a_memory_mapped_file_is_read_and_left_as_it_is(mode: Any, net: Path, images: Array, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", images)
    mapped = np.load(tmp_path / "x.npy", mmap_mode=mode)
    if mode != "r":
        mapped[3] *= 2
    expected = np.array(mapped)
    seen = observe(net, mapped[1:], input_name="x", batch_size=4)
    assert_same(seen, observe(net, expected[1:], input_name="x"))
    np.testing.assert_array_equal(mapped, expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_named_with_its_sample(value: float, net: Path, images: Array) -> None:
    broken = images.copy()
    broken[13, 1, 2, 3] = value
    with pytest.raises(BadInputError, match=r"sample 13 makes tensor 'x' NaN or infinite.*leave the sample out"):
        observe(net, broken, input_name="x", batch_size=8)


def test_a_nan_born_inside_and_hidden_by_the_next_node_is_found(tmp_path: Path) -> None:
    # ONNX Runtime's ReduceMin and ReduceMax pass over NaN, and so does its Relu.
    nodes = [helper.make_node("Sqrt", ["x"], ["root"]), helper.make_node("Relu", ["root"], ["y"])]
    path, inputs = save(tmp_path / "net.onnx", nodes, ["n", 50]), np.abs(noise(9, 50))
    inputs[4, 31] = -1
    with pytest.raises(BadInputError, match="sample 4 makes tensor 'root' NaN"):
        observe(path, inputs, input_name="x")


def test_huge_and_zero_tensors_have_a_histogram(tmp_path: Path) -> None:
    weights = {"huge": np.array(1e30, dtype=np.float32), "none": np.array(0, dtype=np.float32)}
    nodes = [helper.make_node("Mul", ["x", "huge"], ["big"]), helper.make_node("Mul", ["big", "none"], ["y"])]
    path, inputs = save(tmp_path / "net.onnx", nodes, ["n", 50], weights), noise(9, 50)
    seen = observe(path, inputs, input_name="x")
    assert seen["big"].high == inputs.max() * np.float32(1e30)
    assert ranges(seen, "mse")["y"] == (0.0, 0.0)


def test_the_cap_makes_batches_smaller_and_says_when_it_cannot_be_kept(net: Path, images: Array) -> None:
    def pieces(cap: int | None) -> list[float]:
        said: list[Progress] = []
        seen = observe(net, images, input_name="x", max_memory_bytes=cap, listener=said.append)
        assert_same(seen, observe(net, images, input_name="x"))
        assert {p.stage for p in said} == {"calibrate"} and {p.total for p in said} == {20}
        assert all(p.note.endswith("s left") for p in said[1:-1])
        return [p.done for p in said]

    assert pieces(None) == [0, 20]
    small = pieces(600_000)
    assert len(small) > 3 and small[-1] == 20
    with pytest.raises(EnvironmentFault, match=r"may use 0.001 MB; it needs .* raise the limit"):
        observe(net, images, input_name="x", max_memory_bytes=1000)


def theirs(path: Path, inputs: Array, method: CalibrationMethod, folder: Path, **options: Any) -> dict[str, Any]:
    """ONNX Runtime's ranges."""
    with contextlib.redirect_stdout(io.StringIO()):
        made = create_calibrator(path, None, str(folder / "aug.onnx"), method, extra_options=options)
        made.collect_data(iter_reader(inputs))
        found = made.compute_data()
    return {name: tuple(float(np.ravel(end)[0]) for end in found[name].range_value) for name in found}


def iter_reader(inputs: Array) -> Any:
    class Reader:
        batches = iter([{"x": inputs[i : i + 5]} for i in range(0, len(inputs), 5)])

        def get_next(self) -> Any:
            return next(self.batches, None)

    return Reader()


@pytest.mark.parametrize("width", [6, 16])
def test_minmax_agrees_with_onnxruntimes(width: int, tmp_path: Path, images: Array) -> None:
    # ONNX Runtime's calibrator turns its own optimizations off; with them it sums in another order, by some last bits.
    path = cnn(tmp_path / "net.onnx", width=width)
    expected = theirs(path, images, CalibrationMethod.MinMax, tmp_path)
    found = ranges(observe(path, images, input_name="x"), "minmax")
    assert found["x"] == expected["x"]
    assert found.keys() == expected.keys()
    for name, ends in expected.items():
        assert found[name] == pytest.approx((min(ends[0], 0), max(ends[1], 0)), rel=1e-6, abs=0), name


def test_percentile_agrees_with_onnxruntimes_within_its_bins(net: Path, images: Array, tmp_path: Path) -> None:
    options = {"symmetric": False, "percentile": 99.0, "num_bins": 2048}
    expected = theirs(net, images, CalibrationMethod.Percentile, tmp_path, **options)
    seen = observe(net, images, input_name="x", samples_per_tensor=6 * 12 * 12)
    for name, (low, high) in ranges(seen, "percentile", percentile=99.0).items():
        if seen[name].n >= 2000:  # ONNX Runtime rounds a percentile of few elements to one of them
            width = 2 * max(-seen[name].low, seen[name].high) / 2048
            assert low == pytest.approx(min(expected[name][0], 0), abs=4 * width), name
            assert high == pytest.approx(max(expected[name][1], 0), abs=4 * width), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tensors": ["poled"]}, "'poled' is no float activation of the model; did you mean 'pooled'"),
        ({"tensors": ["k0"]}, "'k0' is no float activation"),
        ({"input_name": "image"}, "has the input.s. x; expected 'image' alone"),
        (
            {"inputs": noise(4, 3, 10, 12)},
            r"a calibration sample has shape \(3, 10, 12\); input 'x' takes \(3, 12, 12\)",
        ),
        ({"inputs": noise(4, 3, 12, 12).astype(np.float64)}, "data is float64; input 'x' takes float32"),
        ({"inputs": noise(0, 3, 12, 12)}, "has no samples"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], message: str, net: Path, images: Array) -> None:
    with pytest.raises(BadInputError, match=message):
        observe(net, **{"inputs": images, "input_name": "x", **options})
