"""The sweep's winner against the target's own options once more, on samples that chose nothing."""

import contextlib
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from edgekd.session import SessionOptions
from edgekd.statistics import Ratio
from edgekd.tune import race

CONFIRMATIONS = 5
"""Pairs of fresh processes: where a process has its memory can move its latency by some percent."""

LEAST_CONFIRMATIONS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    """The winner's median over that of the target's own options, and what was measured of both."""

    ratio: Ratio
    best: race.Samples
    own: race.Samples


def confirm(
    course: race.Course,
    winner: SessionOptions,
    own: SessionOptions,
    *,
    until: float,
    coin: random.Random,
    told: Callable[[], None],
) -> Confirmed | None:
    """The winner against the target's own options in fresh processes, on samples that chose nothing.

    The best of many candidates looks better than it is in the samples that made it the best; these are new ones. The
    interval is the wider of that of all cycles and the range of the pairs of processes. until: of time.monotonic();
    told: called after each cycle. None: too few cycles for an interval.
    """
    fast, usual, values = race.Samples(), race.Samples(), []
    for number in range(CONFIRMATIONS):
        now = time.monotonic()
        if number >= LEAST_CONFIRMATIONS and now >= until:
            break
        share = now + max(0.0, until - now) / (CONFIRMATIONS - number)
        with contextlib.ExitStack() as stack:
            new = race.enter(course, "new", winner, stack)
            base = race.enter(course, "base", own, stack)
            race.warm([new, base])
            race.run_cycles([new, base], until=share, coin=coin, told=told)
        fast.add(new.samples)
        usual.add(base.samples)
        values.append(race.quick_ratio(new.samples, base.samples))
    found = race.ratio(fast, usual)
    if not math.isfinite(found.high):
        return None
    widest = Ratio(value=found.value, low=min([found.low, *values]), high=max([found.high, *values]))
    return Confirmed(ratio=widest, best=fast, own=usual)
