"""`edgekd profile`: the real command on small networks."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd import environment, targets
from edgekd.roofline import peaks_for
from edgekd.session import options_for

from ..timing import odd_nets  # noqa: TID252  tests are no package
from .conftest import ENVIRONMENT, Edgekd, command, without_torch
from .onnx_files import linear

HOSTILE = "<script>alert(1)</script>[red]"


@pytest.fixture(scope="module")
def known_peaks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with peaks of this machine, measured in a moment: how good they are is not what is tested here."""
    cache = tmp_path_factory.mktemp("cache")
    machine = environment.describe()
    options = options_for(targets.load("x86-1t"), cores=machine.cores_granted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEKD_CACHE", str(cache))
        peaks_for(options, fingerprint=environment.fingerprint(machine), memory=1, seconds=0.0)
    return cache


@pytest.fixture(autouse=True)
def cached(known_peaks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKD_CACHE", str(known_peaks))
    monkeypatch.setitem(ENVIRONMENT, "EDGEKD_CACHE", str(known_peaks))


def network(path: Path, *, name: str = "conv", sides: tuple[object, object] = (8, 8)) -> Path:
    """A convolution, a curve and a dense layer."""
    rng = np.random.default_rng(0)
    stored = {"w": rng.normal(size=(16, 3, 3, 3)), "dense": rng.normal(size=(16, 4))}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name=name, pads=[1] * 4),
        helper.make_node("Sigmoid", ["c"], ["s"], name="curve"),
        helper.make_node("GlobalAveragePool", ["s"], ["mean"], name="mean"),
        helper.make_node("Flatten", ["mean"], ["flat"], name="flat"),
        helper.make_node("Gemm", ["flat", "dense"], ["y"], name="dense"),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, *sides])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(value.astype(np.float32), key) for key, value in stored.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), str(path))
    return path


def test_the_json_has_every_kernel_with_its_work_and_verdict(tmp_path: Path, edgekd: Edgekd) -> None:
    model = network(tmp_path / "net.onnx")
    answer = edgekd("profile", model, "--runs", "3", "--json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert (found["edgekd_profile"], found["name"], found["base"], found["beside"]) == (1, "net", None, [])
    assert found["conditions"]["inputs"] == "random numbers"
    assert found["conditions"]["input_shapes"] == {"x": [1, 3, 8, 8]}
    assert (found["target"]["name"], len(found["fingerprint"])) == ("x86-1t", 12)
    nodes = {node["name"]: node for node in found["file"]["nodes"]}
    assert nodes["conv"]["macs"] == 16 * 64 * 27
    assert nodes["dense"]["macs"] == 16 * 4
    assert sum(node["share"] for node in nodes.values()) == pytest.approx(1.0)
    assert all(node["verdict"] in ("compute", "memory", "overhead", "unknown") for node in nodes.values())
    by_type = {row["op_type"]: row["ms"] for row in found["file"]["by_op_type"]}
    assert sum(by_type.values()) == pytest.approx(found["file"]["kernels_ms"])
    assert found["peaks"]["fp32"]["best"] > 0 and found["peaks"]["bandwidths"]
    assert len(found["worth_changing"]) <= 5
    assert all(one["at_most_ms"] > 0 and one["why"] for one in found["worth_changing"])


def test_two_files_stand_side_by_side_in_the_table_and_the_page(tmp_path: Path, edgekd: Edgekd) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    base = network(tmp_path / "base.onnx")
    quantize_dynamic(str(base), str(tmp_path / "int8.onnx"), weight_type=QuantType.QUInt8)
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype(np.float32))
    page = tmp_path / "pages" / "profile.html"
    answer = edgekd(
        "profile",
        tmp_path / "int8.onnx",
        "--base",
        base,
        "--data",
        tmp_path / "data.npz",
        "--html",
        page,
        "--runs",
        "3",
    )
    assert answer.code == 0, answer.err
    for words in ("ConvInteger", "all kernels", "Worth changing", "data.npz", "without a profiler", f"profile  {page}"):
        assert words in answer.out
    assert "Node by node" in page.read_text(encoding="utf-8")


