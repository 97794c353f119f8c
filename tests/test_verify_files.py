"""`edgekd verify` reads a bundle's sample files with the bundle's own code: another preprocessing does not pass."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgekd import bundle

from .bundles import edit_manifest, failed, rehash, run_infer
from .file_bundles import SOURCES, linear, make, pictures, tampered


@pytest.fixture(scope="module", params=["image", pytest.param("series", marks=pytest.mark.slow)])
def quick(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Kind, and a bundle of it."""
    root = tmp_path_factory.mktemp(request.param)
    return request.param, make(root, SOURCES[request.param](root / "source"))


QUICK = {
    "image": ("infer.py", ".read(Path(name), preprocessing[kind])", ".read(Path(name), preprocessing[kind])[..., ::-1]",
              r"another order, \[2, 1, 0\]"),
    "series": ("read_window.py", "axis=1)", "axis=1)[:, ::-1]", r"another order, \[1, 0\]"),
}  # fmt: skip


def test_a_bundle_passes_and_one_whose_channels_are_swapped_does_not(quick: tuple[str, Path], tmp_path: Path) -> None:
    kind, whole = quick
    verified = bundle.verify(whole)
    assert verified.passed is True, verified.checks
    assert [c.name for c in verified.checks][-3:] == ["preprocessing", "sample files", "infer.py"]
    name, old, new, message = QUICK[kind]
    wrong = failed(bundle.verify(tampered(whole, tmp_path / "b", name, old, new)))
    assert set(wrong) == {"sample files", "infer.py"}
    assert "the decoded tensor differs in" in wrong["sample files"]
    assert "network outputs differ, by" in wrong["infer.py"]
    assert re.search(message, wrong["sample files"]), wrong
    with_hashes_alone = bundle.verify(tmp_path / "b", run_infer=False)
    assert with_hashes_alone.passed is None and "not to be run" in with_hashes_alone.checks[-1].detail


@pytest.mark.slow
def test_a_manifest_that_tells_of_another_preprocessing_than_the_model_does_not_pass(
    tmp_path: Path, quick: tuple[str, Path]
) -> None:
    kind, whole = quick
    old, new, message = {
        "image": ('"filter": "bicubic"', '"filter": "box"', "image.resize.filter is 'box', not 'bicubic'"),
        "series": ('"ax",\n        "ay"', '"ay",\n        "ax"', "series.channels is ['ay', 'ax'], not ['ax', 'ay']"),
    }[kind]
    wrong = failed(bundle.verify(tampered(whole, tmp_path / "b", "manifest.json", old, new)))
    assert f"in manifest.json {message}, as model.onnx says" in wrong["preprocessing"]
    assert "the decoded tensor differs" in wrong["sample files"], "infer.py does what manifest.json says"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mean", "std"])
def test_another_mean_in_the_graph_shows_in_the_networks_outputs(
    name: str, quick: tuple[str, Path], tmp_path: Path
) -> None:
    _, whole = quick
    folder = tampered(whole, tmp_path / "b", "README.txt", "verify", "verify")
    model = onnx.load(str(folder / "model.onnx"))
    tensor = next(t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(2) + np.float32(1), name))
    onnx.save(model, str(folder / "model.onnx"))
    rehash(folder, "model.onnx")
    wrong = failed(bundle.verify(folder))
    assert "outputs" in wrong and "largest difference" in wrong["outputs"] and "sample files" not in wrong


@pytest.mark.slow
def test_sample_files_are_struck_from_no_list_and_replaced_by_no_other(quick: tuple[str, Path], tmp_path: Path) -> None:
    _, whole = quick
    entries = json.loads((whole / "manifest.json").read_text())["sample_files"]
    assert len(entries) == 3 and all(entry["largest"] == 0 for entry in entries)
    folder = tampered(whole, tmp_path / "b", "README.txt", "verify", "verify")
    edit_manifest(folder, lambda document: document["sample_files"][0].update(row=entries[1]["row"]))
    assert "have another SHA-256" in failed(bundle.verify(folder))["sample files"]
    one, other = (folder / entry["name"] for entry in entries[:2])
    one.write_bytes(other.read_bytes())
    rehash(folder, one.name)
    edit_manifest(folder, lambda document: document["sample_files"][0].update(row=entries[0]["row"]))
    assert "decoded tensor differs" in failed(bundle.verify(folder))["sample files"]


