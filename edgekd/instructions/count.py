"""A file's instructions per inference: a run of N inferences, a run of 2N, and the difference over N."""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.errors import BadInputError, EnvironmentFault, ExitCode
from edgekd.instructions.result import Instructions
from edgekd.instructions.tools import Method, choose, last_words, prefix, total, version
from edgekd.progress import Listener, Progress, silent
from edgekd.session import SessionOptions, check_file
from edgekd.timing import Feeds, digest

MIN_RUNS = 5

FEEDS = 5
"""The first so many feeds are used, whatever the network's speed: a slow file and a quick one must see the same."""

TIMEOUT_SECONDS = 600.0

KEPT = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
"""The variables that a counted process is given, where they are set: those that it may need to find its packages."""

ENVIRONMENT_BYTES = 16_384

TRIES = 2
"""A run under valgrind can hang; a second one hardly ever does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What one process did, and the instructions it took."""

    runs: int
    blocks: int
    isa: str
    onnxruntime: str
    instructions: int
    tool: str


def count(
    path: Path,
    feeds: Feeds,
    options: SessionOptions,
    *,
    runs: int = 100,
    timeout_seconds: float = TIMEOUT_SECONDS,
    repeats: int = 1,
    method: Method | None = None,
    listener: Listener = silent,
) -> Instructions:
    """Instructions of one inference, on one thread without spinning, whatever `options` ask for.

    feeds: name of an input -> (count, batch, ...); the first five are used in turn, each equally often. runs: N; a
    network so slow that N inferences would take more than ten seconds gets fewer, at least five, and a quick one more,
    about a second of them. timeout_seconds: of each of the 2 * repeats processes, which is started once more when it
    ran out. method: None takes perf where it counts, else callgrind; the result says which.

    Raises:
        BadInputError: no file, inputs that do not fit it, another provider than the CPU, numbers out of range.
        EnvironmentFault: nothing counts here, the process crashed (with its signal) or gave no answer in time.
    """
    check_file(path)
    _check(feeds, options, runs=runs, repeats=repeats)
    used = {name: np.ascontiguousarray(values[:FEEDS]) for name, values in feeds.items()}
    chosen = choose(method)
    request = {"path": str(path), "method": chosen, "runs": runs, "exactly": None, "blocks": None,
               "timeout_seconds": timeout_seconds, "options": alone(options).as_dict()}  # fmt: skip
    found: list[tuple[_Run, _Run]] = []
    for done in range(repeats):
        listener(Progress(stage="instructions", done=2 * done, total=2 * repeats, note=f"{path.name}, {chosen}"))
        same = {"exactly": found[0][0].runs, "blocks": found[0][0].blocks} if found else {}
        once = _run({**request, **same}, used, timeout_seconds)
        listener(Progress(stage="instructions", done=2 * done + 1, total=2 * repeats, note=f"{2 * once.runs} runs"))
        twice = _run({**request, "exactly": 2 * once.runs, "blocks": once.blocks}, used, timeout_seconds)
        found.append((once, twice))
    listener(Progress(stage="instructions", done=2 * repeats, total=2 * repeats))
    first = found[0][0]
    counts = tuple((once.instructions, twice.instructions) for once, twice in found)
    each = [difference(pair, first.runs) for pair in counts]
    return Instructions(
        per_inference=statistics.fmean(each),
        counts=counts,
        runs=(first.runs, 2 * first.runs),
        method=chosen,
        isa=first.isa,
        spread=(max(each) - min(each)) / statistics.fmean(each),
        feeds=digest(used),
        feeds_used=len(next(iter(used.values()))),
        threads=1,
        threads_requested=options.threads_requested,
        tool=first.tool,
        onnxruntime=first.onnxruntime,
    )


def difference(counts: tuple[int, int], runs: int) -> float:
    """Instructions of one inference from the totals of `runs` and of twice as many.

    Raises:
        EnvironmentFault: twice the inferences took no more instructions.
    """
    if counts[1] <= counts[0]:
        raise EnvironmentFault(
            f"{2 * runs} inferences took {counts[1]:,} instructions, {runs} took {counts[0]:,}; expected more for "
            "more: what counts here does not count inferences. Use the other method, or more runs"
        )
    return (counts[1] - counts[0]) / runs