def test_names_of_nodes_are_text_in_the_table_and_the_page(tmp_path: Path, edgekd: Edgekd) -> None:
    model = network(tmp_path / "net.onnx", name=HOSTILE)
    answer = edgekd("profile", model, "--runs", "2", "--html", tmp_path / "page.html")
    assert answer.code == 0 and HOSTILE in answer.out
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script" not in page and "&lt;script&gt;" in page


def test_several_inputs_are_fed_and_no_torch_is_needed(tmp_path: Path) -> None:
    answer = without_torch("profile", linear(tmp_path / "two.onnx", inputs=2), "--runs", "2", "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["conditions"]["input_shapes"] == {"x0": [1, 4], "x1": [1, 4]}


def test_an_open_size_is_asked_for_by_its_name_and_taken_from_shape(tmp_path: Path, edgekd: Edgekd) -> None:
    model = network(tmp_path / "open.onnx", sides=("height", "width"))
    refused = edgekd("profile", model)
    assert (refused.code, refused.out) == (2, "")
    assert "height, width" in refused.err and "--shape x=1,3,?,?" in refused.err
    answer = edgekd("profile", model, "--shape", "x=2,3,8,4", "--runs", "2", "--json")
    assert json.loads(answer.out)["conditions"]["input_shapes"] == {"x": [2, 3, 8, 4]}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["missing.onnx"], 2, "no such file"),
        (["."], 2, "no such file"),
        (["empty.onnx"], 2, "is empty"),
        (["net.onnx", "--base", "missing.onnx"], 2, "missing.onnx: no such file"),
        (["net.onnx", "--shape", "z=1,3,8,8"], 2, "has no such input"),
        (["net.onnx", "--shape", "x=1,3,9,9"], 2, "expected the same number of sizes"),
        (["net.onnx", "--data", "missing.npz"], 2, "missing.npz"),
        (["net.onnx", "--target", "nothing"], 2, "unknown target"),
        (["net.onnx", "--html", "."], 2, "is a directory"),
        (["net.onnx", "--runs", "0"], 2, "--runs"),
        (["net.onnx", "--target", "cuda-gpu"], 4, "CUDAExecutionProvider"),
    ],
)
def test_bad_input_is_named_and_nothing_is_printed(
    arguments: list[str], code: int, words: str, tmp_path: Path, edgekd: Edgekd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    network(tmp_path / "net.onnx")
    (tmp_path / "empty.onnx").touch()
    answer = edgekd("profile", *arguments)
    assert (answer.code, answer.out) == (code, "")
    assert words in answer.err and "Traceback" not in answer.err


def test_a_page_that_cannot_be_written_is_the_machine_s_fault(tmp_path: Path, edgekd: Edgekd) -> None:
    (tmp_path / "file").touch()
    answer = edgekd("profile", network(tmp_path / "net.onnx"), "--runs", "1", "--html", tmp_path / "file" / "page.html")
    assert (answer.code, answer.out) == (4, "")
    assert "choose another file with --html" in answer.err


@pytest.mark.slow
def test_peaks_are_measured_once_within_seconds_and_then_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(tmp_path / "net.onnx")
    monkeypatch.setitem(ENVIRONMENT, "EDGEKD_CACHE", str(tmp_path / "cache"))
    first, second = (command("profile", model, "--runs", "2", "--json") for _ in range(2))
    assert "bandwidth at" in first.err and "bandwidth at" not in second.err
    assert json.loads(first.out)["peaks"] == json.loads(second.out)["peaks"]
    again = command("profile", model, "--runs", "2", "--json", "--measure-peaks")
    assert json.loads(again.out)["peaks"] != json.loads(first.out)["peaks"]


def test_a_network_that_hangs_ends_the_profile_with_4(edgekd: Edgekd, tmp_path: Path) -> None:
    answer = edgekd("profile", odd_nets.endless(tmp_path / "endless.onnx"), "--timeout", "1")
    assert answer.code == 4 and "the network hangs" in answer.err
