"""One round, in a process that does nothing else: load time, first inference, timed inferences and peak memory."""

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError, EdgekdError, EnvironmentFault
from edgekd.machine import peak_rss_bytes
from edgekd.runner import runner
from edgekd.session import SessionOptions, create_session, facts, import_onnxruntime

Clock = Callable[[], int]
"""Nanoseconds from any origin, never going back."""

BLOCK = 10
"""Inferences a block of the warm-up; the medians of successive blocks are compared."""

STABLE = 0.02
"""The warm-up ends when three successive block medians lie within 2 %: the noise of an idle machine."""

MAX_WARMUP_SECONDS = 2.0

MAX_SAMPLES = 2_000
"""A round ends here even before its seconds are over: more samples would narrow the interval to less than what
fresh processes differ by, and every one of them is kept in the report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One fresh process. samples_ns: every timed inference, in order. Times in milliseconds, memory in bytes."""

    samples_ns: tuple[int, ...]
    warmup_runs: int
    load_ms: float
    first_inference_ms: float
    peak_rss_bytes: int
    providers: tuple[str, ...]
    onnxruntime: str


def main() -> int:
    """Read a request on standard input, answer with a `Round` as JSON on standard output."""
    header = json.loads(sys.stdin.buffer.readline())
    body = np.frombuffer(sys.stdin.buffer.read(), dtype=header["dtype"]).reshape(header["shape"])
    try:
        path, options = Path(header["path"]), SessionOptions(**header["options"])
        result = measure_round(path, body, options, seconds=header["seconds"], min_samples=header["min_samples"])
    except EdgekdError as err:
        print(err, file=sys.stderr)
        return int(err.exit_code)
    sys.stdout.write(json.dumps(asdict(result)))
    sys.stdout.flush()
    return 0


def measure_round(
    path: Path, inputs: npt.NDArray[Any], options: SessionOptions, *, seconds: float, min_samples: int
) -> Round:
    """Load the file in this process and time it; call it in a process that has done nothing else.

    inputs: (n, batch, ...) batches in the network's layout, used in turn: latency may depend on the data.
    """
    ort = import_onnxruntime()
    started = time.perf_counter_ns()
    session = create_session(path, options)
    loaded = time.perf_counter_ns()
    known = facts(session, path)
    if known.shape[0] not in (None, inputs.shape[1]):
        raise BadInputError(
            f"model {path}: its batch is fixed to {known.shape[0]}, timing was asked with batch_size = "
            f"{inputs.shape[1]}; set batch_size = {known.shape[0]}, or export the model with a dynamic batch"
        )
    batches = [{known.input_name: batch} for batch in inputs]
    names = [known.output_name]
    answer = runner(session, known)
    first = time.perf_counter_ns()
    answer(inputs[0])
    first_done = time.perf_counter_ns()
    turn = iter(range(sys.maxsize))
    samples, warmup = time_runs(
        lambda: session.run(names, batches[next(turn) % len(batches)]), seconds=seconds, min_samples=min_samples
    )
    return Round(
        samples_ns=tuple(samples),
        warmup_runs=warmup,
        load_ms=(loaded - started) / 1e6,
        first_inference_ms=(first_done - first) / 1e6,
        peak_rss_bytes=peak_rss_bytes(),
        providers=tuple(session.get_providers()),
        onnxruntime=str(ort.__version__),
    )


def time_runs(
    run: Callable[[], object], *, seconds: float, min_samples: int, clock: Clock = time.perf_counter_ns
) -> tuple[list[int], int]:
    """Samples of `run` in nanoseconds after an adaptive warm-up, and the number of warm-up runs.

    Raises:
        EnvironmentFault: the clock goes back or stands still.
    """
    warmup = _warm_up(run, clock)
    samples: list[int] = []
    started = clock()
    while len(samples) < min_samples or (clock() - started < seconds * 1e9 and len(samples) < MAX_SAMPLES):
        samples.append(_timed(run, clock))
    return samples, warmup


def _warm_up(run: Callable[[], object], clock: Clock) -> int:
    medians: list[float] = []
    started = clock()
    while clock() - started < MAX_WARMUP_SECONDS * 1e9:
        medians.append(statistics.median(_timed(run, clock) for _ in range(BLOCK)))
        recent = medians[-3:]
        if len(recent) == 3 and max(recent) <= (1 + STABLE) * min(recent):
            break
    return BLOCK * len(medians)


def _timed(run: Callable[[], object], clock: Clock) -> int:
    before = clock()
    run()
    elapsed = clock() - before
    if elapsed <= 0:
        raise EnvironmentFault(
            f"the clock went {elapsed} ns forward during an inference; expected more than 0: nothing can be timed here"
        )
    return elapsed
