"""Rounds of all files interleaved, each in a fresh process, and what they come to."""

import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError, EnvironmentFault, ExitCode
from edgekd.latency.child import Round
from edgekd.progress import Listener, Progress, silent
from edgekd.rows import Inputs
from edgekd.session import SessionOptions
from edgekd.statistics import latency_quantiles


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


def measure(
    files: Mapping[str, Path],
    inputs: Inputs,
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
    names = list(files)
    for turn in range(rounds):
        # Another file first in each round: the first one meets the coolest machine.
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            listener(Progress(stage="latency", done=done, total=total, note=name))
            results[name].append(run_round(files[name], batches, options, seconds=seconds, min_samples=min_samples))
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
        load_ms=statistics.median(loads),
        load_low=loads[0],
        load_high=loads[-1],
        first_inference_ms=statistics.median(r.first_inference_ms for r in rounds),
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


def run_round(
    path: Path,
    inputs: npt.NDArray[Any],
    options: SessionOptions,
    *,
    seconds: float,
    min_samples: int,
    timeout_seconds: float = 600.0,
) -> Round:
    """`measure_round` in a fresh process, by `python -m edgekd.latency`.

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
