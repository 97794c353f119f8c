"""Sensor readings from a CSV to a bundle whose infer.py takes a CSV: what a user of edgekd does."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekd import pipeline
from edgekd.errors import BadInputError, ExitCode
from edgekd.recipe import load
from edgekd.starter import starter_recipe

RECIPE = """
name = "motion"
[data]
source = "motion.csv"
calibration_samples = 32
[data.series]
window = 32
[student]
model = "ds_cnn_1d"
options = { width = 0.5 }
[distill]
method = "ce"
epochs = 15
batch_size = 8
optimizer = "adamw"
learning_rate = 0.004
[quantize]
variants = ["int8-u8s8"]
time_budget = 1.0
[validate]
target = "x86-1t"
rounds = 1
seconds = 0.02
min_samples = 30
[gate]
min_top1 = 0.4
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A table of three motions of eight subjects, each with a tempo of its own, and its recipe."""
    generator = np.random.default_rng(0)
    rows = ["ax,ay,label,group"]
    for subject in range(8):
        time = np.arange(32 * 6) / 32 * generator.uniform(0.9, 1.1)
        for number, name in enumerate(("rest", "walk", "run")):
            wave = number * np.stack([np.sin(2 * np.pi * (1 + 2 * number) * time + phase) for phase in (0, 1)], axis=1)
            noisy = 9.81 + wave + generator.normal(0, 0.3, wave.shape)
            rows += [f"{a:.4f},{b:.4f},{name},s{subject}" for a, b in noisy]
    (tmp_path / "motion.csv").write_text("\n".join([*rows, ""]), encoding="utf-8")
    (tmp_path / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    return tmp_path


def infer(bundle: Path, sample: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(bundle / "infer.py"), str(sample)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_table_becomes_a_bundle_that_takes_a_table(place: Path) -> None:
    outcome = pipeline.run(load(place / "recipe.toml"), folder=place / "run")
    assert outcome.exit_code == ExitCode.PASS
    assert outcome.report["data"]["input_shape"] == [32, 2]
    bundle = place / "run" / "bundle"
    samples = np.load(bundle / "samples.npz")["inputs"]
    np.save(place / "window.npy", samples[0])
    swapped = "\n".join(["ay,note,ax", *(f"{b:.9g},ok,{a:.9g}" for a, b in samples[0]), ""])
    (place / "window.csv").write_text(swapped, encoding="utf-8")
    answers = [infer(bundle, place / name) for name in ("window.npy", "window.csv")]
    found = [[json.loads(line) for line in answer.stdout.splitlines()] for answer in answers]
    assert found[0] == found[1] and len(found[0]) == 3  # columns go by name, not by place
    broken = "\n".join(["ax,ay", "1,2", "1,nan", *["1,2"] * 30, ""])
    for text, message in (
        ("ax\n1\n", "has no column 'ay'"),
        ("ax,ay\n1,2\n", "has 1 readings; expected 32, one window"),
        (broken, "found nan in reading 1, channel 1"),
    ):
        (place / "bad.csv").write_text(text, encoding="utf-8")
        answer = infer(bundle, place / "bad.csv")
        assert answer.returncode == 1 and message in answer.stderr


def test_the_recipe_to_start_from_loads_and_names_the_columns(place: Path) -> None:
    text = starter_recipe(str(place / "motion.csv"), out=place / "own.toml", target="x86-1t", resize=None)
    (place / "own.toml").write_text(text, encoding="utf-8")
    recipe = load(place / "own.toml")
    assert recipe.data.series is not None and recipe.student.model == "ds_cnn_1d"
    assert (recipe.data.series.columns, recipe.data.series.group) == (("ax", "ay"), "group")
    assert [step.name for step in pipeline.plan(recipe, folder=place / "own")][-1] == "bundle"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("window = 32", "window = 8", r"windows of 8 readings are shorter than model 'ds_cnn_1d' needs, at least 13"),
        ('"ds_cnn_1d"\noptions = { width = 0.5 }', '"resnet8"', r"'resnet8' takes data of kind image.*ds_cnn_1d"),
    ],
)
def test_a_network_that_does_not_fit_is_refused_before_training(old: str, new: str, message: str, place: Path) -> None:
    (place / "recipe.toml").write_text(RECIPE.replace(old, new), encoding="utf-8")
    with pytest.raises(BadInputError, match=message):
        pipeline.plan(load(place / "recipe.toml"), folder=place / "run")
