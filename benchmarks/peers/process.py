"""Runs a command to its end: seconds, CPU seconds and peak memory of it and of all that it starts."""

import os
import resource
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

EVERY_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """code: of its exit, None where it was ended at the limit. peak_bytes: the largest sum of the resident sizes.

    The sum counts pages that processes share once for each; sizes are looked at twenty times a second.
    """

    code: int | None
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    output: str


def run(command: Sequence[str], *, folder: Path, log: Path, limit_seconds: float) -> Ran:
    """Run `command` in `folder`; its output goes to `log`, its last lines into the answer."""
    before, started, peak = _cpu_seconds(), time.monotonic(), 0
    with log.open("wb") as file:
        child = subprocess.Popen(
            command, cwd=folder, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
        )
        try:
            while child.poll() is None and time.monotonic() - started < limit_seconds:
                peak = max(peak, resident_bytes(child.pid))
                time.sleep(EVERY_SECONDS)
            late = child.poll() is None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)  # and what it started and left behind
            child.wait()
    return Ran(
        code=None if late else child.returncode,
        seconds=time.monotonic() - started,
        cpu_seconds=_cpu_seconds() - before,
        peak_bytes=peak,
        output=log.read_text(encoding="utf-8", errors="replace"),
    )


def resident_bytes(pid: int) -> int:
    """The resident sizes of a process and its descendants, added up; 0 once it is gone."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        top = psutil.Process(pid)
        for process in (top, *top.children(recursive=True)):
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                total += process.memory_info().rss
    return total


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
