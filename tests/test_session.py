"""A session runs what was asked for or says why not, and a file or data that does not fit is refused by name."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.runner import runner
from edgekd.session import (
    SessionOptions,
    check_file,
    facts,
    open_session,
    options_for,
)
from edgekd.targets import load

from .small_files import CPU, known, write


def test_the_facts_of_a_file_are_its_input_its_output_and_its_metadata(pixel_net: Path) -> None:
    found = known(pixel_net)
    assert (found.input_name, found.output_name, found.dtype) == ("x", "logits", "uint8")
    assert found.shape == (None, 8, 8, 1)
    assert found.metadata["classes"] == ["top", "middle", "bottom"]


def test_a_file_of_someone_else_has_no_metadata(float_net: Path) -> None:
    assert known(float_net).metadata == {}


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ("{half", "'edgekd' metadata"),
        ("[1, 2]", "'edgekd' metadata"),
        ('{"classes": 5}', "its classes are 5; expected a list of names"),
        ('{"task": "multi-label", "threshold": "high"}', "its threshold is 'high'; expected a number"),
    ],
)
def test_metadata_that_edgekd_did_not_write_is_refused(
    card: str, message: str, make_net: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(BadInputError, match=message):
        known(make_net(tmp_path / "net.onnx", card=card))


def test_two_inputs_are_refused_by_name(tmp_path: Path) -> None:
    add = helper.make_node("Add", ["left", "right"], ["sum"])
    floats = TensorProto.FLOAT
    path = write(tmp_path / "two.onnx", [add], {"left": floats, "right": floats}, {"sum": floats})
    with pytest.raises(BadInputError, match=r"2 inputs \(left, right\)"):
        known(path)


def test_an_int64_input_is_refused_with_the_types_that_are_known(tmp_path: Path) -> None:
    cast = helper.make_node("Cast", ["tokens"], ["y"], to=TensorProto.FLOAT)
    path = write(tmp_path / "tokens.onnx", [cast], {"tokens": TensorProto.INT64}, {"y": TensorProto.FLOAT})
    with pytest.raises(BadInputError, match=r"'tokens' is tensor\(int64\); expected tensor\(uint8\)"):
        known(path)


def test_an_output_of_strings_is_refused(tmp_path: Path) -> None:
    cast = helper.make_node("Cast", ["x"], ["label"], to=TensorProto.STRING)
    path = write(tmp_path / "words.onnx", [cast], {"x": TensorProto.FLOAT}, {"label": TensorProto.STRING})
    with pytest.raises(BadInputError, match=r"output 'label' is tensor\(string\)"):
        known(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"nowhere\.onnx: no such file"):
        open_session(tmp_path / "nowhere.onnx", CPU)


@pytest.mark.parametrize("content", [b"garbage that is no protobuf", b"\x08\x08\x12\x00"])
def test_garbage_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"not a whole ONNX file|has no nodes"):
        open_session(path, CPU)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.touch()
    with pytest.raises(BadInputError, match="is empty"):
        open_session(path, CPU)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused(kept: float, pixel_net: Path, tmp_path: Path) -> None:
    raw = pixel_net.read_bytes()
    path = tmp_path / "net.onnx"
    path.write_bytes(raw[: int(kept * len(raw))])
    with pytest.raises(BadInputError, match=r"net\.onnx"):
        open_session(path, CPU)


def with_data_at(location: str, source: Path, folder: Path) -> Path:
    """The network with its templates in a file of their own."""
    model = onnx.load(str(source))
    tensor = model.graph.initializer[0]
    raw = tensor.raw_data
    (folder / location).write_bytes(raw)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("length", str(len(raw)))):
        tensor.external_data.add(key=key, value=value)
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_weights_in_a_file_beside_the_model_are_loaded(pixel_net: Path, tmp_path: Path) -> None:
    assert known(with_data_at("weights.bin", pixel_net, tmp_path)).input_name == "x"


def test_weights_from_outside_the_model_s_folder_are_refused(pixel_net: Path, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    path = with_data_at("../weights.bin", pixel_net, tmp_path / "inner")
    with pytest.raises(BadInputError, match=r"'templates' points to data outside .*'\.\./weights\.bin'"):
        check_file(path)


def elsewhere(name: str) -> onnx.TensorProto:
    """A tensor whose data lies above the model's folder."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[2])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret.bin")
    return tensor


