"""Candidates and the target's own options timed in turns, each in a process of its own; the slow half leaves early.

Successive halving: rounds of equal time, after each of which the half with the greater ratio of medians is dropped, so
that most of the time goes to what is nearly best. Source: Karnin, Koren and Somekh 2013, Almost Optimal Exploration in
Multi-Armed Bandits, algorithm 1, https://proceedings.mlr.press/v28/karnin13.html
"""

import contextlib
import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgekd.session import SessionOptions
from edgekd.statistics import FEWEST_CYCLES, Ratio, ratio_of_quantiles
from edgekd.timing import Contestant, Feeds, Host, blocks_of, warm_up

NAME = "session"
ERROR = 0.025
"""Of each end of an interval, so that it holds 95 %."""

MEDIAN = 0.5

LEAST_CYCLES = 2
HOPELESS = 10.0
"""Who is so many times slower in the warm-up does not start; less may be the mood of a busy machine in that moment."""


WARM_UP_SECONDS = 1.0


@dataclass(slots=True, kw_only=True)
class Samples:
    """What was measured of some options. cycles: nanoseconds of each inference, a tuple a cycle; cpu_ns: processor time
    of all `count` inferences, over all threads."""

    cycles: list[tuple[int, ...]] = field(default_factory=list)
    cpu_ns: int = 0
    count: int = 0

    @property
    def p50_ms(self) -> float | None:
        """The median of all inferences; None without any."""
        return statistics.median(ns for cycle in self.cycles for ns in cycle) / 1e6 if self.cycles else None

    @property
    def cpu_ms(self) -> float | None:
        """Processor time an inference; None without any."""
        return self.cpu_ns / self.count / 1e6 if self.count else None

    def add(self, other: "Samples") -> None:
        """Take in those of another process with the same options."""
        self.cycles += other.cycles
        self.cpu_ns += other.cpu_ns
        self.count += other.count


@dataclass(slots=True, kw_only=True)
class Racer:
    """Options in a process of their own. runs: inferences a block."""

    name: str
    options: SessionOptions
    host: Host
    runs: int = 1
    samples: Samples = field(default_factory=Samples)

    def block(self) -> tuple[int, ...]:
        """Nanoseconds of each inference of a block."""
        block = self.host.block(NAME, self.runs)
        self.samples.cpu_ns += block.cpu_ns
        self.samples.count += len(block.ns)
        return block.ns


def ratio(new: Samples, base: Samples) -> Ratio:
    """The median of `new` over that of `base`, below 1 where new is faster, over the first cycles of `base`, which
    `new` ran too. With too few cycles the interval is 0 to infinity."""
    return ratio_of_quantiles(new.cycles, base.cycles[: len(new.cycles)], MEDIAN, error=ERROR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What every racer runs: the file, its inputs, the memory that it may take, and the seconds of an inference."""

    path: Path
    feeds: Feeds
    memory_bytes: int | None = None
    timeout_seconds: float = 60.0


def enter(course: Course, name: str, options: SessionOptions, stack: contextlib.ExitStack) -> Racer:
    """A racer whose process lives until `stack` is left.

    Raises:
        BadInputError: the file cannot be loaded or run with these options.
        EnvironmentFault: it crashes, hangs, or takes too much memory.
    """
    contestant = Contestant(path=course.path, options=options, feeds=course.feeds)
    host = Host({NAME: contestant}, memory_bytes=course.memory_bytes, timeout_seconds=course.timeout_seconds)
    return Racer(name=name, options=options, host=stack.enter_context(host))


def warm(racers: Sequence[Racer]) -> list[float]:
    """Run all until they are steady, set how many inferences a block of each has, and answer with their medians, ns."""
    medians = []
    for racer in racers:
        medians.append(warm_up({NAME: racer.host}, seconds=WARM_UP_SECONDS / len(racers))[NAME])
        racer.runs = blocks_of(medians[-1])
    return medians


def run_cycles(
    racers: Sequence[Racer],
    *,
    until: float,
    coin: random.Random,
    least: int = LEAST_CYCLES,
    told: Callable[[], None] = lambda: None,
) -> None:
    """Whole cycles until `until`, of time.monotonic(), but at least `least`: all in random order, then in its reverse.

    The reverse cancels a drift of the machine within a cycle. told: called after each.
    """
    done = 0
    while done < least or time.monotonic() < until:
        order = list(racers)
        coin.shuffle(order)
        found: dict[str, tuple[int, ...]] = {}
        for racer in (*order, *reversed(order)):
            found[racer.name] = found.get(racer.name, ()) + racer.block()
        for racer in racers:
            racer.samples.cycles.append(found[racer.name])
        done += 1
        told()


def halve(
    steady: Sequence[Racer],
    rivals: Sequence[Racer],
    *,
    seconds: float,
    coin: random.Random,
    told: Callable[[], None] = lambda: None,
) -> Racer:
    """The rival with the smallest median, after rounds that halve them.

    steady: what runs in every cycle; medians are divided by those of its first. A rival that left keeps its cycles,
    which are the first ones of all the others.
    """
    left = list(rivals)
    rounds = max(1, math.ceil(math.log2(len(left))))
    for number in range(1, rounds + 1):
        # The last round is as long as an interval needs, also where the machine is too slow for the time given.
        least = max(LEAST_CYCLES, FEWEST_CYCLES - len(steady[0].samples.cycles)) if number == rounds else LEAST_CYCLES
        until = time.monotonic() + seconds / rounds
        run_cycles([*steady, *left], until=until, coin=coin, least=least, told=told)
        left.sort(key=lambda racer: quick_ratio(racer.samples, steady[0].samples))
        left = left[: math.ceil(len(left) / 2)]
    return left[0]


def quick_ratio(new: Samples, base: Samples) -> float:
    """The median over cycles of the ratio of medians: no interval, so it costs nothing."""
    both = zip(new.cycles, base.cycles, strict=False)
    return statistics.median(statistics.median(mine) / statistics.median(other) for mine, other in both)