@pytest.mark.slow
def test_infer_that_crashes_fails_and_a_missing_package_cannot_tell(quick: tuple[str, Path], tmp_path: Path) -> None:
    _, whole = quick
    crash = tampered(whole, tmp_path / "crash", "infer.py", "def infer(", "raise RuntimeError('no')\n\n\ndef infer(")
    assert "RuntimeError: no" in failed(bundle.verify(crash))["sample files"]
    absent = tampered(whole, tmp_path / "absent", "infer.py", "def read_file(", "def unused(")
    text = (
        (absent / "infer.py")
        .read_text()
        .replace("def read_sample(", "def read_file(*_):\n    import no_such_package\n\n\ndef read_sample(")
    )
    (absent / "infer.py").write_text(text)
    rehash(absent, "infer.py")
    verified = bundle.verify(absent)
    assert verified.passed is None and "No module named 'no_such_package'" in verified.checks[-1].detail


@pytest.mark.slow
def test_infer_by_itself_says_when_a_file_is_read_otherwise(quick: tuple[str, Path], tmp_path: Path) -> None:
    kind, whole = quick
    done = run_infer(whole)
    assert done.returncode == 0 and done.stdout.count('"input_difference": 0.0') == 3, done.stderr
    name, old, new, _ = QUICK[kind]
    assert run_infer(tampered(whole, tmp_path / "b", name, old, new)).returncode == 1


@pytest.mark.slow
def test_a_jpeg_may_be_decoded_a_little_otherwise_and_no_more(tmp_path: Path) -> None:
    whole = make(tmp_path, pictures(tmp_path / "source", suffix=".jpg"))
    entries = json.loads((whole / "manifest.json").read_text())["sample_files"]
    assert {Path(entry["name"]).suffix for entry in entries} == {".jpg"} and entries[0]["largest"] == 3.0
    spot = "return np.asarray(picture, dtype=np.uint8)"
    for added, passed in ((1, True), (9, False)):
        changed = (
            "a = np.array(picture, dtype=np.uint8)\n"
            f"    a[0, 0] = np.where(a[0, 0] > 127, a[0, 0] - {added}, a[0, 0] + {added})\n"
            "    return a"
        )
        folder = tampered(whole, tmp_path / str(added), "read_picture.py", spot, changed)
        assert bundle.verify(folder).passed is passed
    edit_manifest(whole, lambda document: document["sample_files"][0].update(largest=99.0))
    with pytest.raises(Exception, match="less than or equal to 4"):
        bundle.verify(whole)


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_arrays_without_files_are_bundled_as_png(layout: str, tmp_path: Path) -> None:
    data = replace(pictures(tmp_path / "source"), original=None)
    whole = make(tmp_path, data, layout=layout, model=linear(tmp_path / "m.onnx", data, layout=layout))
    entries = json.loads((whole / "manifest.json").read_text())["sample_files"]
    assert entries[0]["name"] == "sample-0.png" and "encoded losslessly" in entries[0]["origin"]
    assert bundle.verify(whole).passed is True


def test_a_bundle_without_its_sample_files_or_with_other_labels_does_not_pass(
    quick: tuple[str, Path], tmp_path: Path
) -> None:
    _, whole = quick
    for version in (3, 2):
        folder = shutil.copytree(whole, tmp_path / str(version))

        def without(document: dict[str, Any], folder: Path = folder, version: int = version) -> None:
            for entry in document["sample_files"]:
                (folder / entry["name"]).unlink()
                del document["files"][entry["name"]]
            document |= {"sample_files": [], "schema_version": version}

        edit_manifest(folder, without)
        assert "lists none; expected some" in failed(bundle.verify(folder))["sample files"]
    swapped = tampered(whole, tmp_path / "swapped", "labels.json", '"a",\n  "b"', '"b",\n  "a"')
    assert "or in another order" in failed(bundle.verify(swapped))["labels"]
    other = shutil.copytree(whole, tmp_path / "task")
    edit_manifest(other, lambda document: document.update(task="multi-label"))
    assert failed(bundle.verify(other))["task"] == "manifest.json says 'multi-label', model.onnx None"
    softmax = tampered(whole, tmp_path / "softmax", "session.json", '"kind": "logits"', '"kind": "probabilities"')
    assert "takes the first output for 'probabilities'" in failed(bundle.verify(softmax))["task"]
