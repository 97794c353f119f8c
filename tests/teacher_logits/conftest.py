"""A full cache, and processes that fill one."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from .kept import FILLER, TRUTH, Start, refill


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """The folder of a full cache's one entry."""
    refill(tmp_path)
    return tmp_path / "key"


@pytest.fixture(scope="module")
def truth_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("truth") / "truth.npy"
    np.save(path, TRUTH)
    return path


@pytest.fixture
def start(tmp_path: Path, truth_file: Path) -> Iterator[Start]:
    """A function that starts a process which fills the cache, reads, and stays until its input is closed."""
    running: list[subprocess.Popen[str]] = []

    def start(*, pause: float = 0.0, worker: bool = False, wait: bool = False) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", FILLER, str(tmp_path), str(pause), *(["worker"] if worker else ["-"])]
        command += ["wait" if wait else "-", str(truth_file)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()