def hide(place: str, model: onnx.ModelProto) -> None:
    """Put such a tensor into the model where a look at the initializers does not find it."""
    constant = helper.make_node("Constant", [], ["c"], value=elsewhere("hidden"))
    body = helper.make_graph([constant], "body", [], [helper.make_tensor_value_info("c", TensorProto.FLOAT, [2])])
    if place == "constant":
        model.graph.node.append(constant)
    elif place == "branch":
        model.graph.node.append(helper.make_node("If", ["yes"], ["d"], then_branch=body, else_branch=body))
    elif place == "loop":
        inner = helper.make_graph([], "inner", [], [], [elsewhere("hidden")])
        outer = helper.make_graph([helper.make_node("Loop", ["", ""], ["c"], body=inner)], "outer", [], body.output)
        model.graph.node.append(helper.make_node("If", ["yes"], ["d"], then_branch=outer, else_branch=outer))
    elif place == "sparse":
        model.graph.sparse_initializer.append(onnx.SparseTensorProto(values=elsewhere("hidden"), dims=[2]))
    elif place == "sparse constant":
        node = helper.make_node("Constant", [], ["c"])
        sparse = onnx.SparseTensorProto(values=TensorProto(name="v"), indices=elsewhere("hidden"), dims=[2])
        node.attribute.append(helper.make_attribute("sparse_value", sparse))
        model.graph.node.append(node)
    else:
        model.functions.append(helper.make_function("own", "f", [], ["c"], [constant], []))


@pytest.mark.parametrize("place", ["constant", "branch", "loop", "sparse", "sparse constant", "function"])
def test_data_from_outside_is_found_wherever_in_the_file_it_is_named(
    place: str, pixel_net: Path, tmp_path: Path
) -> None:
    model = onnx.load(str(pixel_net))
    hide(place, model)
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(BadInputError, match=r"'hidden' points to data outside .*'\.\./secret\.bin'"):
        check_file(path)


def test_weights_that_are_gone_are_refused(pixel_net: Path, tmp_path: Path) -> None:
    path = with_data_at("weights.bin", pixel_net, tmp_path)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(BadInputError, match="ONNX Runtime cannot load it"):
        open_session(path, CPU)


def test_a_provider_that_is_not_there_is_no_reason_to_run_elsewhere(pixel_net: Path) -> None:
    with pytest.raises(EnvironmentFault, match="QNNExecutionProvider is not in this onnxruntime"):
        open_session(pixel_net, SessionOptions(provider="QNNExecutionProvider"))


def test_threads_are_capped_by_the_cores_and_the_number_asked_for_is_kept() -> None:
    target = load("x86-2t")
    capped, free = options_for(target, cores=1), options_for(target, cores=8)
    assert (capped.threads, capped.threads_requested) == (1, target.threads)
    assert (free.threads, free.threads_requested) == (target.threads, target.threads)


@pytest.mark.parametrize("level", ["all", "extended", "basic", "disable"])
def test_every_level_of_graph_optimisation_gives_the_same_answer(level: str, pixel_net: Path) -> None:
    images = np.full((1, 8, 8, 1), 9, dtype=np.uint8)
    answers = []
    for options in (
        CPU,
        SessionOptions(graph_optimization=level, session_config={"session.disable_prepacking": "1"}),
    ):
        session = open_session(pixel_net, options)
        answers.append(runner(session, facts(session, pixel_net))(images))
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-5)  # float32 sums in another order


def test_an_input_without_sizes_is_refused(tmp_path: Path) -> None:
    path = write(
        tmp_path / "net.onnx",
        [helper.make_node("Neg", ["x"], ["y"])],
        {"x": TensorProto.FLOAT},
        {"y": TensorProto.FLOAT},
    )
    model = onnx.load(str(path))
    model.graph.input[0].type.tensor_type.shape.ClearField("dim")
    path.write_bytes(model.SerializeToString())
    with pytest.raises(BadInputError, match=r"input 'x' has no sizes in the file; expected \(batch, ...\)"):
        known(path)
