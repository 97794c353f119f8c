"""`torchrun … -m edgekd.cli run`: several processes train one student; rank 0 writes, judges and speaks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Answer, Finished


def together(*arguments: str | Path, processes: int = 2) -> Answer:
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}")
    done = subprocess.run(
        [*launcher, "-m", "edgekd.cli", *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return Answer(code=done.returncode, out=done.stdout, err=done.stderr)


@pytest.mark.slow
def test_two_processes_run_a_recipe_to_its_verdict_and_say_everything_once(finished: Finished, tmp_path: Path) -> None:
    answer = together("run", finished.recipe, "--out", tmp_path / "run", "--json")
    assert answer.code == 0, answer.err
    report = json.loads(answer.out)  # one report, not two
    assert report["student"]["processes"] == 2
    assert report["gate"]["verdict"] == "pass"
    again = together("run", finished.recipe, "--out", tmp_path / "run", "--json")
    assert again.code == 0, again.err
    assert json.loads(again.out)["student"] == report["student"]
    alone = json.loads((finished.folder / "report.json").read_text())["student"]
    assert alone["sha256"] != report["student"]["sha256"]  # batch norm sees half of each batch


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_ends_all_processes_with_the_reason(finished: Finished, tmp_path: Path) -> None:
    answer = together("distill", finished.recipe, "--out", tmp_path / "run", "--set", "distill.batch_size=15")
    assert answer.code == 1  # torchrun's own, whatever the process answered
    assert "a batch of 15 samples cannot be split evenly over 2 processes" in answer.err
