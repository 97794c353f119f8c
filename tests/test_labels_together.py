"""Whole runs in which class weights, balanced sampling, missing labels, groups and fine-tuning meet."""

import csv
from pathlib import Path

import numpy as np
import pytest

from edgekd import pipeline, settings
from edgekd.recipe import parse

from .conftest import Draw
from .test_own_data import NAMES, document

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


def test_weights_balance_and_fine_tuning_take_samples_without_labels(
    tmp_path: Path, draw: Draw, teacher_file: Path
) -> None:
    pytest.importorskip("torchao")
    samples = draw(180)
    y = np.where(np.arange(180) // 3 % 3 == 0, samples.labels, -1)
    np.savez(tmp_path / "bars.npz", x=samples.inputs, y=y, classes=np.array(NAMES))
    recipe = document(
        tmp_path / "bars.npz",
        data={"balance": "sample"},
        teacher={"model": "resnet8", "weights": str(teacher_file)},
        student={"model": "resnet8"},
        distill={"method": "kd", "class_weights": "balanced"},
        quantize={"qat": True, "qat_epochs": 1},
    )
    report = pipeline.run(recipe, folder=tmp_path / "run").report
    assert report["data"]["unlabelled"]["train"] > 0
    assert len(report["student"]["method"]["class_weights"]) == 3
    tuned = next(variant for variant in report["variants"] if variant["name"] == "int8-qat")
    assert tuned["accuracy"] is not None and tuned["accuracy"]["n"] == report["data"]["counts"]["test"]


def test_a_parquet_table_of_readings_keeps_its_groups_whole(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    rows = [
        [round(float(np.sin(row * (k + 1) / 3)), 4), row % 5, label, f"person {who}"]
        for who in range(10)
        for k, label in enumerate(NAMES)
        for row in range(64)
    ]
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["ax", "ay", "label", "group"], *rows])
    parquet.write_table(arrow_csv.read_csv(tmp_path / "a.csv"), tmp_path / "a.parquet")
    recipe = parse(
        {
            "name": "readings",
            "data": {
                "source": str(tmp_path / "a.parquet"),
                "calibration_samples": 9,
                "balance": "sample",
                "series": {"window": 32},
            },
            "student": {"model": "ds_cnn_1d"},
            "distill": {"method": "ce", "epochs": 1, "batch_size": 16, "class_weights": "balanced"},
            "quantize": {"variants": ["int8-u8s8"], "time_budget": 0.1},
            "validate": {"rounds": 1, "seconds": 0.01, "min_samples": 10},
            "gate": {"max_size_bytes": 1_000_000},
        },
        origin="test",
    )
    report = pipeline.run(recipe, folder=tmp_path / "run").report
    groups = report["data"]["groups"]
    assert groups["train"] + groups["validation"] + groups["test"] == 10
    ours = settings.load_data(recipe)
    parts = [set(np.unique(getattr(ours, name).groups)) for name in ("train", "validation", "test")]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
