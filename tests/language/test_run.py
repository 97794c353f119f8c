"""From a recipe to its verdict, as a user runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgekd import bundle
from edgekd.errors import BadInputError, ExitCode
from edgekd.language import recipe as recipes
from edgekd.language import rejudge
from edgekd.language import run as runs


def edgekd(*arguments: object, cache: Path) -> "subprocess.CompletedProcess[str]":
    line = [sys.executable, "-P", "-m", "edgekd.cli", *map(str, arguments)]
    environment = {**os.environ, "EDGEKD_CACHE": str(cache)}
    return subprocess.run(line, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.slow
def test_the_whole_run_in_small(recipe: Path, one_thread: None) -> None:
    loaded = recipes.load(recipe, overrides=("teacher.train.steps=6", "distill.steps=6", "validate.variants=[]"))
    folder = recipe.parent / "out"
    made = runs.run(loaded, folder=folder)
    assert made.exit_code in (ExitCode.PASS, ExitCode.INCONCLUSIVE)
    assert [arm["name"] for arm in made.report["arms"]] == ["teacher", "student-cist", "student-ce"]
    assert json.loads((folder / "report.json").read_text()) == json.loads(json.dumps(made.report))
    assert {"report.json", "report.md", "report.html", "junit.xml"} <= {path.name for path in folder.iterdir()}
    assert recipes.load(folder / "recipe.lock.toml") == loaded
    assert bundle.verify(folder / "bundle").passed is True
    assert rejudge.rejudge(rejudge.checked(json.loads((folder / "report.json").read_text()), folder)).verdict == "pass"
    assert all(step.cached for step in runs.plan(loaded, folder=folder)[:-3])
    again = runs.run(loaded, folder=folder)
    assert again.cached == ("teacher", "student-cist", "student-ce", "export", "files", "speed")
    assert again.report["variants"] == made.report["variants"]
    brought = recipes.load(
        recipe,
        overrides=(
            f"teacher={{weights='{folder / 'teacher.safetensors'}'}}",
            "data.vocabulary='bytes'",
        ),
    )
    with pytest.raises(
        BadInputError, match=r"teacher .*teacher\.safetensors has a vocabulary of .* the data one of 256"
    ):
        runs.run(brought, folder=recipe.parent / "other")


@pytest.mark.slow
def test_the_command_distills_and_exits_with_the_verdict(recipe: Path) -> None:
    out = recipe.parent / "out"
    cached = ("--set", "distill.teacher_cache='top-k'", "--set", "distill.cache_top_k=8")
    done = edgekd("language", recipe, "--out", out, *cached, cache=recipe.parent)
    assert done.returncode == 0, done.stderr
    report = json.loads((out / "report.json").read_text())
    bits = {arm["name"]: arm["test"]["bits_per_character"] for arm in report["arms"]}
    assert bits["teacher"] < bits["student-ce"] < 4.0
    variants = {variant["name"]: variant for variant in report["variants"]}
    assert variants["fp32"]["test"]["bits_per_character"] == pytest.approx(bits["student-cist"], abs=1e-3)
    assert (
        variants["int8-weight-only"]["ratio"]["perplexity_ratio"] < 1.02 * variants["fp32"]["ratio"]["perplexity_ratio"]
    )
    line = [sys.executable, out / "bundle" / "generate.py", "the cat ", "--tokens", "40", "--temperature", "0"]
    wrote = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    assert wrote.startswith("the cat ") and len(wrote.strip()) > 20
    verified = edgekd("verify", out / "bundle", "--json", cache=recipe.parent)
    assert verified.returncode == 0 and json.loads(verified.stdout)["passed"] is True
    assert edgekd("gate", out / "report.json", "--limit", "max_size_bytes=10", cache=recipe.parent).returncode == 1
    failed = edgekd("language", recipe, "--out", out, "--set", "gate.max_size_bytes=10", "--json", cache=recipe.parent)
    assert failed.returncode == 1
    assert json.loads(failed.stdout)["gate"]["verdict"] == "fail"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.text=['gone.txt']", "no such file"),
        ("data.context=512", "lower data.context"),
        ("teacher={weights='gone.safetensors'}", "no such file"),
        ("distill.cache_limit_gb=1e-9", "over the limit"),
    ],
)
def test_bad_input_is_named_and_exits_with_2(override: str, message: str, recipe: Path) -> None:
    changes = [override]
    changes += ["distill.teacher_cache='fp16'"] if "cache" in override else []
    changes += ["teacher.train.steps=2"] if "weights" not in override else []
    sets = [part for change in changes for part in ("--set", change)]
    done = edgekd("language", recipe, "--out", recipe.parent / "out", *sets, cache=recipe.parent)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr and "Traceback" not in done.stderr
