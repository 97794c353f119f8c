"""A worker that fails, dies, or is left alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgekd.errors import ExitCode
from edgekd.study.process import Failed, Worker

from .conftest import Place

pytestmark = pytest.mark.slow
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
ENDS = """
name = "ends"
[data]
source = "fashion-mnist"
train_samples = 100
[student]
model = "net.py:net"
[distill]
method = "ce"
epochs = 2
"""


def test_a_cell_that_diverges_and_a_process_that_is_killed_lose_no_other_cell(place: Place, tmp_path: Path) -> None:
    ill, folder = tmp_path / "ill", tmp_path / "out"
    ill.touch()
    outcome = place.study(folder, seeds=4, candidates=1, jobs=1)
    assert outcome.exit_code == ExitCode.ENVIRONMENT
    for arm in outcome.study["arms"]:
        assert [seed["seed"] for seed in arm["seeds"]] == [0, 3]
        diverged, killed = arm["failures"]
        assert diverged["exit_code"] == ExitCode.BAD_INPUT
        assert killed["exit_code"] == ExitCode.ENVIRONMENT
        assert killed["message"].startswith("its process was killed by SIGKILL; if memory ran out")
        assert "about to be killed" in killed["message"]
    whole = {path: path.stat().st_mtime_ns for path in folder.glob("cells/*/stages/distill.json")}
    assert len(whole) == 4
    ill.unlink()
    again = place.study(folder, seeds=4, candidates=1, jobs=1)
    assert again.exit_code == ExitCode.PASS
    assert all(len(arm["seeds"]) == 4 and not arm["failures"] for arm in again.study["arms"])
    assert whole == {path: path.stat().st_mtime_ns for path in whole}


def test_a_process_that_ends_by_itself_is_told_with_its_last_words_and_replaced(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("def net(num_classes, in_channels):\n    raise SystemExit('so long')\n")
    (tmp_path / "ends.toml").write_text(ENDS)
    worker = Worker(ENVIRONMENT)
    try:
        missing = worker.train(tmp_path / "no.toml", tmp_path / "cell")
        assert isinstance(missing, Failed) and missing.exit_code == ExitCode.BAD_INPUT
        ended = worker.train(tmp_path / "ends.toml", tmp_path / "cell")
        assert isinstance(ended, Failed) and ended.exit_code == ExitCode.INTERNAL
        assert ended.message.splitlines()[0] == "its process ended with code 1; so long"
        assert worker.train(tmp_path / "no.toml", tmp_path / "cell") == missing
    finally:
        worker.close()


def test_a_worker_ends_when_whoever_asks_is_gone() -> None:
    line = [sys.executable, "-P", "-m", "edgekd.study.worker"]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT) as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=60) == 0


def test_a_study_that_was_killed_goes_on_where_it_was(place: Place, tmp_path: Path) -> None:
    undisturbed = place.study(tmp_path / "whole", "distill.epochs=20")
    folder = tmp_path / "out"
    code = (
        "import sys; from pathlib import Path; from edgekd import recipe, study;"
        "r = recipe.load(Path(sys.argv[1]), overrides=('distill.epochs=20',));"
        "study.run(r, folder=Path(sys.argv[2]), methods=('ce', 'kd'), seeds=2, candidates=2, jobs=2)"
    )
    line = [sys.executable, "-P", "-c", code, str(place.recipe), str(folder)]
    with subprocess.Popen(line) as process:
        while not list(folder.glob("cells/*/stages/distill.json")):
            assert process.poll() is None
        process.kill()
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("cells/*/stages/distill.json")}
    assert not (folder / "study.json").exists()
    resumed = place.study(folder, "distill.epochs=20")
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    assert [arm["test_top1"] for arm in resumed.study["arms"]] == [
        arm["test_top1"] for arm in undisturbed.study["arms"]
    ]
    for student in (tmp_path / "whole").glob("cells/*/student.safetensors"):
        assert (folder / "cells" / student.parent.name / student.name).read_bytes() == student.read_bytes()
    assert json.loads((folder / "study.json").read_text())["schema_version"] == 1
