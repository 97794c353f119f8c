"""`edgekd init --teacher FILE` writes a recipe that names the teacher, and that a person can finish."""

import subprocess
import sys
from pathlib import Path

import pytest

from edgekd.recipe import load

from .nets import write_onnx


def init(data: Path, teacher: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgekd.cli.app", "init", str(data), "--teacher", str(teacher), "--out", str(out)]
    program = "import sys; from edgekd.cli.app import main; sys.argv[0] = 'edgekd'; sys.exit(main())"
    return subprocess.run([sys.executable, "-c", program, *command[3:]], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("name", "kind"), [("t.onnx", "onnx"), ("t.npy", "scores")])
def test_the_recipe_names_the_teacher_by_its_kind(name: str, kind: str, npz_file: Path, tmp_path: Path) -> None:
    teacher = write_onnx(tmp_path / name)
    done = init(npz_file, teacher, tmp_path / "r.toml")
    assert done.returncode == 0, done.stderr
    recipe = load(tmp_path / "r.toml")
    assert recipe.teacher is not None and recipe.teacher.kind == kind and recipe.teacher.path == str(teacher)
    assert recipe.distill.method == "cist" and recipe.teacher.fixed == (kind == "scores")


def test_a_file_that_is_no_teacher_is_refused(npz_file: Path, tmp_path: Path) -> None:
    done = init(npz_file, tmp_path / "t.pkl", tmp_path / "r.toml")
    assert done.returncode == 2 and "is no teacher's file; expected a file that ends in .onnx" in done.stderr.replace(
        "\n", " "
    )
