"""All files of one net in one process, timed in turns; run by `benchmarks.turns.Child`."""

import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.session import SessionOptions, create_session, facts, import_onnxruntime

BLOCK_SECONDS = 0.03
FEWEST = 3
UNTIMED = 2
"""Inferences before a block that are not timed: the block before it, of another file, has filled the caches."""


def measure(files: Mapping[str, Mapping[str, Any]], *, data: str, rounds: int) -> dict[str, list[float]]:
    """Seconds an inference, the median of each block, one block a file and round, one sample after another.

    files: name -> {path, session_config}. Each round starts with another file, and every other one runs backwards.
    """
    with np.load(data, allow_pickle=False) as arrays:
        samples = arrays["x"][:16]
    ready = {name: _inference(Path(file["path"]), file["session_config"], samples) for name, file in files.items()}
    counts = {name: _block(once) for name, once in ready.items()}
    found: dict[str, list[float]] = {name: [] for name in files}
    names = list(files)
    for number in range(rounds):
        order = names[number % len(names) :] + names[: number % len(names)]
        for name in reversed(order) if number % 2 else order:
            for _ in range(min(UNTIMED, counts[name])):
                ready[name]()
            found[name].append(statistics.median(ready[name]() for _ in range(counts[name])))
    return found


def _inference(path: Path, session_config: Mapping[str, str], samples: Any) -> Callable[[], float]:
    session = create_session(path, SessionOptions(session_config=session_config))
    known, turn = facts(session, path), 0

    def once() -> float:
        nonlocal turn
        turn = (turn + 1) % len(samples)
        feed = {known.input_name: samples[turn : turn + 1]}
        started = time.perf_counter()
        session.run([known.output_name], feed)
        return time.perf_counter() - started

    return once


def _block(once: Callable[[], float]) -> int:
    """How many inferences fill a block."""
    usual = statistics.median(once() for _ in range(5))
    return max(FEWEST if usual < BLOCK_SECONDS * 5 else 1, math.ceil(BLOCK_SECONDS / usual))


if __name__ == "__main__":
    asked = json.loads(sys.argv[2])
    seconds = measure(asked["files"], data=asked["data"], rounds=asked["rounds"])
    print(json.dumps({"seconds": seconds, "onnxruntime": import_onnxruntime().__version__}))