def alone(options: SessionOptions) -> SessionOptions:
    """The options on one thread: what threads spend on waiting differs from run to run."""
    config = {key: value for key, value in options.session_config.items()
              if key not in ("session.intra_op_thread_affinities", "session.intra_op.allow_spinning")}  # fmt: skip
    return replace(options, threads=1, inter_op_threads=1, spinning=False, session_config=config)


def _check(feeds: Feeds, options: SessionOptions, *, runs: int, repeats: int) -> None:
    if options.provider != "CPUExecutionProvider":
        raise BadInputError(f"instructions are counted on the CPU, not by {options.provider}; choose a CPU target")
    if runs < MIN_RUNS or repeats < 1:
        raise BadInputError(
            f"instructions were to be counted over {runs} inferences, {repeats} times; expected at least {MIN_RUNS} "
            "and 1"
        )
    words = [name for name, values in feeds.items() if values.dtype.kind not in "fiub"]
    if words:
        raise BadInputError(f"inputs {', '.join(words)} are no numbers; instructions are counted on numbers")
    counts = {name: len(values) if values.ndim else 0 for name, values in feeds.items()}
    if not counts or min(counts.values()) == 0 or len(set(counts.values())) > 1:
        raise BadInputError(
            f"feeds to count instructions on: {counts or 'none'}; expected the same number for each input, 1 or more"
        )


def _run(request: Mapping[str, Any], feeds: Feeds, timeout_seconds: float) -> _Run:
    described = [{"name": name, "dtype": v.dtype.name, "shape": v.shape} for name, v in feeds.items()]
    body = json.dumps({**request, "feeds": described}).encode() + b"\n"
    body += b"".join(values.tobytes() for values in feeds.values())
    with tempfile.TemporaryDirectory(prefix="edgekd-instructions-") as folder:
        # -P: never import from the current folder, which may hold a user's own numpy.py.
        command = [*prefix(request["method"], Path(folder)), sys.executable, "-P", "-m", "edgekd.instructions"]
        child = _answer(command, body, request["path"], timeout_seconds)
        _check_end(child, request["path"], request["method"], last_words(Path(folder)))
        answer = json.loads(child.stdout)
        return _Run(
            **answer,
            instructions=total(request["method"], Path(folder), blocks=answer["blocks"]),
            tool=version(request["method"], Path(folder)),
        )


def _answer(command: list[str], body: bytes, path: str, timeout_seconds: float) -> subprocess.CompletedProcess[bytes]:
    for _ in range(TRIES):
        try:
            return subprocess.run(
                command, input=body, capture_output=True, timeout=timeout_seconds, check=False, env=_environment()
            )
        except subprocess.TimeoutExpired as err:
            late = err
    raise EnvironmentFault(
        f"{path}: no answer within {timeout_seconds:.0f} s, {TRIES} times, from {command[0]}; the process was ended. "
        "Count fewer inferences, give it more time, or check what else this machine is doing"
    ) from late


def _check_end(child: subprocess.CompletedProcess[bytes], path: str, method: Method, said: str) -> None:
    # perf answers with 0 for a program that a signal ended: only an answer is a success.
    if child.returncode == 0 and child.stdout:
        return
    message = child.stderr.decode(errors="replace").strip()
    if child.returncode == ExitCode.BAD_INPUT:
        raise BadInputError(message)
    if child.returncode == ExitCode.ENVIRONMENT:
        raise EnvironmentFault(message)
    raise EnvironmentFault(
        f"{path}: the process that ran it under {method} ended with {_how(child.returncode)}: "
        f"{'; '.join(filter(None, (said, message[-500:]))) or 'no message'}"
    )


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code} and no answer"
    known = {number.value: number.name for number in signal.Signals}
    return f"signal {-code} ({known.get(-code, 'unknown')})"


def _environment() -> dict[str, str]:
    """The same work in every run: one order of sets and dictionaries, one thread, and an environment of one size.

    What a process is started with lies on its stack and moves all that follows: 5,000 bytes more of it made a network
    of one ReLU 1.6 % more, in every repeat alike. A CI job has another environment each time.
    """
    kept = {name: value for name in KEPT if (value := os.environ.get(name)) is not None}
    kept |= {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "EDGEKD_PADDING": ""}
    # A string ends with a zero and has a pointer of 8 bytes to it.
    size = sum(len(os.fsencode(f"{name}={value}")) + 9 for name, value in kept.items()) + len(
        os.fsencode(sys.executable)
    )
    return {**kept, "EDGEKD_PADDING": "x" * (-size % ENVIRONMENT_BYTES)}
