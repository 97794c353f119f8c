"""A bundle checks itself anywhere, and nothing that was changed in it passes."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgekd import bundle, report
from edgekd.bundle import infer
from edgekd.bundle.manifest import REPORTS
from edgekd.errors import BadInputError
from edgekd.files import sha256
from edgekd.session import SessionOptions

from .bundles import (
    CLASSES,
    FILES,
    OPTIONS,
    Write,
    classifier,
    edit_manifest,
    failed,
    pictures,
    rehash,
    writer,
)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    return writer(tmp_path)


@pytest.fixture
def folder(tmp_path: Path, write: Write) -> Path:
    """A bundle of the fp32 classifier."""
    write()
    return tmp_path / "bundle"


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
        (b'{"schema_version": 4}', "update edgekd"),
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


def test_weights_in_another_file_are_refused(write: Write, tmp_path: Path) -> None:
    model = onnx.load(str(classifier(tmp_path / "whole.onnx")))
    onnx.save(model, str(tmp_path / "split.onnx"), save_as_external_data=True, location="split.data", size_threshold=0)
    with pytest.raises(BadInputError, match="weights in another file"):
        write(model=tmp_path / "split.onnx")
