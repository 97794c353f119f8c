"""Whole runs on a table of pictures with groups, and on pictures without a label."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgekd import pipeline, settings
from edgekd.data import Samples
from edgekd.errors import BadInputError, ExitCode
from edgekd.recipe import Recipe, load, parse

from .conftest import Draw

pytestmark = pytest.mark.usefixtures("one_thread")
NAMES = ("top", "middle", "bottom")

OWN = """
from torch import nn

def small(num_classes, in_channels):
    convolution, head = nn.Conv2d(in_channels, 4, 3), nn.Linear(144, num_classes)
    return nn.Sequential(convolution, nn.ReLU(), nn.Flatten(), head)
"""


def document(source: Path, **sections: dict[str, Any]) -> Recipe:
    """A recipe that runs in a few seconds, in a network of one's own."""
    own = source.parent / "own.py"
    own.write_text(OWN)
    whole: dict[str, Any] = {
        "name": "own",
        "data": {"source": str(source), "calibration_samples": 12, "augment": "none"},
        "student": {"model": f"{own}:small"},
        "distill": {"method": "ce", "epochs": 2, "batch_size": 16, "learning_rate": 0.02},
        "quantize": {"variants": ["int8-u8s8"], "time_budget": 1.0},
        "validate": {"rounds": 1, "seconds": 0.01, "min_samples": 10},
        "gate": {"max_size_bytes": 1_000_000},
    }
    for name, values in sections.items():
        whole[name] = whole.get(name, {}) | values
    return parse(whole, origin="test")


def write(folder: Path, samples: Samples, *, labels: bool = True) -> Path:
    """The pictures as PNG files beside a table of them, in 12 groups; without `labels` without that column."""
    rows = ["path,group" + (",label" if labels else "")]
    (folder / "pictures").mkdir(parents=True)
    for index, (image, label) in enumerate(zip(samples.inputs, samples.labels, strict=True)):
        Image.fromarray(image[..., 0]).save(folder / "pictures" / f"{index:03d}.png")
        rows.append(f"pictures/{index:03d}.png,person {index // 3 % 12}" + (f",{NAMES[label]}" if labels else ""))
    (folder / "own.csv").write_text("\n".join(rows) + "\n")
    return folder / "own.csv"


@pytest.mark.parametrize("until", ["distill", pytest.param(None, marks=pytest.mark.slow)])
def test_a_table_of_pictures_with_groups_runs(until: str | None, tmp_path: Path, draw: Draw) -> None:
    recipe = document(write(tmp_path, draw(180)), data={"balance": "sample"}, distill={"class_weights": "balanced"})
    outcome = pipeline.run(recipe, folder=tmp_path / "run", until=until)
    report = outcome.report
    assert outcome.exit_code in (ExitCode.PASS, ExitCode.GATE_FAILED, ExitCode.INCONCLUSIVE)
    assert report["data"]["classes"] == sorted(NAMES) and report["data"]["not_measured"] == []
    groups = report["data"]["groups"]
    assert groups["train"] + groups["validation"] + groups["test"] == 12
    assert len(report["student"]["method"]["class_weights"]) == 3
    assert load(tmp_path / "run" / "recipe.lock.toml") == recipe
    moved = write(tmp_path / "moved", draw(180))
    ours, theirs = settings.load_data(recipe), settings.load_data(document(moved))
    assert (theirs.content_hash, theirs.index_hash) == (ours.content_hash, ours.index_hash), "a moved table is the same"


@pytest.mark.slow
@pytest.mark.parametrize("tested", [True, False])
def test_pictures_without_labels_are_distilled_and_the_report_says_what_was_not_measured(
    tested: bool, tmp_path: Path, draw: Draw, teacher_file: Path
) -> None:
    train, test = draw(120), draw(60, seed=5)
    arrays = {"x_train": train.inputs, "x_test": test.inputs} | ({"y_test": test.labels} if tested else {})
    np.savez(tmp_path / "bars.npz", **arrays, classes=np.array(NAMES))
    recipe = document(
        tmp_path / "bars.npz",
        teacher={"model": "resnet8", "weights": str(teacher_file)},
        distill={"method": "cist", "n_views": 2, "teacher_cache": "fp16", "cache_folder": str(tmp_path / "cache")},
        gate={"min_agreement": 0.05},
    )
    outcome = pipeline.run(recipe, folder=tmp_path / "run")
    report = outcome.report
    assert report["data"]["unlabelled"]["train"] == report["data"]["counts"]["train"]
    assert report["teacher"]["train_top1"] is None and report["student"]["validation_top1"] is None
    assert all(epoch["train_top1"] is None and epoch["kl"] is not None for epoch in report["student"]["history"])
    measured = [variant["accuracy"] for variant in report["variants"]]
    assert all(found["agreement_teacher"] is not None for found in measured), "always measured"
    assert all((found["top1"] is not None) == tested for found in measured)
    assert (report["student"]["test_top1"] is not None) == tested
    assert len(report["data"]["not_measured"]) == (2 if tested else 3)
    for file in ("report.md", "report.html"):
        text = (tmp_path / "run" / file).read_text()
        assert "No training sample has a label" in text
        assert ("No test sample has a label" in text) == (not tested)
    assert json.loads((tmp_path / "run" / "report.json").read_text())["data"] == report["data"]


def test_labels_beside_none_are_learned_from_where_they_are(tmp_path: Path, draw: Draw, teacher_file: Path) -> None:
    samples = draw(180)
    y = np.where(np.arange(180) // 3 % 3 == 0, samples.labels, -1)  # a third of each class
    np.savez(tmp_path / "bars.npz", x=samples.inputs, y=y, classes=np.array(NAMES))
    teacher = {"model": "resnet8", "weights": str(teacher_file)}
    recipe = document(tmp_path / "bars.npz", teacher=teacher, distill={"method": "kd", "mixup": 0.2})
    report = pipeline.run(recipe, folder=tmp_path / "run", until="distill").report
    assert report["data"]["unlabelled"]["test"] == 0 and report["data"]["unlabelled"]["train"] > 0
    assert report["teacher"]["train_top1"] > 0.5 and report["student"]["test_top1"] is not None
    assert "training samples have no label" in report["data"]["not_measured"][0]


def test_a_method_that_needs_every_label_is_refused_before_anything_is_trained(
    tmp_path: Path, draw: Draw, teacher_file: Path
) -> None:
    table = write(tmp_path, draw(60), labels=False)
    recipe = document(
        table,
        data={"classes": list(NAMES)},
        teacher={"model": "resnet8", "weights": str(teacher_file)},
        distill={"method": "dkd"},
    )
    with pytest.raises(BadInputError, match="method = 'dkd' treats the true class apart"):
        pipeline.run(recipe, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()
