"""What installs: every file of the four source folders, all of it inside edgekd, and nothing else."""

import fnmatch
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"edgekd": "edgekd", "cli": "edgekd/cli", "models": "edgekd/models", "targets": "edgekd/targets"}
"""Source folder -> where it lies in the wheel."""

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def source_files() -> set[str]:
    """Every file of the source folders, by its path in the wheel."""
    return {
        f"{inside}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, inside in FOLDERS.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def run(*command: str, cwd: Path) -> None:
    done = subprocess.run([sys.executable, *command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of this checkout, built through its source distribution."""
    folder = tmp_path_factory.mktemp("build")
    copy = folder / "checkout"
    unwanted = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "runs", "tests")
    shutil.copytree(ROOT, copy, ignore=unwanted, symlinks=True)
    run("-c", "from setuptools import build_meta; build_meta.build_sdist('dist')", cwd=copy)
    (sdist,) = (copy / "dist").glob("*.tar.gz")
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    run("-m", "pip", "wheel", *offline, "--wheel-dir", str(folder), str(sdist), cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_every_package_is_named_because_setuptools_drops_a_forgotten_one_silently() -> None:
    packages = {Path(file).parent.as_posix().replace("/", ".") for file in source_files() if file.endswith(".py")}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == packages


def test_every_data_file_is_named_too() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]
    left_out = [
        file
        for file in source_files()
        if not file.endswith(".py")
        and not any(
            fnmatch.fnmatch(Path(file).name, pattern)
            for pattern in patterns.get(Path(file).parent.as_posix().replace("/", "."), ())
        )
    ]
    assert left_out == [], "name them in [tool.setuptools.package-data]"


def test_every_dependency_is_pinned_once() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pins = [line.partition("==")[0] for line in lines]
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = PROJECT["project"]["dependencies"] + extras["cpu"] + extras["train"] + extras["dev"]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9.]*", line) for line in lines), "exact pins alone"
    assert len(pins) == len(set(pins))
    assert {re.split("[<>=]", requirement)[0] for requirement in wanted} <= set(pins)


@pytest.mark.slow
def test_the_wheel_holds_every_source_file(wheel: Path) -> None:
    assert source_files() - names(wheel) == set()


@pytest.mark.slow
def test_the_wheel_puts_nothing_but_edgekd_into_site_packages(wheel: Path) -> None:
    version = PROJECT["project"]["version"]
    assert {name.split("/")[0] for name in names(wheel)} == {"edgekd", f"edgekd-{version}.dist-info"}


@pytest.mark.slow
def test_the_wheel_holds_both_licences(wheel: Path) -> None:
    licences = {name.partition("/licenses/")[2] for name in names(wheel) if "/licenses/" in name}
    assert licences == {"LICENSE", "edgekd/data/FASHION_MNIST_LICENSE"}


@pytest.mark.slow
def test_the_wheel_runs_from_any_folder_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    show = "import edgekd.cli, edgekd.models, edgekd.targets as t; print(edgekd.cli.__file__, *t.names())"
    done = subprocess.run(
        [sys.executable, "-c", show],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path)) and "x86-1t" in done.stdout
