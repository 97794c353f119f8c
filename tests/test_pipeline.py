"""The stages in order: what is kept, what is made again, and what each answer holds."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd import pipeline
from edgekd.errors import BadInputError, ExitCode
from edgekd.progress import Progress
from edgekd.recipe import Recipe, load, parse

OWN = """
from torch import nn

def small(num_classes, in_channels):
    convolution, head = nn.Conv2d(in_channels, {width}, 3), nn.Linear(36 * {width}, num_classes)
    return nn.Sequential(convolution, nn.ReLU(), nn.Flatten(), head)
"""
STAGES = ("distill", "export", "quantize", "validate")


def document(source: Path) -> dict[str, Any]:
    """A recipe of a student without a teacher, in a network of one's own, that runs in a few seconds."""
    return {
        "name": "small",
        "data": {"source": str(source), "calibration_samples": 12, "augment": "none"},
        "student": {"model": f"{source.parent / 'own.py'}:small"},
        "distill": {"method": "ce", "epochs": 1, "batch_size": 16, "learning_rate": 0.01},
        "quantize": {"variants": ["int8-u8s8"], "time_budget": 1.0},
        "validate": {"rounds": 1, "seconds": 0.01, "min_samples": 10},
        "gate": {"max_size_bytes": 1_000_000},
    }


@pytest.fixture
def recipe(npz_file: Path) -> Recipe:
    (npz_file.parent / "own.py").write_text(OWN.format(width=4))
    return parse(document(npz_file), origin="test")


def with_(recipe: Recipe, section: str, **values: object) -> Recipe:
    """The recipe with other values in one section."""
    return recipe.model_copy(update={section: getattr(recipe, section).model_copy(update=values)})


def now(outcome: pipeline.Outcome) -> dict[str, Any]:
    """What a report says of the moment: the time, and the memory that was free."""
    return {key: outcome.report[key] for key in ("created", "environment")}


@pytest.mark.usefixtures("one_thread")
def test_a_run_keeps_what_did_not_change_and_makes_the_rest_again(recipe: Recipe, tmp_path: Path) -> None:
    folder, said = tmp_path / "run", list[Progress]()
    first = pipeline.run(recipe, folder=folder, listener=said.append)
    assert first.exit_code in (ExitCode.PASS, ExitCode.GATE_FAILED, ExitCode.INCONCLUSIVE)
    assert first.cached == () and first.folder == folder
    assert list(dict.fromkeys(p.stage for p in said)) == [
        "distill", "export", "quantize", "calibrate", "latency", "accuracy", "report"
    ]  # fmt: skip
    assert json.loads((folder / "report.json").read_text()) == json.loads(json.dumps(first.report))
    assert load(folder / "recipe.lock.toml") == recipe

    again = pipeline.run(recipe, folder=folder)
    assert again.cached == STAGES
    assert {**again.report, **now(again)} == {**first.report, **now(again)}

    timed = pipeline.run(with_(recipe, "validate_", min_samples=11), folder=folder)
    assert timed.cached == ("distill", "export", "quantize")
    assert timed.report["student"] == first.report["student"]

    changed = with_(recipe, "distill", epochs=2)
    assert not any(step.cached for step in pipeline.plan(changed, folder=folder))
    longer = pipeline.run(changed, folder=folder, until="export")
    assert longer.cached == ()
    assert len(longer.report["student"]["history"]) == 2
    assert longer.report["student"]["sha256"] != first.report["student"]["sha256"]
    assert longer.report["export"]["sha256"] != first.report["export"]["sha256"]

    assert not any(step.cached for step in pipeline.plan(recipe, folder=folder))
    back = pipeline.run(recipe, folder=folder, until="export")
    assert back.cached == ()
    for part, key in (("student", "sha256"), ("export", "sha256")):
        assert back.report[part][key] == first.report[part][key]


@pytest.mark.usefixtures("one_thread")
def test_a_run_that_stops_early_is_gone_on_with(recipe: Recipe, npz_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first = pipeline.run(recipe, folder=folder, until="distill")
    assert first.report["student"]["weights"] == "student.safetensors" and first.report["export"] is None
    assert not (folder / "model.onnx").exists() and not (folder / "report.json").exists()
    assert [step.cached for step in pipeline.plan(recipe, folder=folder)] == [True, *[False] * 6]
    assert [step.name for step in pipeline.plan(recipe, folder=folder, until="export")] == ["distill", "export"]
    assert pipeline.run(recipe, folder=folder, until="export").cached == ("distill",)

    (npz_file.parent / "own.py").write_text(OWN.format(width=5))
    assert not any(step.cached for step in pipeline.plan(recipe, folder=folder)), "another network"
    (npz_file.parent / "own.py").write_text(OWN.format(width=4))
    assert pipeline.plan(recipe, folder=folder)[0].cached
    with np.load(npz_file) as arrays:
        x, y = arrays["x"], arrays["y"]
    x[0, 0, 0] ^= 1
    np.savez(npz_file, x=x, y=y)
    assert not any(step.cached for step in pipeline.plan(recipe, folder=folder)), "one bit of one pixel"


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("student", {"model": "resnet9"}, "unknown model 'resnet9'"),
        ("validate_", {"target": "x86"}, "unknown target 'x86'"),
        ("data", {"source": "nowhere"}, "'nowhere' is neither a folder"),
        ("data", {"train_samples": 1_000}, "data.train_samples asks for 1000"),
    ],
)
def test_bad_input_leaves_no_folder(
    section: str, values: dict[str, object], message: str, recipe: Recipe, tmp_path: Path
) -> None:
    wrong = with_(recipe, section, **values)
    for ask in (pipeline.run, pipeline.plan):
        with pytest.raises(BadInputError, match=message):
            ask(wrong, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()
