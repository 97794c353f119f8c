"""A small cache of the teacher's logits, in this process and in others."""

import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd import teacher_logits
from edgekd.teacher_logits import TeacherLogits

Floats = npt.NDArray[np.float32]

VIEWS, SAMPLES, CLASSES, BATCH = 2, 5_000, 10, 100
"""Chunks of 2,000 rows: three a view, the last one shorter."""
DATA, DIGESTS, ABOUT = "teacher-logits.bin", "teacher-logits.digests", "teacher-logits.json"


def logits(view: int, start: int, stop: int, *, classes: int = CLASSES, seed: int = 0) -> Floats:
    """What this test's teacher says: for each sample its own numbers."""
    rows = [np.random.default_rng([seed, view, n]).normal(0, 4, classes) for n in range(start, stop)]
    return np.asarray(rows, dtype=np.float32)


TRUTH = np.stack([logits(view, 0, SAMPLES) for view in range(VIEWS)])


class Teacher:
    """Counts what it is asked."""

    def __init__(self, truth: Floats = TRUTH) -> None:
        self.truth, self.asked = truth, list[tuple[int, int, int]]()

    def __call__(self, view: int, start: int, stop: int) -> Floats:
        self.asked.append((view, start, stop))
        return self.truth[view, start:stop]


def cache(folder: Path, **changes: Any) -> AbstractContextManager[TeacherLogits]:
    """The cache of the tests' shape."""
    shape = {"views": VIEWS, "samples": SAMPLES, "classes": CLASSES, "batch_size": BATCH}
    return teacher_logits.opened(folder, **({"key": "key", "limit_bytes": 10**7} | shape | changes))


def refill(folder: Path, **changes: Any) -> list[tuple[int, int, int]]:
    """Fill; check that all is right afterwards; say what the teacher was asked."""
    teacher = Teacher()
    with cache(folder, **changes) as kept:
        kept.fill(teacher)
        check(kept)
    return teacher.asked


def check(kept: TeacherLogits, truth: Floats = TRUTH) -> None:
    index = np.random.default_rng(0).permutation(truth.shape[1])
    for view in range(len(truth)):
        np.testing.assert_array_equal(kept.read(view, index), truth[view, index].astype(np.float16).astype(np.float32))


FILLER = """
import os, sys, time
from pathlib import Path
import numpy as np
from edgekd import teacher_logits
from edgekd.errors import EdgekdError
folder, pause, worker, wait = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3] == "worker", sys.argv[4] == "wait"
truth = np.load(sys.argv[5], mmap_mode="r")
def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # in one piece: two processes write
def compute(view, start, stop):
    if worker and (view, start) == (0, 2000) and os.fork() == 0:
        say("worker", os.getpid())
        time.sleep(60)
        os._exit(0)
    say("compute", view, start)
    time.sleep(pause)
    return truth[view, start:stop]
try:
    with teacher_logits.opened(
        folder, key="key", views=2, samples=5000, classes=10, limit_bytes=10**9, batch_size=100, wait=wait
    ) as cache:
        cache.fill(compute)
        cache.read(1, np.arange(128))
        say("full")
        sys.stdin.read()
except EdgekdError as err:
    print(err)
    sys.exit(int(err.exit_code))
"""

Start = Callable[..., "subprocess.Popen[str]"]


def heard(process: "subprocess.Popen[str]", word: str) -> list[str]:
    """The first line with this word."""
    assert process.stdout is not None
    for line in process.stdout:
        if word in line:
            return line.split()
    raise AssertionError(f"the process ended without '{word}'")


def flip(path: Path, place: int, bit: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1 << bit
    path.write_bytes(raw)
