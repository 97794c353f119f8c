"""Latency of files on ONNX Runtime: a whole context at once, and the next token at full context with what was kept.

All files are open in one process and run in turns, a block at a time, so that the machine's moods meet all alike; each
round is a fresh process.
"""

import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.language.runtime import Runner, feeds_at_full_context
from edgekd.progress import Listener, Progress, silent
from edgekd.session import SessionOptions
from edgekd.statistics import latency_quantiles
from edgekd.timing import Contestant, Host, blocks_of, warm_up

WHAT = ("prefill", "token")


def measure(
    files: Mapping[str, Path],
    texts: npt.NDArray[np.int64],
    *,
    options: SessionOptions,
    rounds: int,
    seconds: float,
    listener: Listener = silent,
) -> dict[str, dict[str, Any]]:
    """For each file: `prefill` and `token`, each with p50, p90 and p99 (ms, with intervals) and raw samples.

    files: name -> path. texts: (count, context) int64 of real text. seconds: timed a round, file and kind.
    tokens_per_second of `prefill` is context / p50, of `token` 1 / p50.

    Raises:
        BadInputError: a file cannot be loaded or run.
        EnvironmentFault: a provider is missing, or an inference takes longer than a minute.
    """
    contestants = {
        f"{what} {name}": Contestant(path=path, options=options, feeds=feeds)
        for name, path in files.items()
        for what, feeds in feeds_at_full_context(Runner(path, options), texts).items()
    }
    samples: dict[str, list[list[int]]] = {name: [] for name in contestants}
    for done in range(rounds):
        listener(Progress(stage="speed", done=done, total=rounds))
        with Host(contestants) as host:
            for name, found in _round(host, contestants, seconds=seconds).items():
                samples[name].append(found)
    listener(Progress(stage="speed", done=rounds, total=rounds))
    return {
        name: {
            what: _summary(samples[f"{what} {name}"], tokens=texts.shape[1] if what == "prefill" else 1)
            for what in WHAT
        }
        for name in files
    }


def _round(host: Host, contestants: Mapping[str, Contestant], *, seconds: float) -> dict[str, list[int]]:
    hosts = dict.fromkeys(contestants, host)
    runs = {name: blocks_of(median) for name, median in warm_up(hosts).items()}
    samples: dict[str, list[int]] = {name: [] for name in contestants}
    until = time.monotonic() + seconds * len(contestants)
    while time.monotonic() < until or not all(samples.values()):
        for name in contestants:
            samples[name].extend(host.block(name, runs[name]).ns)
    return samples


def _summary(rounds: list[list[int]], *, tokens: int) -> dict[str, Any]:
    pooled = [ns for found in rounds for ns in found]
    return {
        **latency_quantiles(rounds),
        "tokens_per_second": tokens / (statistics.median(pooled) / 1e9),
        "n": len(pooled),
        "samples_ns": rounds,
    }
