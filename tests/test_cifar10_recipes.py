"""The CIFAR-10 recipes from the archive of JPEG bytes to their verdicts, on a few coloured pictures of that layout."""

import io
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))  # at the end: edgekd is the installed one

from benchmarks import cifar10_folder, cifar10_scores  # noqa: E402
from edgekd import pipeline  # noqa: E402
from edgekd.errors import ExitCode  # noqa: E402
from edgekd.recipe import load  # noqa: E402

NAMES = ("blue", "green", "red")
SHORT = (
    "data.calibration_samples=12", "distill.batch_size=16", "distill.epochs=3", "distill.precision=\"fp32\"",
    "distill.learning_rate=0.02", "distill.device=\"cpu\"",
)  # fmt: skip
QUICK = (
    *SHORT, "data.train_samples=90", "quantize.variants=[\"int8-u8s8\"]", "quantize.time_budget=0.1",
    "validate.rounds=1", "validate.seconds=0.01", "validate.min_samples=10", "gate.max_top1_drop=0.9",
    "gate.min_top1=0.2", "gate.max_size_bytes=1000000",
)  # fmt: skip


def archive(path: Path) -> Path:
    """150 pictures to train on and 30 to test, one colour a class, as JPEG bytes one after the other."""
    draw = np.random.default_rng(0)
    labels = np.arange(180) % 3
    blobs = []
    for label in labels:
        pixels = draw.integers(0, 120, (32, 32, 3), dtype=np.uint8)
        pixels[..., 2 - label] += 100
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "jpeg")
        blobs.append(stream.getvalue())
    ends = np.cumsum([0, *map(len, blobs)])
    blob = np.frombuffer(b"".join(blobs), np.uint8)
    np.savez(path, blob=blob, off=ends, label=labels.astype(np.uint8), test=np.arange(180) >= 150, names=NAMES)
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipes beside a `runs/` with the folder of pictures."""
    root = tmp_path_factory.mktemp("cifar10")
    shutil.copytree(ROOT / "recipes", root / "recipes")
    assert cifar10_folder.write(archive(root / "archive.npz"), root / "runs" / "data" / "cifar10") == 180
    return root


def run(root: Path, name: str, *changes: str) -> pipeline.Outcome:
    recipe = load(root / "recipes" / f"{name}.toml", overrides=changes)
    return pipeline.run(recipe, folder=root / "runs" / name)


def test_the_bytes_are_written_as_they_are(root: Path) -> None:
    files = sorted((root / "runs" / "data" / "cifar10").rglob("*.jpg"))
    assert len(files) == 180 and files[0].parent.name == "blue"
    with np.load(root / "archive.npz") as arrays:
        first = arrays["blob"][: arrays["off"][1]].tobytes()
    assert (root / "runs/data/cifar10/train/blue/00000.jpg").read_bytes() == first


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_network_onnx_file_and_score_table_teach_the_same_pictures(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKD_CACHE", str(root / "cache"))
    taught = run(root, "teacher-cifar10", *SHORT, 'quantize.variants=["int8-u8s8"]', "quantize.time_budget=0.1")
    cifar10_scores.write(
        root / "runs/teacher-cifar10/model.onnx", root / "runs/data/cifar10", root / "runs/data/cifar10-scores.parquet"
    )
    for name, kind in (("cifar10", "network"), ("cifar10-onnx-teacher", "onnx"), ("cifar10-scores", "scores")):
        outcome = run(root, name, *QUICK)
        assert outcome.exit_code in (ExitCode.PASS, ExitCode.INCONCLUSIVE), name  # 30 pictures may prove nothing
        assert load(root / "recipes" / f"{name}.toml").teacher.kind == kind  # type: ignore[union-attr]
        assert outcome.report["teacher"]["test_top1"] == pytest.approx(taught.report["student"]["test_top1"])
