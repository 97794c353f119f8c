"""Two processes that time at once are told of each other; nothing that lies in the way does harm."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgekd.alone import alone, lock_path

HOLD = "from edgekd.alone import alone\nwith alone() as told:\n    print(told, flush=True)\n    input()\n"

pytestmark = pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="this OS has no such files")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of temporary files of one's own, for this process and its children."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


@contextmanager
def another() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process that is timing, and what it was told."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
        process.kill()


def test_one_alone_is_told_nothing_and_leaves_a_file_for_its_user_alone(folder: Path) -> None:
    with alone() as told:
        assert told is None
        assert lock_path().parent == folder and lock_path().read_text() == f"{os.getpid()}\n"
    assert lock_path().stat().st_mode & 0o777 == 0o600


def test_the_second_process_is_told_of_the_first_by_its_number(folder: Path) -> None:
    with another() as (process, told):
        assert told == "None"
        with alone() as mine:
            assert mine == f"another edgekd is timing on this machine (pid {process.pid}); they disturb one another"


def test_when_the_first_was_killed_nobody_is_warned_of(folder: Path) -> None:
    with another() as (process, _):
        process.kill()
        process.wait()
        with alone() as told:
            assert told is None


def test_when_the_first_is_done_the_next_is_alone(folder: Path) -> None:
    for _ in range(2):
        with alone() as told:
            assert told is None
    with another() as (_, told_there):
        assert told_there == "None"


def test_a_process_is_not_warned_of_itself(folder: Path) -> None:
    with alone(), alone() as told:
        assert told is None


def test_the_lock_is_freed_when_the_body_fails(folder: Path) -> None:
    with pytest.raises(KeyError), alone():
        raise KeyError
    with another() as (_, told):
        assert told == "None"


def test_a_link_is_not_followed(folder: Path) -> None:
    (folder / "victim").write_text("precious")
    lock_path().symlink_to(folder / "victim")
    with alone() as told:
        assert told is None
    assert (folder / "victim").read_text() == "precious"


def test_a_second_name_of_another_file_is_not_written_to(folder: Path) -> None:
    (folder / "victim").write_text("precious")
    os.link(folder / "victim", lock_path())
    with alone() as told:
        assert told is None
    assert (folder / "victim").read_text() == "precious"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_left_alone(make: object, folder: Path) -> None:
    assert callable(make)
    make(lock_path())
    with alone() as told:
        assert told is None


def test_a_folder_that_is_not_there_is_no_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "gone"))
    with alone() as told:
        assert told is None


def test_rubbish_in_the_file_is_not_repeated(folder: Path) -> None:
    with another() as (process, _):
        lock_path().write_text("\x1b[31m; rm -rf")
        with alone() as told:
            assert told == "another edgekd is timing on this machine; they disturb one another"
        assert process.poll() is None
