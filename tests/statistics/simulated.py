"""Latencies made up, whose true ratio is known: what a shared machine does to two files in turns."""

from typing import Literal

import numpy as np
import numpy.typing as npt

from edgekd.statistics import decide, error_at, look_after, next_look, ratio_of_quantiles

Noise = Literal["log-normal", "disturbed", "half disturbed"]
Cycles = npt.NDArray[np.int64]

SAMPLES = 40  # of each file in a cycle


def cycles(generator: np.random.Generator, count: int, noise: Noise, *, ratio: float = 1.0) -> tuple[Cycles, Cycles]:
    """New and base, each (count, SAMPLES) ns. Both follow one distribution, but new is `ratio` times as long.

    Log-normal: 3 % from cycle to cycle that both share, 1 % of each file's own, 3 % from inference to inference.
    Disturbed: 10 % of the cycles take 2 to 10 times as long, half of them for both files, half for one of them.
    Half disturbed: so do only about half of those cycles' samples.
    """
    shared = generator.normal(0, 0.03, (count, 1))
    hit = generator.random((count, 1)) < 0.1
    who = generator.integers(0, 4, (count, 1))  # 0: new, 1: base, 2 and 3: both
    slowdown = np.log(generator.uniform(2, 10, (count, 1)))
    files = []
    for number, factor in enumerate((ratio, 1.0)):
        logs = shared + generator.normal(0, 0.01, (count, 1)) + generator.normal(0, 0.03, (count, SAMPLES))
        if noise != "log-normal":
            share = 1.0 if noise == "disturbed" else 0.5
            struck = hit & ((who >= 2) | (who == number)) & (generator.random((count, SAMPLES)) < share)
            logs = logs + slowdown * struck
        files.append(np.rint(1e6 * factor * np.exp(logs)).astype(np.int64))
    return files[0], files[1]


def missed(reps: int, count: int, noise: Noise, q: float, error: float) -> tuple[float, float]:
    """How often the low end lies above the true ratio, and the high end below it."""
    generator = np.random.default_rng(7)
    found = [ratio_of_quantiles(*cycles(generator, count, noise), q, error=error) for _ in range(reps)]
    return sum(r.low > 1 for r in found) / reps, sum(r.high < 1 for r in found) / reps


def verdicts(reps: int, noise: Noise, *, ratio: float, limit: float, most: int) -> tuple[dict[str, float], float]:
    """The share of each verdict of the whole sequential rule with at most `most` cycles, and their median number."""
    generator = np.random.default_rng(3)
    outcomes, used = [], []
    for _ in range(reps):
        new, base = cycles(generator, most, noise, ratio=ratio)
        outcome, at = "inconclusive", 0
        while outcome == "inconclusive" and next_look(at) <= most:
            at = next_look(at)
            number = look_after(at)
            assert number is not None
            found = ratio_of_quantiles(new[:at], base[:at], error=error_at(number))
            outcome = decide(found.low, found.high, limit)
        outcomes.append(outcome)
        used.append(at)
    shares = {word: outcomes.count(word) / reps for word in ("pass", "fail", "inconclusive")}
    return shares, float(np.median(used))
