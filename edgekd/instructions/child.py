"""One counted run in a process of its own: the inferences, and as little else as can be."""

import gc
import json
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError, EdgekdError, EnvironmentFault
from edgekd.instructions.count import MIN_RUNS
from edgekd.instructions.tools import Method
from edgekd.instructions.valgrind import DUMP_STATS, START_INSTRUMENTATION, STOP_INSTRUMENTATION, Valgrind
from edgekd.isa.child import visible_isa
from edgekd.machine import cpu_flags, isa, read_if_there
from edgekd.session import SessionOptions, create_session, first_line, import_onnxruntime, native_errors

BUDGET_SECONDS = 10.0
"""What N inferences may take; a slow network gets fewer."""

LEAST_SECONDS: Mapping[Method, float] = {"callgrind": 1.0, "perf": 1.0}
"""What N inferences shall take; a quick network gets more. Python does 6,000 instructions now and then, 0.6 % of fifty
inferences of one ReLU; with perf the start-up is counted too, which varies by a million."""

COUNTING_COST = 2.0
"""Counting makes an inference under valgrind this much slower, measured on networks of convolutions and of MatMuls."""

BLOCKS = 20
"""Both runs count this many blocks, where they have as many rounds: what happens once in a process, measured up to
200,000 instructions, is in one block and does not reach the median."""

Run = Callable[[], object]


def main() -> int:
    """Read a request on standard input, run, answer with a line of JSON on standard output."""
    request = json.loads(sys.stdin.buffer.readline())
    feeds = _read(request["feeds"], sys.stdin.buffer.read())
    try:
        answer = _counted(request, feeds)
    except EdgekdError as err:
        print(err, file=sys.stderr)
        return int(err.exit_code)
    print(json.dumps(answer))
    return 0


def planned(runs: int, seconds: float, *, method: Method, feeds: int) -> int:
    """How many inferences to count where one takes `seconds`: equal blocks of whole rounds of the feeds."""
    each = seconds * (COUNTING_COST if method == "callgrind" else 1)
    wanted = max(runs, int(LEAST_SECONDS[method] / each))
    affordable = int(BUDGET_SECONDS / each)
    rounds = _up(max(_least(feeds), min(wanted, affordable)), feeds) // feeds
    return feeds * (rounds if rounds < BLOCKS else _up(rounds, BLOCKS))


def _infer(runs: Sequence[Run], rounds: int) -> None:
    for _ in range(rounds):
        for run in runs:
            run()


def _least(feeds: int) -> int:
    return _up(MIN_RUNS, feeds)


def _up(number: int, step: int) -> int:
    return -(-number // step) * step


def _read(described: Sequence[Mapping[str, Any]], body: bytes) -> dict[str, npt.NDArray[Any]]:
    feeds, at = {}, 0
    for entry in described:
        kind = np.dtype(entry["dtype"])
        size = kind.itemsize * int(np.prod(entry["shape"]))
        feeds[entry["name"]] = np.frombuffer(body[at : at + size], dtype=kind).reshape(entry["shape"])
        at += size
    return feeds


def _counted(request: Mapping[str, Any], feeds: Mapping[str, npt.NDArray[Any]]) -> dict[str, Any]:
    method: Method = request["method"]
    valgrind = Valgrind() if method == "callgrind" else None
    runs_of_feeds = _bound(Path(request["path"]), SessionOptions(**request["options"]), feeds)
    seconds = _warm_up(Path(request["path"]), runs_of_feeds, timeout_seconds=request["timeout_seconds"])
    runs = request["exactly"] or planned(request["runs"], seconds, method=method, feeds=len(runs_of_feeds))
    gc.collect()
    gc.disable()  # it would run after so many allocations, in one of the two runs once more than in the other
    rounds = runs // len(runs_of_feeds)
    blocks = request["blocks"] or min(BLOCKS, rounds)
    if valgrind is None:
        _infer(runs_of_feeds, rounds)
    else:
        valgrind.request(START_INSTRUMENTATION)
        for _ in range(blocks):
            _infer(runs_of_feeds, rounds // blocks)
            valgrind.request(DUMP_STATS)
        valgrind.request(STOP_INSTRUMENTATION)
    return {
        "runs": runs,
        "blocks": blocks,
        "isa": _seen_isa(method),
        "onnxruntime": str(import_onnxruntime().__version__),
    }


def _bound(path: Path, options: SessionOptions, feeds: Mapping[str, npt.NDArray[Any]]) -> list[Run]:
    """One inference each, with its inputs in place and its outputs left where they are made."""
    ort = import_onnxruntime()
    session = create_session(path, options)
    expected = {entry.name for entry in session.get_inputs()}
    if expected != set(feeds):
        raise BadInputError(
            f"model {path}: takes {', '.join(sorted(expected))}; inputs were given for {', '.join(sorted(feeds))}"
        )
    return [_binding(ort, session, {name: values[i] for name, values in feeds.items()})
            for i in range(len(next(iter(feeds.values()))))]  # fmt: skip


def _binding(ort: Any, session: Any, feed: Mapping[str, npt.NDArray[Any]]) -> Run:
    binding = session.io_binding()
    for name, values in feed.items():
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(values)))
    for output in session.get_outputs():
        binding.bind_output(output.name)
    return lambda: session.run_with_iobinding(binding)


def _warm_up(path: Path, runs: Sequence[Run], *, timeout_seconds: float) -> float:
    """Each feed once, so that memory is allocated and its plan made; seconds of the quickest."""
    fewest = _least(len(runs))
    failures: tuple[type[Exception], ...] = (*native_errors(), RuntimeError)  # the latter with I/O binding
    seconds = []
    for run in runs:
        started = time.monotonic()
        try:
            run()
        except failures as err:
            raise BadInputError(f"model {path}: ONNX Runtime cannot run it on these inputs: {first_line(err)}") from err
        seconds.append(max(1e-6, time.monotonic() - started))
        needed = min(seconds) * (len(runs) + 2 * fewest)
        if needed > timeout_seconds:
            raise EnvironmentFault(
                f"{path}: an inference takes {min(seconds):.1f} s while instructions are counted, the "
                f"{len(runs) + 2 * fewest} of a run {needed:.0f} s, more than the time-out of {timeout_seconds:.0f} s; "
                "give it more time, or count on a machine whose `perf stat -e instructions:u` counts"
            )
    return min(seconds)


def _seen_isa(method: Method) -> str:
    if method == "perf":
        return isa(cpu_flags(read_if_there(Path("/proc/cpuinfo"))), machine=platform.machine())
    found: Any = np.show_config(mode="dicts")  # /proc/cpuinfo is the machine's even under valgrind
    simd = found["SIMD Extensions"]
    return visible_isa([*simd.get("baseline", []), *simd.get("found", [])])
