"""A bundle runs anywhere: by its own infer.py, in each kind of file, and without ONNX Runtime."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from edgekd import bundle
from edgekd.session import SessionOptions

from .bundles import (
    CLASSES,
    OPTIONS,
    Write,
    classifier,
    pictures,
    quantized,
    rehash,
    run_infer,
    verify_without_onnxruntime,
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
