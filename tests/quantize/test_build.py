"""Each variant that can be built runs and keeps what the file says of itself; one that cannot is a result."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd.errors import BadInputError
from edgekd.progress import Progress
from edgekd.quantize import Built, build_variants
from edgekd.quantize import build as module
from edgekd.recipe import ALL_PRECISIONS
from edgekd.runner import runner
from edgekd.session import SessionOptions, facts, open_session

VARIANTS = tuple(name for name in ALL_PRECISIONS if name != "fp32")
MakeNet = Callable[..., Path]
Images = np.ndarray


@pytest.fixture(scope="module")
def images(draw: Callable[..., object]) -> Images:
    return draw(60).images  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def folder(pixel_net: Path, images: Images, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every variant of the small net."""
    place = tmp_path_factory.mktemp("variants")
    built = build_variants(pixel_net, images, names=VARIANTS, folder=place, input_name="x")
    assert {b.name: b.reason for b in built if b.path is None} == {}
    return place


def build(model: Path, calibration: Images, folder: Path, *names: str, **options: object) -> tuple[Built, ...]:
    return build_variants(model, calibration, names=names, folder=folder, input_name="x", **options)  # type: ignore[arg-type]


def answers(path: Path, images: Images) -> np.ndarray:
    session = open_session(path, SessionOptions())
    return runner(session, facts(session, path))(images)


