"""Latency of ONNX files on a target: each round in a fresh process, rounds of all files interleaved.

The child process is this same module (`python -m edgekd.latency`): it reads one JSON request from standard input and
writes one JSON answer, so that load time, first inference and peak memory are those of a process that did nothing else.
"""

import json
import os
import statistics as stdlib_statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError, EdgekdError, EnvironmentFault, ExitCode
from edgekd.progress import Listener, Progress, silent
from edgekd.session import SessionOptions, create_session, facts, import_onnxruntime, runner
from edgekd.statistics import latency_quantiles

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Latency of one file over all rounds; *_low and *_high bound 95 % intervals, None where too few samples do.

    p99 is there only from 1,000 samples: fewer put fewer than ten beyond it.
    """

    batch_size: int
    rounds: int
    n: int
    p50_ms: float
    p50_low: float | None
    p50_high: float | None
    p90_ms: float
    p90_low: float | None
    p90_high: float | None
    p99_ms: float | None
    p99_low: float | None
    p99_high: float | None
    mean_ms: float
    throughput_per_s: float
    load_ms: float
    load_low: float
    load_high: float
    first_inference_ms: float
    peak_rss_bytes: int
    warmup_runs: tuple[int, ...]
    threads: int
    threads_requested: int
    spinning: bool
    provider: str
    providers: tuple[str, ...]
    isa: str
    onnxruntime: str
    samples_ns: tuple[tuple[int, ...], ...]


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
        medians.append(stdlib_statistics.median(_timed(run, clock) for _ in range(BLOCK)))
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


def peak_rss_bytes() -> int:
    """Peak resident memory of this process.

    From /proc where there is one: getrusage's maximum survives exec, so a child of a large parent would report the
    parent's memory.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def run_round(
    path: Path,
    inputs: npt.NDArray[Any],
    options: SessionOptions,
    *,
    seconds: float,
    min_samples: int,
    timeout_seconds: float = 600.0,
) -> Round:
    """`measure_round` in a fresh process.

    Raises:
        EdgekdError: what the child raised, with its exit code.
        EnvironmentFault: the child crashed or ran into the time-out.
    """
    request = {
        "path": str(path),
        "dtype": inputs.dtype.name,
        "shape": inputs.shape,
        "options": options.as_dict(),
        "seconds": seconds,
        "min_samples": min_samples,
    }
    body = json.dumps(request).encode() + b"\n" + np.ascontiguousarray(inputs).tobytes()
    # -P: never import from the current folder, which may hold a user's own numpy.py.
    command = [sys.executable, "-P", "-m", "edgekd.latency"]
    try:
        child = subprocess.run(command, input=body, capture_output=True, timeout=timeout_seconds, check=False)
    except subprocess.TimeoutExpired as err:
        raise EnvironmentFault(
            f"{path}: no answer within {timeout_seconds:.0f} s, the process was ended; time fewer samples "
            "(validate.min_samples), or check what else this machine is doing"
        ) from err
    if child.returncode == 0:
        answer = json.loads(child.stdout)
        answer["samples_ns"], answer["providers"] = tuple(answer["samples_ns"]), tuple(answer["providers"])
        return Round(**answer)
    message = child.stderr.decode(errors="replace").strip()
    if child.returncode == ExitCode.BAD_INPUT:
        raise BadInputError(message)
    how = f"signal {-child.returncode}" if child.returncode < 0 else f"exit code {child.returncode}"
    raise EnvironmentFault(f"{path}: the process that timed it ended with {how}: {message[-500:] or 'no message'}")


def measure(
    files: Mapping[str, Path],
    inputs: npt.NDArray[Any],
    options: SessionOptions,
    *,
    batch_size: int,
    rounds: int,
    seconds: float,
    min_samples: int,
    isa: str,
    listener: Listener = silent,
) -> dict[str, Latency]:
    """Latency of each file: `rounds` fresh processes a file, one round of every file before the next round.

    So a machine that slows down for a while slows all files, not one. inputs: (n, ...) samples in the networks' own
    layout and type.
    """
    count = max(1, min(len(inputs) // batch_size, 64))
    if len(inputs) < batch_size:
        raise BadInputError(f"batch size {batch_size} is larger than the data ({len(inputs)} samples)")
    batches = inputs[: count * batch_size].reshape(count, batch_size, *inputs.shape[1:])
    results: dict[str, list[Round]] = {name: [] for name in files}
    total, done = rounds * len(files), 0
    for _ in range(rounds):
        for name, path in files.items():
            listener(Progress(stage="latency", done=done, total=total, note=name))
            results[name].append(run_round(path, batches, options, seconds=seconds, min_samples=min_samples))
            done += 1
    listener(Progress(stage="latency", done=total, total=total))
    return {name: summarise(found, options, batch_size=batch_size, isa=isa) for name, found in results.items()}


def summarise(rounds: Sequence[Round], options: SessionOptions, *, batch_size: int, isa: str) -> Latency:
    """The rounds of one file as one result."""
    samples = tuple(r.samples_ns for r in rounds)
    pooled = np.concatenate([np.asarray(s, dtype=np.float64) for s in samples]) / 1e6
    loads = sorted(r.load_ms for r in rounds)
    return Latency(
        batch_size=batch_size,
        rounds=len(rounds),
        n=len(pooled),
        **latency_quantiles(samples),  # type: ignore[arg-type]  # p50 and p90 are never None
        mean_ms=float(pooled.mean()),
        throughput_per_s=1e3 * batch_size / float(pooled.mean()),
        load_ms=stdlib_statistics.median(loads),
        load_low=loads[0],
        load_high=loads[-1],
        first_inference_ms=stdlib_statistics.median(r.first_inference_ms for r in rounds),
        peak_rss_bytes=max(r.peak_rss_bytes for r in rounds),
        warmup_runs=tuple(r.warmup_runs for r in rounds),
        threads=options.threads,
        threads_requested=options.threads_requested,
        spinning=options.spinning,
        provider=options.provider,
        providers=rounds[0].providers,
        isa=isa,
        onnxruntime=rounds[0].onnxruntime,
        samples_ns=samples,
    )


def main() -> int:
    """The child: a request on standard input, a `Round` as JSON on standard output."""
    from dataclasses import asdict

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


if __name__ == "__main__":
    # os._exit: ONNX Runtime's teardown with CUDA can crash after the answer is out.
    code = main()
    sys.stdout.flush()
    os._exit(code)
