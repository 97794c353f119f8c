"""A study of multi-label data: chosen and compared by mean average precision, and its words say so."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd import recipe as recipes
from edgekd.environment import describe
from edgekd.errors import BadInputError
from edgekd.study import charts, collect, markdown, run, usual_methods
from edgekd.study.metric import MAP, TOP1, of, validation
from edgekd.study.place import Places
from edgekd.study.run import check_methods
from edgekd.study.schedule import Schedule

from .sample import result, whole

METHODS = ("ce", "kd", "cist", "entropy")
LABELS = (np.random.default_rng(0).random((300, 4)) < 0.4).astype(np.int8)


def told(seeds: int = 3) -> dict[str, Any]:
    """A study whose cells' numbers are invented; cist is best, and named sets are the true ones but for some."""
    schedule = Schedule(whole(methods=METHODS, seeds=seeds, count=2))
    while (cell := schedule.take()) is not None:
        made = result(cell)
        student = dict(made.report["student"])
        worth = student["test_top1"]
        wrong = np.random.default_rng(cell.seed).random(LABELS.shape) > worth
        student |= {"test_map": worth, "validation_map": student["validation_top1"], "test_micro_f1": worth - 0.1}
        student |= {"test_top1": None, "validation_top1": None, "test_ece": None}
        student["test_predictions"] = [np.flatnonzero(row).tolist() for row in (LABELS == 1) ^ wrong]
        for name in ("soft_entropy", "fixed_entropy"):  # of a softmax of two, where the invented ones are of ten
            student[name] = student[name] and [value * math.log(2) / math.log(10) for value in student[name]]
        teacher = made.report["teacher"]
        if teacher is not None:
            teacher = dict.fromkeys(("test_top1", "validation_top1", "train_top1")) | {
                "model": "resnet20", "parameters": 1_000, "test_map": 0.9, "validation_map": 0.91, "train_map": 0.95,
            }  # fmt: skip
        schedule.finish(cell, replace(made, report={"student": student, "teacher": teacher}))
    return collect.study(
        schedule,
        places=Places(jobs=2, threads=1, gpus=()),
        labels=LABELS,
        classes=4,
        machine=describe().as_dict(),
        recipe={"path": "a.toml", "overrides": []},
        seconds=1.0,
    )


@pytest.fixture(scope="module")
def study() -> dict[str, Any]:
    return told()


def test_candidates_and_arms_are_measured_by_mean_average_precision(study: dict[str, Any]) -> None:
    assert study["metric"] == "map" and of(study) is MAP and of({}) is TOP1
    for arm in study["arms"]:
        assert arm["test_map"]["mean"] == pytest.approx(np.mean([seed["test_map"] for seed in arm["seeds"]]))
        assert "test_top1" not in arm and "test_ece" not in arm and arm["test_micro_f1"]["n"] == 3
        tops = [row["validation_map"] for row in arm["candidates"]]
        assert arm["chosen"] == arm["candidates"][tops.index(max(tops))]["knobs"]
    cist = next(arm for arm in study["arms"] if arm["method"] == "cist")
    pair = cist["against_baseline"]["seeds"][0]
    assert pair["micro_f1_low"] < pair["micro_f1_difference"] < pair["micro_f1_high"]
    assert validation({"validation_top1": None, "validation_map": 0.5}) == 0.5
    assert validation({"validation_top1": 0.4}) == 0.4
    collect.as_json(study)


def test_no_text_speaks_of_top1_or_accuracy(study: dict[str, Any]) -> None:
    text = markdown.render(study)
    for words in ("test mAP, %", "test micro F1, %", "mAP on test", "validation mAP, %", "chosen by validation mAP"):
        assert words in text
    assert "of mean average precision on test" in text and "of micro F1 it is about ±" in text
    assert not [word for word in ("top-1", "ECE", "test accuracy", "Newcombe") if word in text]


@pytest.mark.slow
def test_both_charts_are_drawn(study: dict[str, Any]) -> None:
    drawn = charts.draw(study)
    assert {"accuracy.svg", "entropy.svg"} <= drawn.keys()


def test_the_sign_of_a_difference_in_micro_f1_is_that_of_the_better_student() -> None:
    labels = np.array([[1, 0], [0, 1]], dtype=np.int8)
    found = collect.compared_sets([(0,), (1,)], [(0,), ()], labels)
    assert found["micro_f1_difference"] == pytest.approx(1 - 2 / 3)  # 1 of 2 named: 2 TP / (2 TP + FN) = 2 / 3
    assert found["micro_f1_low"] <= found["micro_f1_difference"] <= found["micro_f1_high"]


def test_methods_without_a_form_for_several_labels_are_refused() -> None:
    with pytest.raises(BadInputError, match="--methods dkd: no form for multi-label data; expected some of: ce, kd"):
        check_methods(whole(methods=("ce", "dkd"), count=1))


def write(folder: Path) -> Path:
    generator = np.random.default_rng(0)
    labels = (generator.random((160, 3)) < 0.45).astype(np.int8)
    images = generator.integers(0, 60, (160, 8, 8), dtype=np.uint8)
    for k in range(3):
        images[labels[:, k] == 1, 2 * k + 1 : 2 * k + 3] += 120
    np.savez(folder / "d.npz", x=images, y=labels)
    (folder / "r.toml").write_text(
        f"""
name = "several"
[data]
source = "{folder / "d.npz"}"
calibration_samples = 20
augment = "none"
[teacher]
model = "resnet8"
options = {{ width = 0.5 }}
weights = "{folder / "teacher" / "student.safetensors"}"
[student]
model = "resnet8"
options = {{ width = 0.25 }}
[distill]
epochs = 2
batch_size = 16
optimizer = "adamw"
learning_rate = 0.01
"""
    )
    return folder / "r.toml"


@pytest.mark.slow
def test_a_study_of_multi_label_data_runs(tmp_path: Path) -> None:
    from edgekd import pipeline

    recipe = recipes.load(write(tmp_path))
    assert usual_methods(recipe) == METHODS
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        taught = recipes.load(tmp_path / "r.toml", overrides=("distill.method=ce", "student.options={width=0.5}"))
        taught = taught.model_copy(update={"teacher": None})
        pipeline.run(taught, folder=tmp_path / "teacher", until="distill")
        with pytest.raises(BadInputError, match="--methods lskd: no form"):
            run(recipe, folder=tmp_path / "no", methods=("kd", "lskd"), seeds=1, candidates=1)
        outcome = run(recipe, folder=tmp_path / "out", methods=None, seeds=2, candidates=2, jobs=2)
    assert outcome.exit_code == 0 and [arm["method"] for arm in outcome.study["arms"]] == list(METHODS)
    assert all(arm["test_map"]["mean"] > 0.4 for arm in outcome.study["arms"])
    entropy = next(arm for arm in outcome.study["arms"] if arm["method"] == "entropy")["soft_entropy"]
    assert entropy["sd"] < 1e-3 and entropy["mean"] < math.log(2)
    assert "test mAP" in (tmp_path / "out" / "study.md").read_text()
