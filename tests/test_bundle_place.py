"""A bundle takes the place of the old one whole, or not at all."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd import bundle
from edgekd.errors import BadInputError

from .bundles import (
    Write,
    pictures,
    writer,
)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    return writer(tmp_path)


@pytest.fixture
def folder(tmp_path: Path, write: Write) -> Path:
    """A bundle of the fp32 classifier."""
    write()
    return tmp_path / "bundle"


def test_a_new_bundle_takes_the_place_of_the_old_one(write: Write, folder: Path) -> None:
    before = json.loads((folder / "manifest.json").read_text())
    write(inputs=pictures(3))
    after = json.loads((folder / "manifest.json").read_text())
    assert (before["samples"], after["samples"]) == (16, 3)
    assert bundle.verify(folder).passed is True
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    "more",
    [
        {"reports": [Path("/nowhere/report.json")]},
        {"model": Path("/nowhere/model.onnx")},
        {"inputs": pictures()[:0]},
        {"inputs": pictures().astype(np.float32)},
        {"inputs": pictures()[:, :4]},
        {"classes": ("one", "two")},
    ],
)
def test_a_write_that_fails_leaves_the_old_bundle_and_nothing_else(
    write: Write, folder: Path, more: dict[str, Any]
) -> None:
    with pytest.raises((BadInputError, OSError)):
        write(**more)
    assert bundle.verify(folder).passed is True
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []


def test_a_place_that_cannot_be_written_is_an_os_error(write: Write, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        write(tmp_path / "file" / "bundle")


@pytest.mark.parametrize("name", ["thesis.txt", "model.onnx"])
def test_a_folder_that_is_no_bundle_is_never_replaced(write: Write, tmp_path: Path, name: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text("years of work")
    with pytest.raises(BadInputError, match=name):
        write(tmp_path / "mine")
    assert (tmp_path / "mine" / name).read_text() == "years of work"


def test_a_bundle_with_a_file_of_the_users_is_not_replaced(write: Write, folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(BadInputError, match=r"notes\.txt"):
        write()
    assert (folder / "notes.txt").exists()


def test_a_file_or_an_empty_folder_in_its_place(write: Write, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty")
    assert bundle.verify(tmp_path / "empty").passed is True
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BadInputError, match="a file"):
        write(tmp_path / "file")


def test_a_kill_between_the_two_renames_is_put_right_by_the_next_call(write: Write, folder: Path) -> None:
    folder.rename(folder.with_name(".bundle.edgekd-old"))
    with pytest.raises(OSError):
        write(reports=[Path("/nowhere/report.json")])
    assert bundle.verify(folder).passed is True
    folder.rename(folder.with_name(".bundle.edgekd-old"))
    write(inputs=pictures(3))
    assert json.loads((folder / "manifest.json").read_text())["samples"] == 3
    assert not folder.with_name(".bundle.edgekd-old").exists()


def test_recover_puts_back_the_old_bundle_and_never_replaces_one(write: Write, folder: Path) -> None:
    old = folder.with_name(".bundle.edgekd-old")
    folder.rename(old)
    bundle.recover(folder)
    assert bundle.verify(folder).passed is True and not old.exists()
    bundle.recover(folder)
    shutil.copytree(folder, old)
    write(folder.with_name("other"), inputs=pictures(3))
    shutil.rmtree(folder)
    folder.with_name("other").rename(folder)
    bundle.recover(folder)
    assert json.loads((folder / "manifest.json").read_text())["samples"] == 3


def test_a_killed_writer_leaves_no_half_bundle(write: Write, folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np; from pathlib import Path; from edgekd import bundle, session\n"
        "tmp = Path(sys.argv[1])\n"
        "while True:\n"
        "    bundle.write(tmp / 'bundle', model=tmp / 'made.onnx', variant='fp32', classes=(), target_toml='',\n"
        "        options=session.SessionOptions(), reports=[], inputs=np.zeros((1, 8, 8, 1), np.uint8), isa='avx2')\n"
        "    print('written', flush=True)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    for delay in (0.003, 0.011, 0.026):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None and child.stdout.readline() == b"written\n"
            time.sleep(delay)
            os.kill(child.pid, signal.SIGKILL)
        old = folder.with_name(".bundle.edgekd-old")
        assert bundle.verify(folder if folder.exists() else old).passed is True
    write()
    assert bundle.verify(folder).passed is True
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
