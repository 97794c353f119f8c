"""A file's outputs on another instruction set: in a process of its own, under valgrind, which hides AVX-512.

`valgrind --tool=none` translates the program for a CPU with AVX2 and answers CPUID accordingly, so ONNX Runtime takes
the kernels of a CPU without AVX-512 and VNNI, on the machine at hand (https://valgrind.org, "none", the null tool).
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError, EnvironmentFault, ExitCode
from edgekd.machine import X86_MACHINES
from edgekd.session import SessionOptions, check_file

Isa = Literal["native", "avx2"]

TRIES = 2
"""A run under valgrind can hang; a second one hardly ever does."""

TIMEOUT_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """The first output, (n, ...) float32, and the instruction set that the process really saw. seconds: without
    start-up."""

    values: npt.NDArray[np.float32]
    isa: str
    seconds: float


def run_on(
    path: Path,
    inputs: npt.NDArray[Any],
    options: SessionOptions,
    *,
    isa: Isa,
    batch: int = 1,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> Outputs:
    """Run a file in a fresh process, `python -m edgekd.isa`, on the machine's own instruction set or under valgrind.

    inputs: (n, ...) in the network's own layout and type, given to it `batch` at a time. A process that gives no answer
    within timeout_seconds is ended and started once more.

    Raises:
        BadInputError: what the child found wrong with the file or the inputs.
        EnvironmentFault: no valgrind, no x86, no AVX2, AVX-512 seen all the same, a crash, or two time-outs.
    """
    check_file(path)
    if len(inputs) == 0:
        raise BadInputError("no inputs to compare instruction sets on; expected at least one sample")
    if options.provider != "CPUExecutionProvider":
        raise BadInputError(f"instruction sets are compared on the CPU, not by {options.provider}; choose a CPU target")
    request = {"path": str(path), "dtype": inputs.dtype.name, "shape": inputs.shape, "batch": batch, "isa": isa,
               "options": options.as_dict()}  # fmt: skip
    body = json.dumps(request).encode() + b"\n" + np.ascontiguousarray(inputs).tobytes()
    # -P: never import from the current folder, which may hold a user's own numpy.py.
    child = _answer([*_prefix(isa), sys.executable, "-P", "-m", "edgekd.isa"], body, path, timeout_seconds)
    if child.returncode == 0:
        header, _, values = child.stdout.partition(b"\n")
        known = json.loads(header)
        floats = np.frombuffer(values, dtype=np.float32).reshape(known["shape"])
        return Outputs(values=floats, isa=known["isa"], seconds=known["seconds"])
    message = child.stderr.decode(errors="replace").strip()
    if child.returncode == ExitCode.BAD_INPUT:
        raise BadInputError(message)
    if child.returncode == ExitCode.ENVIRONMENT:
        raise EnvironmentFault(message)
    how = f"signal {-child.returncode}" if child.returncode < 0 else f"exit code {child.returncode}"
    raise EnvironmentFault(f"{path}: its process on {isa} ended with {how}: {message[-500:] or 'no message'}")


def _prefix(isa: Isa) -> list[str]:
    if isa == "native":
        return []
    if platform.machine().lower() not in X86_MACHINES:
        raise EnvironmentFault(
            f"this machine is {platform.machine()}; {isa} can only be run on x86-64. Compare on such a machine"
        )
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise EnvironmentFault(
            f"valgrind is not installed; {isa} is run under it, because it hides AVX-512 from a program. "
            "Install it: apt-get install valgrind"
        )
    return [valgrind, "--tool=none", "--quiet"]


def _answer(command: list[str], body: bytes, path: Path, timeout_seconds: float) -> subprocess.CompletedProcess[bytes]:
    for _ in range(TRIES):
        try:
            return subprocess.run(
                command, input=body, capture_output=True, timeout=timeout_seconds, check=False, env=_environment()
            )
        except subprocess.TimeoutExpired as err:
            late = err
    raise EnvironmentFault(
        f"{path}: no answer within {timeout_seconds:.0f} s, {TRIES} times, from {Path(command[0]).name}; the process "
        "was ended. Compare on fewer samples, or check what else this machine is doing"
    ) from late


def _environment() -> Mapping[str, str]:
    """numpy must not hide features of its own accord, and its threads only cost time under valgrind."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NPY_")}
    return {**kept, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
