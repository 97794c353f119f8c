"""Ctrl-C, kill -9, a full disk, a read-only folder: the good files stay, and the same command ends with the same."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import COMMAND, ENVIRONMENT, Edgekd, Finished, command
from .test_run import FILES, files

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def heeds_ctrl_c() -> Iterator[None]:
    """A job in the background ignores SIGINT, and so would its children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupted(
    *arguments: str | Path, at: str, delay: float = 0, after: Path | None = None, number: signal.Signals
) -> int:
    """The exit code of the command when it gets the signal `delay` seconds after it said a line with `at`.

    after: a file that must be there, too.
    """
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process:
        said = next((line for line in process.stderr if at in line), None)
        assert said is not None, f"it never said '{at}'"
        while after is not None and not after.exists():
            time.sleep(0.01)
        time.sleep(delay)
        process.send_signal(number)
        process.stderr.read()
    return process.returncode


def same(folder: Path, finished: Finished) -> None:
    """The run is whole, and it is the one that was never disturbed."""
    found = files(folder)
    assert found >= FILES
    assert not {name for name in found if ".tmp" in name or "edgekd-" in name}
    assert not list(folder.rglob(".building*")) and not list(folder.rglob("*.tmp"))
    # Not the variants: which of them wins, and what stays float in it, was measured again, and a busy machine differs.
    for name in ("student.safetensors", "model.onnx"):
        assert (folder / name).read_bytes() == (finished.folder / name).read_bytes(), name
    reports = [json.loads((place / "report.json").read_text()) for place in (folder, finished.folder)]
    assert reports[0]["gate"]["verdict"] == reports[1]["gate"]["verdict"]
    assert reports[0]["student"]["test_top1"] == reports[1]["student"]["test_top1"]
    assert command("verify", folder / "bundle").code == 0


def before(stage: str, finished: Finished, folder: Path) -> Path:
    """A run folder as it was when that stage began: the ones before it take the time of the test."""
    if stage in ("teacher", "distill", "export"):
        return folder
    finished.copy(folder)
    shutil.rmtree(folder / "bundle")
    for name in ("report.json", "report.md", "report.html", "junit.xml"):
        (folder / name).unlink()
    if stage != "report":
        (folder / "stages" / "validate.json").unlink()
    if stage == "quantize":
        (folder / "stages" / "quantize.json").unlink()
        shutil.rmtree(folder / "variants")
    return folder


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_in_training_ends_with_130_and_the_same_command_resumes(
    number: signal.Signals, finished: Finished, tmp_path: Path
) -> None:
    arguments = ("run", finished.recipe, "--out", tmp_path / "run")
    checkpoint = tmp_path / "run" / "checkpoints" / "last.pt"
    assert interrupted(*arguments, at="distill    50%", after=checkpoint, number=number) == 130
    assert files(tmp_path / "run") <= {".lock", "recipe.lock.toml", "stages/teacher.json", "checkpoints/last.pt"}
    answer = command(*arguments)
    assert answer.code == 0, answer.err
    assert "distill    50%  resumed after epoch 1" in answer.err
    assert "distill     0%" not in answer.err
    same(tmp_path / "run", finished)


@pytest.mark.parametrize(
    ("at", "delay"),
    [
        ("teacher     0%", 0),
        ("distill     0%", 0.1),
        ("distill    50%", 0),
        ("distill   100%", 0),
        ("export      0%", 0),
        ("export      0%", 1.0),
        ("export    100%", 0),
        ("quantize    0%", 0),
        ("quantize    0%", 0.15),
        ("quantize  100%", 0),
        ("latency     0%", 0.3),
        ("latency    50%", 0.3),
        ("accuracy    0%", 0),
        ("accuracy  100%", 0),
        ("report      0%", 0),
        ("report      0%", 0.3),
        ("report    100%", 0),
    ],
)
def test_a_run_that_was_killed_ends_the_same_when_started_again(
    at: str, delay: float, finished: Finished, tmp_path: Path
) -> None:
    folder = before(at.split(maxsplit=1)[0], finished, tmp_path / "run")
    arguments = ("run", finished.recipe, "--out", folder)
    assert interrupted(*arguments, at=at, delay=delay, number=signal.SIGKILL) in (-signal.SIGKILL, 0)
    answer = command(*arguments)
    assert answer.code == 0, answer.err
    same(folder, finished)


