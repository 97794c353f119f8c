"""The command in this process or in its own, and one finished run that every test here only reads or copies."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edgekd import pipeline
from edgekd import recipe as recipes
from edgekd.cli.app import main

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
COMMAND = (sys.executable, "-P", "-m", "edgekd.cli")
WITHOUT_TORCH = """
import sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
sys.meta_path.insert(0, NoTorch())
from edgekd.cli.app import main
main()
"""

STUDENT = """
[data]
source = "bars.npz"
calibration_samples = 24
augment = "none"
[student]
model = "resnet8"
[distill]
batch_size = 16
learning_rate = 0.05
epochs = 2
"""
TEACHER_RECIPE = f'name = "teacher"\n{STUDENT}method = "ce"\n'
RECIPE = f"""# A recipe that runs in seconds.
name = "tiny"
{STUDENT}
[teacher]
model = "resnet8"
weights = "teacher/student.safetensors"
[quantize]
variants = ["int8-u8s8"]
time_budget = 1.0
[validate]
rounds = 1
seconds = 0.01
min_samples = 20
[gate]
min_top1 = 0.2
max_p50_ms = 1000.0
max_p90_ms = 1000.0
max_load_ms = 100000.0
max_peak_rss_bytes = 10_000_000_000
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a command said, and the code it ended with."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A run that passed. recipe, folder: to read or to copy, never to change."""

    recipe: Path
    folder: Path
    answer: Answer

    def copy(self, to: Path) -> Path:
        """A run folder of one's own."""
        return Path(shutil.copytree(self.folder, to))


Edgekd = Callable[..., Answer]


def command(*arguments: str | Path) -> Answer:
    """The command in a process of its own."""
    return _process(*COMMAND, *map(str, arguments))


def without_torch(*arguments: str | Path) -> Answer:
    """The command in a process of its own that has no torch."""
    return _process(sys.executable, "-P", "-c", WITHOUT_TORCH, *map(str, arguments))


def _process(*line: str) -> Answer:
    done = subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    return Answer(code=done.returncode, out=done.stdout, err=done.stderr)


@pytest.fixture
def edgekd(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, one_thread: None) -> Edgekd:
    """A function that runs the command in this process, where torch is imported already."""

    def run(*arguments: str | Path) -> Answer:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["edgekd", *map(str, arguments)])
        before = signal.getsignal(signal.SIGTERM)
        try:
            with pytest.raises(SystemExit) as stop:
                main()
        finally:
            signal.signal(signal.SIGTERM, before)
        assert isinstance(stop.value.code, int)
        said = capsys.readouterr()
        return Answer(code=stop.value.code, out=said.out, err=said.err)

    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, draw: Callable[..., object]) -> Finished:
    """One run of the real command, from its own teacher to its bundle; made once, also for several test workers."""
    base = tmp_path_factory.getbasetemp()
    place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "finished"
    place.mkdir(exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "recipe.toml").exists():
            _prepare(place, draw)
            answer = command("run", place / "recipe.toml", "--out", place / "run", "--json")
            (place / "out").write_text(answer.out)
            (place / "err").write_text(answer.err)
            (place / "code").write_text(str(answer.code))
    texts = {name: (place / name).read_text() for name in ("code", "out", "err")}
    answer = Answer(code=int(texts["code"]), out=texts["out"], err=texts["err"])
    assert answer.code == 0, answer.err
    return Finished(recipe=place / "recipe.toml", folder=place / "run", answer=answer)


def _prepare(place: Path, draw: Callable[..., object]) -> None:
    """Data, a teacher that was trained as `edgekd distill` does it, and the recipe."""
    train, test = draw(150), draw(60, seed=1)
    names = np.array(["top", "middle", "bottom"])
    arrays = {"x_train": train.inputs, "y_train": train.labels, "x_test": test.inputs, "y_test": test.labels}
    np.savez(place / "bars.npz", classes=names, **arrays)
    np.savez(place / "test.npz", x=test.inputs, y=test.labels)
    (place / "teacher.toml").write_text(TEACHER_RECIPE)
    pipeline.run(recipes.load(place / "teacher.toml"), folder=place / "teacher", until="distill")
    (place / "recipe.toml").write_text(RECIPE)
