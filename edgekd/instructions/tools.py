"""What counts the instructions of a process: valgrind's callgrind, or `perf stat` where it counts real ones.

Callgrind (https://valgrind.org/docs/manual/cl-manual.html) translates the program for a CPU with AVX2 and counts what
it runs, whatever else the machine does. perf (https://man7.org/linux/man-pages/man1/perf-stat.1.html) reads the CPU's
own counter, which most virtual machines do not have.
"""

import platform
import re
import shutil
import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from edgekd.errors import EnvironmentFault
from edgekd.machine import X86_MACHINES

Method = Literal["callgrind", "perf"]

EVENT = "instructions:u"

PROBE_SECONDS = 20.0

INSTALL = "apt-get install valgrind on x86-64, or use a machine where `perf stat -e instructions:u` counts"


def choose(wanted: Method | None) -> Method:
    """The method asked for if this machine has it; without a wish perf where it counts, else callgrind.

    Raises:
        EnvironmentFault: the machine does not have it, or neither.
    """
    if wanted != "callgrind" and perf_counts():
        return "perf"
    if wanted == "perf":
        raise EnvironmentFault(
            "`perf stat -e instructions:u` does not count here (no perf, no counter in this virtual machine, or "
            "/proc/sys/kernel/perf_event_paranoid forbids it); use callgrind, or a machine that has the counter"
        )
    if platform.machine().lower() not in X86_MACHINES:
        raise EnvironmentFault(
            f"this machine is {platform.machine()}, without a counter for perf; callgrind is used on x86-64. {INSTALL}"
        )
    if shutil.which("valgrind") is None:
        raise EnvironmentFault(f"nothing counts instructions here: no valgrind, and perf does not count; {INSTALL}")
    return "callgrind"


def perf_counts() -> bool:
    """Whether perf is there and counts: in a virtual machine it runs and says "<not supported>"."""
    perf, program = shutil.which("perf"), shutil.which("true")
    if perf is None or program is None:
        return False
    command = [perf, "stat", "-x", ",", "-e", EVENT, "--", program]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and perf_total(done.stderr) is not None


def prefix(method: Method, folder: Path) -> list[str]:
    """The command that the counted one is appended to; what it finds it writes into `folder`."""
    if method == "perf":
        # --no-inherit: the first thread alone, see below.
        return ["perf", "stat", "--no-inherit", "-x", ",", "-e", EVENT, "-o", str(folder / "perf"), "--"]
    return [
        "valgrind",
        "--command-line-only=yes",  # no ~/.valgrindrc, no VALGRIND_OPTS
        "--tool=callgrind",
        "--instr-atstart=no",  # the child switches it on for the inferences: a start-up is 600 million instructions
        # ONNX Runtime has threads of its own beside the one that infers; measured, they add up to 16 % to a small net,
        # in one run and not in the next. The first thread alone is equal from run to run.
        "--separate-threads=yes",
        f"--callgrind-out-file={folder / 'out'}",
        f"--log-file={folder / 'log'}",
        "--vgdb=no",  # its pipes stay in /tmp when the process is killed
    ]


def total(method: Method, folder: Path, *, blocks: int) -> int:
    """The instructions of a run in its first thread; with callgrind the median of its blocks, times their number.

    Raises:
        EnvironmentFault: the tool wrote none.
    """
    if method == "perf":
        return _known(method, perf_total(_text(folder / "perf")), folder / "perf")
    # A dump is out.K, and out.K-01 for the first thread.
    files = [folder / f"out.{i + 1}-01" for i in range(blocks)]
    counts = [_known(method, callgrind_total(_text(file)), file) for file in files]
    return round(statistics.median(counts) * blocks)


def _known(method: Method, found: int | None, file: Path) -> int:
    if not found:
        raise EnvironmentFault(
            f"{method} counted no instructions ({file.name}: {_text(file).strip()[-300:] or 'empty'}); expected a "
            "number: try another version of it"
        )
    return found


def callgrind_total(text: str) -> int | None:
    """The number in the `totals:` line of callgrind's file, or of `summary:`; None without one.

    Format: https://valgrind.org/docs/manual/cl-format.html
    """
    for name in ("totals", "summary"):
        if match := re.search(rf"^{name}: *(\d+)", text, re.MULTILINE):
            return int(match[1])
    return None


def perf_total(text: str) -> int | None:
    """The sum of what `perf stat -x,` counted; None where it counted nothing, or only a part of the time.

    A line is value, unit, event, time, percent of the time it counted. A CPU with two kinds of cores has a line each;
    a count of less than the whole time is extrapolated, which is no count.
    """
    lines = [line.split(",") for line in text.splitlines() if "instructions" in line]
    counted = [fields for fields in lines if fields[0].isdigit() and int(fields[0]) > 0]
    if not counted or any(not _whole(fields) for fields in counted):
        return None
    return sum(int(fields[0]) for fields in counted)


def version(method: Method, folder: Path) -> str:
    """Name and version of the tool, as it says them."""
    if method == "perf":
        done = subprocess.run(["perf", "--version"], capture_output=True, text=True, check=False)
        return done.stdout.strip() or "perf"
    match = re.search(r"Using (Valgrind-\S+)", _text(folder / "log"))
    return match[1] if match else "valgrind"


def last_words(folder: Path) -> str:
    """What valgrind said of a crash, without its process number; empty where it said nothing."""
    lines: Sequence[str] = re.findall(r"^==\d+== *(.*terminating with.*|.*nrecognised instruction.*)$",
                                      _text(folder / "log"), re.MULTILINE)  # fmt: skip
    return "; ".join(lines)


def _whole(fields: Sequence[str]) -> bool:
    return len(fields) < 5 or float(fields[4] or 100) > 99.9


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
