"""A network runs on any number of samples, and data that does not fit its input is refused by name."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekd.errors import BadInputError
from edgekd.runner import check_inputs, run_all, runner
from edgekd.session import facts, open_session

from .small_files import CPU, known, write


@pytest.mark.parametrize("count", [1, 3, 4, 5])
def test_a_network_of_a_fixed_batch_answers_any_number_of_samples(
    count: int, make_net: Callable[..., Path], pixel_net: Path, tmp_path: Path
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 1), dtype=np.uint8)
    answers = []
    for path in (pixel_net, make_net(tmp_path / "fixed.onnx", batch=4)):
        session = open_session(path, CPU)
        answers.append(runner(session, facts(session, path))(images))
    assert answers[1].shape == (count, 3)
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-5)


def test_a_network_that_fails_while_it_runs_is_bad_input_without_its_whole_graph(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    add = helper.make_node("Add", ["x", "three"], ["y"])
    three = helper.make_node("Constant", [], ["three"], value_floats=[1.0, 2.0, 3.0])
    path = write(tmp_path / "net.onnx", [three, add], {"x": TensorProto.FLOAT}, {"y": TensorProto.FLOAT})
    model = onnx.load(str(path))
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "any"
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "some"
    path.write_bytes(model.SerializeToString())
    session = open_session(path, CPU)
    with pytest.raises(BadInputError, match=r"cannot run the model on \(1, 2\)"):
        runner(session, facts(session, path))(np.ones((1, 2), dtype=np.float32))
    assert capfd.readouterr().err == "", "the exception says it; ONNX Runtime's log would say it again"


@pytest.mark.parametrize(
    "inputs",
    [
        np.zeros((4, 1, 8, 8), dtype=np.uint8),
        np.zeros((4, 8, 8), dtype=np.uint8),
        np.zeros((4, 8, 8, 3), dtype=np.uint8),
        np.zeros((4, 8, 8, 1), dtype=np.float32),
        np.zeros((4, 8, 8, 1), dtype=np.int64),
    ],
    ids=["layout", "dimensions", "channels", "floats", "int64"],
)
def test_data_of_another_shape_or_type_is_refused(inputs: np.ndarray, pixel_net: Path) -> None:
    with pytest.raises(BadInputError, match=r"expects uint8 of \(8, 8, 1\)"):
        check_inputs(inputs, known(pixel_net), pixel_net)


def test_raw_pixels_are_not_fed_to_a_float_network(float_net: Path) -> None:
    with pytest.raises(BadInputError, match=r"data is uint8 .* expects float32"):
        check_inputs(np.zeros((4, 1, 8, 8), dtype=np.uint8), known(float_net), float_net)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_numbers_that_are_not_finite_in_the_network_s_own_type_are_refused(bad: float, float_net: Path) -> None:
    inputs = np.zeros((4, 1, 8, 8))
    inputs[2, 0, 3, 3] = bad
    with pytest.raises(BadInputError, match="NaN or infinity as float32 in sample 2;"):
        check_inputs(inputs, known(float_net), float_net)


def test_the_sample_is_named_in_whatever_chunk_it_lies(float_net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekd.rows.CHUNK_BYTES", 1_000)  # three samples
    inputs = np.zeros((100, 1, 8, 8), dtype=np.float32)
    inputs[98, 0, 0, 0] = np.nan
    with pytest.raises(BadInputError, match="in sample 98;"):
        check_inputs(inputs, known(float_net), float_net)


def test_inputs_that_fit_are_not_copied_and_stay_in_their_file(float_net: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((4, 1, 8, 8), dtype=np.float32))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert check_inputs(mapped, known(float_net), float_net) is mapped


def test_double_precision_becomes_the_network_s_own_type(float_net: Path) -> None:
    assert check_inputs(np.zeros((4, 1, 8, 8)), known(float_net), float_net).dtype == np.float32


def detector(path: Path, *, batch: int | str, ends: tuple[str, ...] = ("heat", "place", "mean")) -> Path:
    """Maps of any height and width: sigmoid(x), its greatest channel as int64, and the mean of each sample."""
    nodes = [
        helper.make_node("Sigmoid", ["x"], ["heat"]),
        helper.make_node("ArgMax", ["x"], ["place"], axis=1),
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("NonZero", ["heat"], ["found"]),
    ]
    kinds = {"heat": (TensorProto.FLOAT, 4), "place": (TensorProto.INT64, 4), "mean": (TensorProto.FLOAT, 1)}
    kinds["found"] = (TensorProto.INT64, 2)
    shape = [batch, 3, "height", "width"]
    outputs = [helper.make_tensor_value_info(end, kinds[end][0], [None] * kinds[end][1]) for end in ends]
    graph = helper.make_graph(nodes, "maps", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)], outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("batch", [1, 2, "batch"])
def test_all_outputs_of_a_network_on_any_size_come_back_in_their_own_types(batch: int | str, tmp_path: Path) -> None:
    path = detector(tmp_path / "maps.onnx", batch=batch)
    session = open_session(path, CPU)
    run = run_all(session, facts(session, path))
    assert facts(session, path).shape == (None if batch == "batch" else batch, 3, None, None)
    for height, width in ((4, 6), (5, 5)):
        x = np.random.default_rng(0).normal(size=(3, 3, height, width)).astype(np.float32)
        heat, place, mean = run(check_inputs(x, facts(session, path), path))
        np.testing.assert_allclose(heat, 1 / (1 + np.exp(-x)), atol=1e-6)
        np.testing.assert_array_equal(place[:, 0], x.argmax(axis=1))
        np.testing.assert_allclose(mean, x.mean(axis=(1, 2, 3)), atol=1e-6)
        assert place.dtype == np.int64
        np.testing.assert_array_equal(runner(session, facts(session, path))(x), heat)


def test_pieces_whose_outputs_have_no_row_a_sample_are_refused_and_one_piece_is_not(tmp_path: Path) -> None:
    path = detector(tmp_path / "maps.onnx", batch=1, ends=("found",))
    session = open_session(path, CPU)
    run = run_all(session, facts(session, path))
    x = np.zeros((2, 3, 2, 2), dtype=np.float32)
    assert run(x[:1])[0].shape == (4, 12)
    with pytest.raises(BadInputError, match=r"output 'found' has shape \(4, 12\) for 1 sample"):
        run(x)


def test_outputs_of_words_are_left_out_of_all_outputs(tmp_path: Path) -> None:
    nodes = [helper.make_node("Cast", ["x"], ["word"], to=TensorProto.STRING), helper.make_node("Neg", ["x"], ["y"])]
    outputs = {"y": TensorProto.FLOAT, "word": TensorProto.STRING}
    path = write(tmp_path / "net.onnx", nodes, {"x": TensorProto.FLOAT}, outputs)
    session = open_session(path, CPU)
    (y,) = run_all(session, facts(session, path))(np.ones((1, 2), dtype=np.float32))
    np.testing.assert_array_equal(y, [[-1, -1]])