def test_ctrl_c_in_the_search_for_variants_keeps_the_best_so_far(finished: Finished, tmp_path: Path) -> None:
    model, data = finished.folder / "model.onnx", finished.recipe.parent / "test.npz"
    arguments = ("quantize", model, "--data", data, "--out", tmp_path / "out", "--time-budget", "120")
    first = tmp_path / "out" / "fp32.onnx"
    assert interrupted(*arguments, at="calibrate", delay=2.0, after=first, number=signal.SIGINT) == 130
    found = files(tmp_path / "out") - {".lock"}
    assert {"fp32.onnx", "int8-u8s8.onnx"} <= found
    assert all(name.endswith(".onnx") for name in found)


def test_a_second_process_in_the_same_folder_is_refused_and_disturbs_nothing(
    finished: Finished, tmp_path: Path
) -> None:
    arguments = [*map(str, (*COMMAND, "run", finished.recipe, "--out", tmp_path / "run"))]
    first = subprocess.Popen(arguments, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert first.stderr is not None
    with first:
        assert any("distill" in line for line in first.stderr)
        second = command("run", finished.recipe, "--out", tmp_path / "run")
        first.stderr.read()
    assert second.code == 2
    assert f"{tmp_path / 'run'} is in use by another edgekd process; wait for it or choose --out" in second.err
    assert first.returncode == 0
    same(tmp_path / "run", finished)


def mount(place: Path, options: str) -> None:
    """A small file system at `place`, or a skip where that is not permitted."""
    place.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "none", str(place)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"may not mount a tmpfs here: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Where a test may mount a small file system; it is unmounted at the end."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root may mount a tmpfs")
    place = tmp_path / "disk"
    yield place
    subprocess.run(["umount", str(place)], capture_output=True, check=False)


@pytest.mark.parametrize("room", [0, 60, 330, 700, 1020, 1500])
def test_a_full_disk_is_the_machine_s_fault_and_nothing_half_written_stays(
    room: int, finished: Finished, disk: Path
) -> None:
    mount(disk, f"size={room + 4 if room else 4}k")
    answer = command("run", finished.recipe, "--out", disk / "run")
    assert answer.code == 4, (answer.code, answer.err[-2000:])
    assert "Traceback" not in answer.err
    assert "the disk is full" in answer.err.splitlines()[-1] or "is the disk full?" in answer.err.splitlines()[-1]
    assert not {name for name in files(disk) if "tmp" in name or "edgekd-" in name or "building" in name}
    for name in files(disk / "run") & {"student.safetensors", "model.onnx"}:
        assert (disk / "run" / name).read_bytes() == (finished.folder / name).read_bytes()


def test_a_full_disk_leaves_the_files_of_the_run_before_intact(finished: Finished, disk: Path) -> None:
    mount(disk, "size=8m")
    folder = finished.copy(disk / "run")
    before = {name: (folder / name).read_bytes() for name in FILES - {"recipe.lock.toml"}}
    room = shutil.disk_usage(disk).free
    (disk / "filler").write_bytes(bytes(room - 48 * 1024))
    arguments = ("run", finished.recipe, "--out", folder, "--set", "distill.epochs=1")
    answer = command(*arguments)
    assert answer.code == 4 and "disk" in answer.err, answer.err
    assert before == {name: (folder / name).read_bytes() for name in before}
    (disk / "filler").unlink()
    again = command(*arguments)
    assert again.code in (0, 1, 3), again.err
    assert (folder / "student.safetensors").read_bytes() != before["student.safetensors"]


def test_a_read_only_folder_is_the_machine_s_fault(finished: Finished, disk: Path, edgekd: Edgekd) -> None:
    mount(disk, "size=8m")
    folder = finished.copy(disk / "run")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    before = files(disk)
    model, data = finished.folder / "model.onnx", finished.recipe.parent / "test.npz"
    for arguments in (
        ("run", finished.recipe, "--out", folder),
        ("run", finished.recipe, "--out", disk / "new"),
        ("quantize", model, "--data", data, "--out", disk / "new"),
        ("bundle", finished.folder, "--out", disk / "new"),
        ("export", finished.folder / "student.safetensors", "--data", data, "--out", disk / "new" / "model.onnx"),
        ("init", data, "--out", disk / "recipe.toml"),
    ):
        answer = edgekd(*arguments)
        assert answer.code == 4, answer.err
        last = answer.err.splitlines()[-1]
        assert last.startswith("error: ") and "ead-only" in last and str(disk) in last, last
    assert files(disk) == before
    assert edgekd("verify", folder / "bundle").code == 0
    assert edgekd("gate", folder / "report.json").code == 0
    assert edgekd("run", finished.recipe, "--out", folder, "--dry-run").code == 0
