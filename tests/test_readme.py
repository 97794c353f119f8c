"""Every command of the README is run as it stands there, in order, by a reader with a folder of images."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
VERDICTS = {0, 1, 3}
"""A few hundred tiny pictures may or may not pass the gate; bad input, a fault or a bug they must not be."""

RUN_ELSEWHERE = {"edgekd run recipes/quickstart.toml"}  # `make demo`, in CI


def commands() -> list[str]:
    """The lines of the README's shell and YAML blocks that call edgekd."""
    blocks = re.findall(r"```(?:sh|yaml)\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    lines = [line.removeprefix("- run: ") for line in lines]
    return [line for line in lines if line.startswith("edgekd ") and line not in RUN_ELSEWHERE]


def test_every_target_of_make_in_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    shown = re.findall(r"^make ([a-z-]+)", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    assert shown
    for target in shown:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_the_readme_shows_the_three_uses() -> None:
    shown = {line.split()[1] for line in commands()}
    assert {
        "init",
        "run",
        "quantize",
        "validate",
        "verify",
        "gate",
        "compare",
        "latency",
        "ci",
        "baseline",
        "tune",
    } <= shown


def test_the_python_of_the_readme_runs_on_logits_of_ten_classes() -> None:
    import torch

    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert blocks
    names = {
        "teacher_logits": 5 * torch.randn(8, 10),
        "student_logits": torch.randn(8, 10, requires_grad=True),
        "labels": torch.arange(8),
    }
    for block in blocks:
        exec(block, names)
    assert names["tau"].shape == (8,)
    assert names["loss"].isfinite()


SHORTER = {
    "edgekd run recipes/quickstart.toml --set 'distill.method=\"entropy\"'": ("--set", "distill.epochs=1"),
    "edgekd run recipes/quickstart.toml --set quantize.qat=true": (
        *("--set", "distill.epochs=1", "--set", "quantize.qat_epochs=1", "--set", "data.train_samples=500"),
        *("--set", 'quantize.variants=["int8-u8s8"]'),
    ),
    "edgekd study recipes/study-quick.toml": (
        *("--methods", "ce,kd,cist", "--candidates", "2", "--seeds", "2"),
        *("--set", "distill.epochs=1", "--set", "data.train_samples=500"),
    ),
}
"""Commands on the recipes that ship, and what is added to them here to end in seconds."""

LESS = {
    "edgekd run recipe.toml": ("--set", "distill.epochs=4", "--set", "quantize.time_budget=20.0"),
    "edgekd fit-student": ("--max-trials", "2"),
    "edgekd quantize": ("--time-budget", "10"),
    "--isa avx2": ("--isa-samples", "10"),
    "edgekd tune": ("--max-seconds", "5"),
}
"""Parts of the other commands, and what is added to those here: the same stages, less of each."""


@pytest.mark.slow
@pytest.mark.parametrize("line", SHORTER)
def test_every_command_on_a_recipe_that_ships_runs(line: str, tmp_path: Path) -> None:
    assert line in commands()
    arguments = [
        sys.executable,
        "-m",
        "edgekd.cli",
        *shlex.split(line)[1:],
        *SHORTER[line],
        "--out",
        str(tmp_path / "run"),
    ]
    environment = os.environ | {"EDGEKD_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        arguments, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode in VERDICTS, f"{line}\n{done.stderr[-2000:]}"


@pytest.mark.slow
def test_every_edgekd_command_of_the_readme_runs(tmp_path: Path) -> None:
    write_pictures(tmp_path / "path" / "to" / "images")
    for line in commands():
        if line in SHORTER:
            continue
        if "model.onnx" in line and not (tmp_path / "model.onnx").exists():
            shutil.copy(tmp_path / "runs" / "mine" / "model.onnx", tmp_path)
            shutil.copy(tmp_path / "model.onnx", tmp_path / "base.onnx")
            write_npz(tmp_path / "path" / "to" / "images", tmp_path / "data.npz")
        less = [word for part, words in LESS.items() if part in line for word in words]
        arguments = [sys.executable, "-m", "edgekd.cli", *shlex.split(line)[1:], *less]
        done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode in VERDICTS, f"{line}\n{done.stderr[-2000:]}"
    assert (tmp_path / "runs" / "mine" / "report.html").exists()


def write_pictures(folder: Path) -> None:
    """Three classes of 16x16 colour pictures, a bright band at one of three heights, 100 each."""
    generator = np.random.default_rng(0)
    for label, name in enumerate(("top", "middle", "bottom")):
        (folder / name).mkdir(parents=True)
        for index in range(100):
            picture = generator.integers(0, 120, (16, 16, 3), dtype=np.uint8)
            picture[5 * label : 5 * label + 5] += 100
            Image.fromarray(picture).save(folder / name / f"{index}.png")


def write_npz(folder: Path, path: Path) -> None:
    """The same pictures as arrays in the exported network's own layout."""
    files = sorted(folder.glob("*/*.png"))
    names = sorted({file.parent.name for file in files})
    images = np.stack([np.asarray(Image.open(file)) for file in files])
    np.savez(path, x=images, y=np.array([names.index(file.parent.name) for file in files]))