def weights(path: Path) -> dict[str, np.ndarray]:
    """The quantized matrices and kernels by name: what a DequantizeLinear takes from an initializer."""
    graph = onnx.load(str(path)).graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    fed = {node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"} & stored.keys()
    return {name: stored[name] for name in fed if stored[name].ndim > 1}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_runs_keeps_its_name_tags_and_classes(
    name: str, folder: Path, pixel_net: Path, images: Images
) -> None:
    path = folder / f"{name}.onnx"
    session = open_session(path, SessionOptions())
    assert facts(session, path) == facts(open_session(pixel_net, SessionOptions()), pixel_net)
    same = answers(path, images).argmax(axis=1) == answers(pixel_net, images).argmax(axis=1)
    assert same.mean() > 0.9


def test_the_folder_holds_the_variants_and_nothing_else(folder: Path) -> None:
    assert {p.name for p in folder.iterdir()} == {f"{name}.onnx" for name in VARIANTS}


def test_seven_bit_weights_need_seven_bits_and_eight_bit_ones_eight(folder: Path) -> None:
    # ONNX Runtime's reduced range is [-64, 64]: 2 x 255 x 64 < 2 ** 15, so that a pair of products fits 16 bits.
    seven, eight = weights(folder / "int8-u8s8-7bit.onnx"), weights(folder / "int8-u8s8.onnx")
    assert len(seven) == len(eight) == 2
    assert all(w.dtype == np.int8 and np.abs(w.astype(int)).max() <= 64 for w in seven.values())
    assert all(np.abs(w.astype(int)).max() >= 120 for w in eight.values())


@pytest.mark.parametrize(
    ("name", "activation", "weight"),
    [
        ("int8-u8s8", np.uint8, np.int8),
        ("int8-u8s8-7bit", np.uint8, np.int8),
        ("int8-u8u8", np.uint8, np.uint8),
        ("int8-s8s8", np.int8, np.int8),
    ],
)
def test_a_variant_has_the_types_in_its_name(name: str, activation: type, weight: type, folder: Path) -> None:
    graph = onnx.load(str(folder / f"{name}.onnx")).graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    zeros = {stored[node.input[2]].dtype for node in graph.node if node.op_type == "QuantizeLinear"}
    assert zeros == {np.dtype(activation)}
    assert {w.dtype for w in weights(folder / f"{name}.onnx").values()} == {np.dtype(weight)}


def test_one_scale_a_channel_is_the_default_and_can_be_turned_off(
    folder: Path, pixel_net: Path, images: Images, tmp_path: Path
) -> None:
    def scales(path: Path) -> int:
        return max(numpy_helper.to_array(t).size for t in onnx.load(str(path)).graph.initializer if "scale" in t.name)

    build(pixel_net, images, tmp_path, "int8-u8s8", per_channel=False)
    assert scales(folder / "int8-u8s8.onnx") == 3
    assert scales(tmp_path / "int8-u8s8.onnx") == 1


def test_the_same_input_gives_the_same_bytes_whatever_the_calibration_batch(
    folder: Path, pixel_net: Path, images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for batch in (50, 7, 1):
        monkeypatch.setattr(module, "CALIBRATION_BATCH", batch)
        build(pixel_net, images, tmp_path, "int8-u8s8")
        assert (tmp_path / "int8-u8s8.onnx").read_bytes() == (folder / "int8-u8s8.onnx").read_bytes()


@pytest.mark.parametrize("method", ["percentile", "entropy"])
def test_the_other_ways_to_calibrate_work_too_and_print_nothing(
    method: str, pixel_net: Path, images: Images, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (built,) = build(pixel_net, images, tmp_path, "int8-u8s8", calibration_method=method)
    assert built.path == "int8-u8s8.onnx", built.reason
    assert (answers(tmp_path / built.path, images).argmax(axis=1) == answers(pixel_net, images).argmax(axis=1)).all()
    assert capsys.readouterr().out == ""


def test_a_network_of_a_fixed_batch_is_calibrated_in_pieces_of_it(
    folder: Path, make_net: MakeNet, images: Images, tmp_path: Path
) -> None:
    fixed = make_net(tmp_path / "fixed.onnx", batch=8)
    (built,) = build(fixed, images, tmp_path, "int8-u8s8")  # 60 samples: the last piece is filled up
    assert built.path is not None, built.reason
    np.testing.assert_array_equal(
        answers(tmp_path / "int8-u8s8.onnx", images), answers(folder / "int8-u8s8.onnx", images)
    )


@pytest.mark.parametrize("count", [0, 1, 20])
def test_calibration_data_without_variety_is_refused(
    count: int, pixel_net: Path, images: Images, tmp_path: Path
) -> None:
    constant = np.repeat(images[:1], count, axis=0)
    with pytest.raises(BadInputError, match=rf"has {count} sample\(s\), all equal"):
        build(pixel_net, constant, tmp_path, "int8-u8s8")


@pytest.mark.parametrize("name", ["int8-u8s8", "int8-dynamic"])
def test_a_model_that_is_quantized_already_is_refused(name: str, folder: Path, images: Images, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"already quantized .*; bring its fp32 original"):
        build(folder / f"{name}.onnx", images, tmp_path, "int8-u8s8")


def test_opset_12_is_refused_with_the_cure(make_net: MakeNet, images: Images, tmp_path: Path) -> None:
    old = make_net(tmp_path / "old.onnx", opset=12)
    with pytest.raises(BadInputError, match=r"has opset 12; .*convert_version"):
        build(old, images, tmp_path, "int8-u8s8")


def test_a_variant_that_cannot_be_built_is_a_result_and_the_others_go_on(images: Images, tmp_path: Path) -> None:
    """A network with an operator that this onnxruntime lacks at the end, after one that can be quantized."""
    path = shape_dependent(tmp_path / "net.onnx")
    lost, kept = build(path, images[:3], tmp_path, "int8-u8s8", "fp16")
    assert lost.path is None
    assert lost.reason.startswith("could not be built: ")
    assert "\n" not in lost.reason
    assert (lost.size_bytes, lost.sha256) == (None, None)
    assert kept.path == "fp16.onnx"


def shape_dependent(path: Path) -> Path:
    """A network that runs on 2 samples only, though its file says any number: it adds a constant of 2 rows."""
    rows = numpy_helper.from_array(np.ones((2, 64), dtype=np.float32), "rows")
    dense = numpy_helper.from_array(np.ones((64, 3), dtype=np.float32), "dense")
    nodes = [
        helper.make_node("Cast", ["x"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["floats"], ["flat"]),
        helper.make_node("Add", ["flat", "rows"], ["sum"]),
        helper.make_node("MatMul", ["sum", "dense"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "rows",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["batch", 8, 8, 1])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [rows, dense],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def test_progress_names_each_variant(pixel_net: Path, images: Images, tmp_path: Path) -> None:
    seen: list[Progress] = []
    build(pixel_net, images, tmp_path, "fp16", "int8-dynamic", listener=seen.append)
    assert [(p.note, p.done, p.total) for p in seen] == [("fp16", 0, 2), ("int8-dynamic", 1, 2), ("", 2, 2)]
