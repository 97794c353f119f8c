"""A teacher-logit cache on a real full disk, and where no file may be written."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgekd.errors import EnvironmentFault

from .kept import TRUTH, Floats, Teacher, cache, check, refill

MOUNTS = sys.platform == "linux" and os.geteuid() == 0


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    """A file system of this size, mounted while inside."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("this machine mounts nothing")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.skipif(not MOUNTS, reason="only root mounts a small disk")
def test_a_full_disk_is_told_with_the_size_needed_before_the_teacher_is_asked(tmp_path: Path) -> None:
    teacher = Teacher()
    with small_disk(tmp_path / "disk", 100_000) as disk:
        with (
            cache(disk) as kept,
            pytest.raises(EnvironmentFault, match=r"need 200\.0 kB of disk .* is free there; free"),
        ):
            kept.fill(teacher)
        assert teacher.asked == []
        assert sum(path.stat().st_blocks for path in disk.rglob("*") if path.is_file()) == 0
        (disk / "still-room").write_bytes(bytes(50_000))


@pytest.mark.skipif(not MOUNTS, reason="only root mounts a small disk")
def test_what_was_reserved_is_still_there_when_others_fill_the_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 400_000) as disk:

        def compute(view: int, start: int, stop: int) -> Floats:
            with (disk / "greedy").open("ab", buffering=0) as file, pytest.raises(OSError, match="No space left"):
                while True:
                    file.write(bytes(4_096))
            return TRUTH[view, start:stop]

        with cache(disk) as kept:
            kept.fill(compute)
            check(kept)


LIMITED = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from edgekd import teacher_logits
from edgekd.errors import EnvironmentFault
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
def compute(view, start, stop):
    raise SystemExit("asked")
try:
    shape = dict(views=2, samples=5000, classes=10, limit_bytes=10**9, batch_size=100)
    with teacher_logits.opened(Path(sys.argv[1]), key="key", **shape) as cache:
        cache.fill(compute)
except EnvironmentFault as err:
    print(err)
    sys.exit(int(err.exit_code))
"""


def test_a_file_that_may_not_be_so_large_is_told_before_the_teacher_is_asked(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)], check=False, capture_output=True, text=True
    )
    assert process.returncode == 4, process.stderr
    assert "need 200.0 kB of disk" in process.stdout and "File too large" in process.stdout
    assert len(refill(tmp_path)) == 6


def test_a_folder_below_a_file_is_the_environment_s_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFault, match=r"choose another distill\.cache_folder"), cache(tmp_path / "file"):
        pass
