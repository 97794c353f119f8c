"""A bundle runs and checks itself anywhere, and nothing that was changed in it passes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static
from onnxruntime.transformers.float16 import convert_float_to_float16

from edgekd import bundle, report
from edgekd.bundle import infer
from edgekd.bundle.manifest import REPORTS
from edgekd.errors import BadInputError
from edgekd.files import sha256
from edgekd.session import SessionOptions

CLASSES = ("top", "<script>", "unten ünd oben")
OPTIONS = SessionOptions(threads=1, session_config={"session.disable_prepacking": "1"})
FILES = {
    "model.onnx", "session.json", "labels.json", "samples.npz", "target.toml", "infer.py", "README.txt",
    "manifest.json", *report.FILES,
}  # fmt: skip

Write = Callable[..., bundle.Bundled]


def classifier(path: Path, *, batch: int | str = "batch", probabilities: bool = False, seed: int = 0) -> Path:
    """(batch, 8, 8, 1) uint8 -> cast, scale, convolution, ReLU, dense -> (batch, 3)."""
    draw = np.random.default_rng(seed)
    weights = {
        "scale": np.array(255, np.float32),
        "kernel": draw.normal(0, 0.5, (4, 1, 3, 3)).astype(np.float32),
        "dense": draw.normal(0, 0.2, (4 * 8 * 8, 3)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["floats", "scale"], ["unit"]),
        helper.make_node("Transpose", ["unit"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "kernel"], ["features"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["features"], ["positive"]),
        helper.make_node("Flatten", ["positive"], ["flat"]),
        helper.make_node("Gemm", ["flat", "dense"], ["scores"]),
        helper.make_node("Softmax" if probabilities else "Identity", ["scores"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, [batch, 8, 8, 1])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [batch, 3])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(model, {"edgekd": json.dumps({"input_layout": "nhwc", "classes": CLASSES})})
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def pictures(count: int = 16, *, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 1), dtype=np.uint8)


class Calibration(CalibrationDataReader):
    """Random pictures, one a batch."""

    def __init__(self) -> None:
        self.batches = iter(pictures(16, seed=2)[:, None])

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"pixels": batch}


def quantized(folder: Path, name: str) -> Path:
    """The classifier as ONNX Runtime's own tools convert it."""
    source, target = classifier(folder / "fp32.onnx"), folder / f"{name}.onnx"
    if name == "fp16":
        onnx.save(convert_float_to_float16(onnx.load(str(source)), keep_io_types=True), str(target))
    elif name == "int8-dynamic":
        quantize_dynamic(str(source), str(target), weight_type=QuantType.QUInt8)
    else:
        quantize_static(str(source), str(target), Calibration())
    return target


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A function that bundles a small classifier into `tmp_path/bundle`; arguments override the usual ones."""
    reports = [tmp_path / file for file in report.FILES]
    for path in reports:
        path.write_text(path.name)

    def write(folder: Path = tmp_path / "bundle", **more: Any) -> bundle.Bundled:
        usual = {
            "model": more.pop("model", None) or classifier(tmp_path / "made.onnx"),
            "variant": "fp32",
            "options": OPTIONS,
            "classes": CLASSES,
            "target_toml": 'name = "x86-1t"\n',
            "reports": reports,
            "inputs": pictures(),
            "isa": "avx2",
        }
        return bundle.write(folder, **{**usual, **more})

    return write


@pytest.fixture
def folder(tmp_path: Path, write: Write) -> Path:
    """A bundle of the fp32 classifier."""
    write()
    return tmp_path / "bundle"


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "manifest.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def rehash(folder: Path, name: str) -> None:
    """Make the manifest agree with a file that was changed."""
    entry = {"sha256": sha256(folder / name), "size_bytes": (folder / name).stat().st_size}
    edit_manifest(folder, lambda document: document["files"].update({name: entry}))


def failed(verified: bundle.Verified) -> dict[str, str]:
    assert verified.passed is False
    return {check.name: check.detail for check in verified.checks if check.passed is False}


def run_infer(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """infer.py in isolated mode (-I: no current folder, no PYTHON variables), from another folder."""
    command = [sys.executable, "-I", str(folder / "infer.py"), *arguments]
    return subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)


def verify_without_onnxruntime(folder: Path) -> dict[str, Any]:
    code = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "import json, dataclasses, pathlib\n"
        "from edgekd import bundle\n"
        "print(json.dumps(dataclasses.asdict(bundle.verify(pathlib.Path(sys.argv[1])))))\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_fresh_bundle_passes_every_check(folder: Path) -> None:
    verified = bundle.verify(folder)
    assert verified.passed is True
    assert [check.name for check in verified.checks] == ["manifest", "files", "hashes", "top1", "outputs"]
    assert "made on avx2" in verified.checks[-1].detail and "onnxruntime" in verified.checks[-1].detail
    assert (verified.isa_expected, verified.variant) == ("avx2", "fp32")
    json.dumps(asdict(verified))


def test_a_bundle_holds_what_ships_and_its_manifest_lists_it_in_order(folder: Path, tmp_path: Path) -> None:
    assert {path.name for path in folder.iterdir()} == FILES
    manifest = json.loads((folder / "manifest.json").read_text())
    assert list(manifest["files"]) == sorted(FILES - {"manifest.json"})
    assert manifest["files"]["model.onnx"]["sha256"] == sha256(tmp_path / "made.onnx")
    assert (folder / "infer.py").read_bytes() == Path(infer.__file__).read_bytes()
    assert json.loads((folder / "labels.json").read_text(encoding="utf-8")) == list(CLASSES)
    facts = json.loads((folder / "session.json").read_text())
    assert SessionOptions(**facts["options"]) == OPTIONS
    assert facts["input"] == {"name": "pixels", "dtype": "uint8", "shape": [None, 8, 8, 1], "layout": "nhwc"}


def test_every_file_of_a_report_may_be_in_a_bundle() -> None:
    assert set(REPORTS) == set(report.FILES)


def test_two_bundles_of_the_same_differ_in_their_date_alone(tmp_path: Path, write: Write) -> None:
    assert write(tmp_path / "one").files == write(tmp_path / "other").files


def test_the_expected_outputs_are_those_of_numpy(folder: Path) -> None:
    weights = {t.name: numpy_helper.to_array(t) for t in onnx.load(str(folder / "model.onnx")).graph.initializer}
    with np.load(folder / "samples.npz") as samples:
        inputs, outputs = samples["inputs"], samples["outputs"]
    padded = np.pad(inputs[..., 0] / 255, ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    features = np.maximum(np.einsum("nhwij,kij->nkhw", windows, weights["kernel"][:, 0]), 0)
    assert outputs == pytest.approx(features.reshape(16, -1) @ weights["dense"], abs=1e-4)  # float32 sums of 256


@pytest.mark.parametrize("name", sorted(FILES - {"manifest.json"}))
def test_a_changed_byte_fails_in_every_file(folder: Path, name: str) -> None:
    raw = bytearray((folder / name).read_bytes())
    raw[len(raw) // 2] ^= 1
    (folder / name).write_bytes(raw)
    verified = bundle.verify(folder)
    assert name in failed(verified)["hashes"]
    assert verified.checks[-1].detail.startswith("not run")


def test_a_file_of_another_size_fails(folder: Path) -> None:
    with (folder / "labels.json").open("a") as file:
        file.write(" ")
    assert "labels.json has" in failed(bundle.verify(folder))["hashes"]


def test_a_missing_file_fails(folder: Path) -> None:
    (folder / "report.md").unlink()
    assert failed(bundle.verify(folder)) == {"files": "missing: 'report.md'"}


def test_a_file_struck_from_the_manifest_too_fails(folder: Path) -> None:
    (folder / "samples.npz").unlink()
    edit_manifest(folder, lambda document: document["files"].pop("samples.npz"))
    assert "samples.npz" in failed(bundle.verify(folder))["files"]


@pytest.mark.parametrize("name", ["numpy.py", ".hidden"])
def test_an_extra_file_fails(folder: Path, name: str) -> None:
    (folder / name).write_text("")
    assert f"not in the manifest: '{name}'" in failed(bundle.verify(folder))["files"]


def test_a_link_in_place_of_a_file_fails(folder: Path, tmp_path: Path) -> None:
    (folder / "model.onnx").rename(tmp_path / "elsewhere.onnx")
    (folder / "model.onnx").symlink_to(tmp_path / "elsewhere.onnx")
    assert "not a regular file: 'model.onnx'" in failed(bundle.verify(folder))["files"]


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "..", "a/b", "a\\b", "c:x", "", "manifest.json", "x\n"])
def test_a_manifest_that_names_a_place_outside_fails_and_the_place_is_not_read(
    folder: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "secret").write_text("secret")
    entry = {"sha256": sha256(tmp_path / "secret"), "size_bytes": 6}
    edit_manifest(folder, lambda document: document["files"].update({name: entry}))
    assert f"not a plain name: {name!r}" in failed(bundle.verify(folder))["files"]


def test_outputs_that_differ_fail_even_when_all_hashes_are_right(folder: Path) -> None:
    with np.load(folder / "samples.npz") as samples:
        inputs, outputs = samples["inputs"], samples["outputs"]
    np.savez(folder / "samples.npz", inputs=inputs, outputs=outputs + np.float32(0.5))
    rehash(folder, "samples.npz")
    assert set(failed(bundle.verify(folder))) == {"outputs"}


def test_another_network_fails_on_its_classes_and_outputs(folder: Path) -> None:
    classifier(folder / "model.onnx", seed=5)
    rehash(folder, "model.onnx")
    assert set(failed(bundle.verify(folder))) == {"top1", "outputs"}


@pytest.mark.parametrize("name", ["model.onnx", "samples.npz", "session.json"])
def test_rubbish_with_the_right_hash_fails_without_a_traceback(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"rubbish")
    rehash(folder, name)
    assert name in failed(bundle.verify(folder))["outputs"]


@pytest.mark.parametrize(
    "arrays",
    [
        {"inputs": pictures()},
        {"inputs": pictures(), "outputs": np.array(["a"] * 16)},
        {"inputs": np.array(1), "outputs": np.array(1.0)},
        {"inputs": pictures(), "outputs": np.zeros((15, 3))},
        {"inputs": pictures(), "outputs": np.zeros((16, 4))},
        {"inputs": pictures()[:0], "outputs": np.zeros((0, 3))},
        {"inputs": pictures(), "outputs": np.full((16, 3), np.nan)},
    ],
)
def test_samples_of_another_kind_fail(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(folder / "samples.npz", **arrays)
    rehash(folder, "samples.npz")
    assert "outputs" in failed(bundle.verify(folder))


def test_pickled_samples_are_refused(folder: Path) -> None:
    np.savez(folder / "samples.npz", inputs=np.array([{}], dtype=object), outputs=np.zeros((1, 3)))
    rehash(folder, "samples.npz")
    assert "never loaded" in failed(bundle.verify(folder))["outputs"]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "corrupt"),
        (b"{", "corrupt"),
        (b"\xff\xfe", "corrupt"),
        (b"[" * 100_000, "corrupt"),
        (b"[]", "corrupt"),
        (b"{}", "schema_version: Field required"),
        (b'{"schema_version": 1}', "bundle again"),
        (b'{"schema_version": 3}', "update edgekd"),
        (b'{"schema_version": "one"}', "corrupt"),
    ],
)
def test_a_corrupt_or_unknown_manifest_is_bad_input(folder: Path, raw: bytes, message: str) -> None:
    (folder / "manifest.json").write_bytes(raw)
    with pytest.raises(BadInputError, match=message):
        bundle.verify(folder)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), -1.0, "1"])
def test_a_tolerance_that_allows_everything_is_bad_input(folder: Path, value: object) -> None:
    edit_manifest(folder, lambda document: document["tolerance"]["outputs"][0].update(allowed=value))
    with pytest.raises(BadInputError, match=r"tolerance\.outputs\.0\.allowed"):
        bundle.verify(folder)


def test_no_folder_and_no_manifest_are_bad_input(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no such folder"):
        bundle.verify(tmp_path / "nowhere")
    (folder / "manifest.json").unlink()
    with pytest.raises(BadInputError, match=r"has no manifest\.json"):
        bundle.verify(folder)


def test_infer_runs_the_samples_from_any_folder(folder: Path) -> None:
    done = run_infer(folder)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 16
    assert {line["label"] for line in lines} <= set(CLASSES)
    assert all(1 / 3 <= line["probability"] <= 1 and line["max_difference"] < 1e-5 for line in lines)


def test_infer_answers_1_when_a_class_differs(folder: Path) -> None:
    with np.load(folder / "samples.npz") as samples:
        inputs, outputs = samples["inputs"], samples["outputs"]
    np.savez(folder / "samples.npz", inputs=inputs, outputs=np.roll(outputs, 1, axis=1))
    assert run_infer(folder).returncode == 1


@pytest.mark.parametrize("batched", [False, True])
def test_infer_names_the_three_best_labels_of_one_image(folder: Path, tmp_path: Path, batched: bool) -> None:
    with np.load(folder / "samples.npz") as samples:
        image, logits = samples["inputs"][0], samples["outputs"][0].astype(np.float64)
    np.save(tmp_path / "image.npy", image[None] if batched else image)
    done = run_infer(folder, str(tmp_path / "image.npy"))
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    order = np.argsort(-logits)
    assert [line["label"] for line in lines] == [CLASSES[k] for k in order]
    softmax = np.exp(logits) / np.exp(logits).sum()
    assert [line["probability"] for line in lines] == pytest.approx(softmax[order], abs=1e-6)


@pytest.mark.parametrize("image", [np.zeros((8, 8, 1), np.float32), np.zeros((8, 8), np.uint8)])
def test_infer_says_what_image_it_expects(folder: Path, tmp_path: Path, image: np.ndarray) -> None:
    np.save(tmp_path / "image.npy", image)
    done = run_infer(folder, str(tmp_path / "image.npy"))
    assert done.returncode == 1
    assert done.stderr.strip().endswith("expected uint8 [8, 8, 1]")


def test_infer_does_not_fall_back_to_another_provider(folder: Path) -> None:
    facts = json.loads((folder / "session.json").read_text())
    facts["options"]["provider"] = "CUDAExecutionProvider"
    (folder / "session.json").write_text(json.dumps(facts))
    done = run_infer(folder)
    assert done.returncode == 1
    assert "CUDAExecutionProvider" in done.stderr


@pytest.mark.parametrize("options", [replace(OPTIONS, graph_optimization=g) for g in ("disable", "basic", "extended")])
def test_infer_runs_under_every_level_of_graph_optimization(
    write: Write, tmp_path: Path, options: SessionOptions
) -> None:
    write(options=options)
    assert run_infer(tmp_path / "bundle").returncode == 0


def test_a_network_of_fixed_batch_and_probabilities_is_bundled_too(write: Write, tmp_path: Path) -> None:
    made = write(model=classifier(tmp_path / "fixed.onnx", batch=4, probabilities=True), inputs=pictures(5), classes=())
    assert made.samples == 5
    assert bundle.verify(tmp_path / "bundle").passed is True
    with np.load(tmp_path / "bundle" / "samples.npz") as samples:
        best = samples["outputs"].max(axis=1)
    lines = [json.loads(line) for line in run_infer(tmp_path / "bundle").stdout.splitlines()]
    assert [line["probability"] for line in lines] == pytest.approx(best, abs=1e-6)
    assert {line["label"] for line in lines} <= {"0", "1", "2"}
    assert verify_without_onnxruntime(tmp_path / "bundle")["passed"] is True


def test_an_fp32_bundle_allows_a_thousandth_and_no_other_class(write: Write, tmp_path: Path) -> None:
    made = write()
    with np.load(tmp_path / "bundle" / "samples.npz") as samples:
        spread = float(np.ptp(samples["outputs"]))
    assert made.tolerance == {
        "outputs": [{"measure": "largest", "allowed": pytest.approx(1e-3 + 1e-3 * spread)}],
        "top1_misses": 0,
    }
    assert write(tolerance=0.25).tolerance["outputs"] == [{"measure": "largest", "allowed": 0.25}]


@pytest.mark.parametrize("name", ["int8-u8s8", "int8-dynamic", "fp16"])
def test_a_quantized_bundle_passes_with_onnxruntime_and_with_onnx_alone(
    write: Write, tmp_path: Path, name: str
) -> None:
    made = write(model=quantized(tmp_path, name), variant=name)
    with np.load(tmp_path / "bundle" / "samples.npz") as samples:
        spread = float(np.ptp(samples["outputs"]))
    share, misses = (1e-3, 0) if name == "fp16" else (0.05, 1)
    assert made.tolerance["outputs"] == [{"measure": "largest", "allowed": pytest.approx(1e-3 + share * spread)}]
    assert made.tolerance["top1_misses"] == misses
    assert bundle.verify(tmp_path / "bundle").passed is True
    assert verify_without_onnxruntime(tmp_path / "bundle")["passed"] is True


def test_an_int8_bundle_allows_one_other_class_in_16(write: Write, tmp_path: Path) -> None:
    write(model=quantized(tmp_path, "int8-u8s8"), variant="int8-u8s8", tolerance=1e3)
    with np.load(tmp_path / "bundle" / "samples.npz") as samples:
        inputs, outputs = samples["inputs"], samples["outputs"]
    for wrong, passed in ((1, True), (2, False)):
        changed = np.concatenate([np.roll(outputs[:wrong], 1, axis=1), outputs[wrong:]])
        np.savez(tmp_path / "bundle" / "samples.npz", inputs=inputs, outputs=changed)
        rehash(tmp_path / "bundle", "samples.npz")
        assert bundle.verify(tmp_path / "bundle").passed is passed


def test_without_onnxruntime_four_samples_are_checked_and_the_check_says_so(folder: Path) -> None:
    verified = verify_without_onnxruntime(folder)
    assert verified["passed"] is True
    detail = verified["checks"][-2]["detail"]
    assert "onnxruntime is not installed; checked with onnx's reference evaluator, which is slow" in detail
    assert detail.startswith("4 of 4")


def test_without_onnxruntime_an_unknown_operator_is_inconclusive(folder: Path) -> None:
    model = onnx.load(str(folder / "model.onnx"))
    model.graph.node[-1].CopyFrom(helper.make_node("Gelu", ["scores"], ["out"], domain="com.microsoft"))
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, str(folder / "model.onnx"))
    rehash(folder, "model.onnx")
    verified = verify_without_onnxruntime(folder)
    assert verified["passed"] is None
    assert "install onnxruntime" in verified["checks"][-1]["detail"]


def test_a_new_bundle_takes_the_place_of_the_old_one(write: Write, folder: Path) -> None:
    before = json.loads((folder / "manifest.json").read_text())
    write(inputs=pictures(3))
    after = json.loads((folder / "manifest.json").read_text())
    assert (before["samples"], after["samples"]) == (16, 3)
    assert bundle.verify(folder).passed is True
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    "more",
    [
        {"reports": [Path("/nowhere/report.json")]},
        {"model": Path("/nowhere/model.onnx")},
        {"inputs": pictures()[:0]},
        {"inputs": pictures().astype(np.float32)},
        {"inputs": pictures()[:, :4]},
        {"classes": ("one", "two")},
    ],
)
def test_a_write_that_fails_leaves_the_old_bundle_and_nothing_else(
    write: Write, folder: Path, more: dict[str, Any]
) -> None:
    with pytest.raises((BadInputError, OSError)):
        write(**more)
    assert bundle.verify(folder).passed is True
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []


def test_a_place_that_cannot_be_written_is_an_os_error(write: Write, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        write(tmp_path / "file" / "bundle")


@pytest.mark.parametrize("name", ["thesis.txt", "model.onnx"])
def test_a_folder_that_is_no_bundle_is_never_replaced(write: Write, tmp_path: Path, name: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text("years of work")
    with pytest.raises(BadInputError, match=name):
        write(tmp_path / "mine")
    assert (tmp_path / "mine" / name).read_text() == "years of work"


def test_a_bundle_with_a_file_of_the_users_is_not_replaced(write: Write, folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(BadInputError, match=r"notes\.txt"):
        write()
    assert (folder / "notes.txt").exists()


def test_a_file_or_an_empty_folder_in_its_place(write: Write, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty")
    assert bundle.verify(tmp_path / "empty").passed is True
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BadInputError, match="a file"):
        write(tmp_path / "file")


def test_weights_in_another_file_are_refused(write: Write, tmp_path: Path) -> None:
    model = onnx.load(str(classifier(tmp_path / "whole.onnx")))
    onnx.save(model, str(tmp_path / "split.onnx"), save_as_external_data=True, location="split.data", size_threshold=0)
    with pytest.raises(BadInputError, match="weights in another file"):
        write(model=tmp_path / "split.onnx")


def test_a_kill_between_the_two_renames_is_put_right_by_the_next_call(write: Write, folder: Path) -> None:
    folder.rename(folder.with_name(".bundle.edgekd-old"))
    with pytest.raises(OSError):
        write(reports=[Path("/nowhere/report.json")])
    assert bundle.verify(folder).passed is True
    folder.rename(folder.with_name(".bundle.edgekd-old"))
    write(inputs=pictures(3))
    assert json.loads((folder / "manifest.json").read_text())["samples"] == 3
    assert not folder.with_name(".bundle.edgekd-old").exists()


def test_recover_puts_back_the_old_bundle_and_never_replaces_one(write: Write, folder: Path) -> None:
    old = folder.with_name(".bundle.edgekd-old")
    folder.rename(old)
    bundle.recover(folder)
    assert bundle.verify(folder).passed is True and not old.exists()
    bundle.recover(folder)
    shutil.copytree(folder, old)
    write(folder.with_name("other"), inputs=pictures(3))
    shutil.rmtree(folder)
    folder.with_name("other").rename(folder)
    bundle.recover(folder)
    assert json.loads((folder / "manifest.json").read_text())["samples"] == 3


def test_a_killed_writer_leaves_no_half_bundle(write: Write, folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np; from pathlib import Path; from edgekd import bundle, session\n"
        "tmp = Path(sys.argv[1])\n"
        "while True:\n"
        "    bundle.write(tmp / 'bundle', model=tmp / 'made.onnx', variant='fp32', classes=(), target_toml='',\n"
        "        options=session.SessionOptions(), reports=[], inputs=np.zeros((1, 8, 8, 1), np.uint8), isa='avx2')\n"
        "    print('written', flush=True)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    for delay in (0.003, 0.011, 0.026):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None and child.stdout.readline() == b"written\n"
            time.sleep(delay)
            os.kill(child.pid, signal.SIGKILL)
        old = folder.with_name(".bundle.edgekd-old")
        assert bundle.verify(folder if folder.exists() else old).passed is True
    write()
    assert bundle.verify(folder).passed is True
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
