"""One run of a file in a process of its own, which says what instruction set it sees."""

import json
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.errors import EdgekdError, EnvironmentFault
from edgekd.machine import cpu_flags, isa, read_if_there
from edgekd.runner import runner
from edgekd.session import SessionOptions, create_session, facts


def main() -> int:
    """Read a request on standard input; answer with a line of JSON and the raw outputs on standard output."""
    header = json.loads(sys.stdin.buffer.readline())
    inputs = np.frombuffer(sys.stdin.buffer.read(), dtype=header["dtype"]).reshape(header["shape"])
    try:
        seen = _check_isa(header["isa"])
        values, seconds = _run(Path(header["path"]), inputs, SessionOptions(**header["options"]), header["batch"])
    except EdgekdError as err:
        print(err, file=sys.stderr)
        return int(err.exit_code)
    sys.stdout.buffer.write(json.dumps({"shape": values.shape, "isa": seen, "seconds": seconds}).encode() + b"\n")
    sys.stdout.buffer.write(np.ascontiguousarray(values).tobytes())
    sys.stdout.buffer.flush()
    return 0


def visible_isa(features: Sequence[str]) -> str:
    """The best of AVX-512, AVX2 and SSE among features as numpy spells them; X86_V3 and X86_V4 hold the first two."""
    if any(name.startswith("AVX512") or name == "X86_V4" for name in features):
        return "avx512"
    return "avx2" if {"AVX2", "X86_V3"} & set(features) else "sse"


def _check_isa(wanted: str) -> str:
    if wanted == "native":
        return isa(cpu_flags(read_if_there(Path("/proc/cpuinfo"))), machine=platform.machine())
    found: Any = np.show_config(mode="dicts")
    simd = found["SIMD Extensions"]
    seen = visible_isa([*simd.get("baseline", []), *simd.get("found", [])])
    if seen != wanted:
        raise EnvironmentFault(
            f"under valgrind this process still sees {seen}, expected {wanted}; try another valgrind"
        )
    return seen


def _run(path: Path, inputs: npt.NDArray[Any], options: SessionOptions, batch: int) -> tuple[npt.NDArray[Any], float]:
    started = time.monotonic()
    session = create_session(path, options)
    answer = runner(session, facts(session, path))
    outputs = [answer(inputs[i : i + batch]) for i in range(0, len(inputs), batch)]
    return np.concatenate(outputs), time.monotonic() - started
