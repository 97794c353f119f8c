"""A layer's error is the one that ONNX Runtime shows, and its own part is told from what it inherits."""

import math
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekd.errors import BadInputError
from edgekd.quantize.recover import joined, sensitivity

from .networks import network, quantize, run, samples, separable, stored


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A small fp32 network and its int8 file."""
    fp32 = tmp_path / "fp32.onnx"
    onnx.save(separable(), str(fp32))
    return fp32, quantize(fp32, tmp_path / "int8.onnx", samples(40))


def decibels(y: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(np.square(y, dtype=np.float64).sum() / np.square(other - y, dtype=np.float64).sum()))


def test_the_errors_are_those_of_the_two_files_run_one_after_the_other(pair: tuple[Path, Path]) -> None:
    fp32, int8 = pair
    x = samples(20, seed=3)
    found = {error.node: error for error in sensitivity(fp32, int8, x, input_name="x")}
    assert list(found) == ["first", "depthwise", "pointwise", "pool", "y"]
    for name in ("first", "depthwise", "pointwise", "pool"):
        ours, theirs = (run(path, x, [name])[0] for path in pair)
        if name != "pool":  # after the activation
            ours, theirs = np.maximum(ours, 0), np.maximum(theirs, 0)
        assert found[name].sqnr_db == pytest.approx(decibels(ours, theirs), abs=0.01), name


def test_the_first_layer_inherits_nothing_and_a_later_one_more_than_it_makes(pair: tuple[Path, Path]) -> None:
    found = {error.node: error for error in sensitivity(*pair, samples(20), input_name="x")}
    assert found["first"].own_sqnr_db == pytest.approx(found["first"].sqnr_db, abs=1e-3)
    assert found["pool"].own_sqnr_db > found["pool"].sqnr_db + 3
    assert found["y"].op_type == "Gemm"


def test_the_layer_that_spoils_the_others_is_named_by_its_own_error(tmp_path: Path) -> None:
    model = separable()
    change = stored(model)
    change["w2"][0] *= 1000  # one channel of the depthwise layer
    change["b2"][0] = 1000
    change["w3"][:, 0] /= 1000  # and read as much less, so that the network needs the others
    for tensor in model.graph.initializer:
        tensor.CopyFrom(onnx.numpy_helper.from_array(change[tensor.name], tensor.name))
    x = samples(40)
    int8 = quantize(model, tmp_path / "int8.onnx", x)
    found = {error.node: error for error in sensitivity(model, int8, x, input_name="x")}
    # Weights of five of its six channels round to zero, and so does what the next layer reads of them.
    spoiled = {name for name, error in found.items() if error.channel_sqnr_db < 6}
    assert spoiled == {"depthwise", "pointwise"}, found
    assert found["depthwise"].own_sqnr_db > 30  # the channel that is left hides it in the whole
    assert found["y"].sqnr_db + 20 < found["y"].own_sqnr_db  # what the last layer inherits


def test_a_layer_worked_by_hand(tmp_path: Path) -> None:
    """0.3 of a range of 1 is 38 of 127 steps: 0.2992. The inputs 0, 1, ... 255 are exact in uint8."""
    weights = {"w": np.array([[1.0, 0.3]], dtype=np.float32)}
    model = network([("MatMul", ["x", "w"], "y")], weights, shape=["batch", 1])
    x = np.arange(256, dtype=np.float32).reshape(-1, 1)
    (error,) = sensitivity(model, quantize(model, tmp_path / "int8.onnx", x), x, input_name="x")
    assert error.sqnr_db == pytest.approx(10 * math.log10((1 + 0.3**2) / (0.3 - 38 / 127) ** 2), abs=0.01)
    # The first channel is exact: of two channels, the mean is half of the second's.
    assert error.channel_sqnr_db == pytest.approx(10 * math.log10(2 * 0.3**2 / (0.3 - 38 / 127) ** 2), abs=0.01)


def test_a_layer_that_stayed_in_fp32_is_not_listed(pair: tuple[Path, Path], tmp_path: Path) -> None:
    fp32, _ = pair
    int8 = quantize(fp32, tmp_path / "some.onnx", samples(40), exclude=["depthwise"])
    assert "depthwise" not in [error.node for error in sensitivity(fp32, int8, samples(9), input_name="x")]


def test_the_number_of_samples_a_run_does_not_matter(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    x = samples(20)
    before = sensitivity(*pair, x, input_name="x")
    monkeypatch.setattr(joined, "BATCH", 3)
    for one, other in zip(before, sensitivity(*pair, x, input_name="x"), strict=True):
        assert one.sqnr_db == pytest.approx(other.sqnr_db, abs=1e-3)
        assert one.own_sqnr_db == pytest.approx(other.own_sqnr_db, abs=1e-3)


@pytest.mark.parametrize("count", [2, 4, 11])
def test_a_network_of_a_fixed_batch_takes_whole_pieces(count: int, pair: tuple[Path, Path], tmp_path: Path) -> None:
    fixed, x = [onnx.load(str(path)) for path in pair], samples(count)
    for model in fixed:
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    whole = x[:8] if count == 11 else x
    for one, other in zip(
        sensitivity(*fixed, x, input_name="x"), sensitivity(*pair, whole, input_name="x"), strict=True
    ):
        assert one.sqnr_db == pytest.approx(other.sqnr_db, abs=1e-3)


def test_samples_may_lie_in_a_file(pair: tuple[Path, Path], tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", samples(20))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert sensitivity(*pair, mapped, input_name="x") == sensitivity(*pair, samples(20), input_name="x")


def test_nodes_without_a_name_are_refused_with_the_cure(pair: tuple[Path, Path]) -> None:
    model = onnx.load(str(pair[0]))
    model.graph.node[2].name = ""
    with pytest.raises(BadInputError, match=r"1 node\(s\) have no name .*'depthwise'.*name the nodes before"):
        sensitivity(model, pair[1], samples(4), input_name="x")
    model.graph.node[2].name = "first"
    with pytest.raises(BadInputError, match=r"several nodes \('first'\)"):
        sensitivity(model, pair[1], samples(4), input_name="x")


def test_files_that_do_not_belong_together_are_refused(pair: tuple[Path, Path]) -> None:
    older, renamed = onnx.load(str(pair[0])), onnx.load(str(pair[0]))
    older.opset_import[0].version = 13
    renamed.graph.input[0].name = "z"
    with pytest.raises(BadInputError, match=r"opset 13, the quantized one 17; expected the same"):
        sensitivity(older, pair[1], samples(4), input_name="x")
    with pytest.raises(BadInputError, match=r"takes \['z'\], the quantized one \['x'\]"):
        sensitivity(renamed, pair[1], samples(4), input_name="x")


def test_samples_that_do_not_fit_are_refused(pair: tuple[Path, Path]) -> None:
    with pytest.raises(BadInputError, match="no input 'pixels'; it has: x"):
        sensitivity(*pair, samples(4), input_name="pixels")
    with pytest.raises(BadInputError, match="no samples"):
        sensitivity(*pair, samples(0), input_name="x")
    with pytest.raises(BadInputError, match=r"cannot run the model on \(4, 3, 8, 8\)"):
        sensitivity(*pair, samples(4, shape=(3, 8, 8)), input_name="x")
