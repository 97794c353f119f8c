"""From a recipe to its verdict, as a user runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgekd.errors import BadInputError, ExitCode
from edgekd.language import recipe as recipes
from edgekd.language import report as reports
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
    bundle = {path.name for path in (folder / "bundle").iterdir()}
    assert bundle == {"model.onnx", "vocabulary.json", "generate.py", "manifest.json"}
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


def test_what_a_user_named_is_escaped_in_markdown(recipe: Path) -> None:
    report = json.loads(SMALL_REPORT)
    assert "<script>" not in reports.render(report)
    assert "&lt;script&gt;" in reports.render(report)


SMALL_REPORT = json.dumps(
    {
        "name": "x",
        "gate": {"verdict": "inconclusive", "variant": "fp32", "checks": []},
        "data": {
            "sources": ["<script>.txt"],
            "characters": 5,
            "sha256": "0" * 64,
            "vocabulary": {"size": 3, "kind": "characters"},
            "context": 4,
            "blocks": {"test": 2},
        },
        "arms": [],
        "variants": [],
        "environment": {"cpu_model": "cpu", "isa": "avx2", "packages": {}},
        "session": {"threads": 1, "provider": "CPUExecutionProvider"},
        "target": {"name": "x86-1t", "proxy": True},
        "overrides": ["a=<script>"],
    }
)


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
