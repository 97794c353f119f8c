"""Both files' sessions open, blocks in turns, and a look at the ratio after 8, 12, 18, 27 … cycles."""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import Any

from edgekd.progress import Listener, Progress, silent
from edgekd.session import lingers
from edgekd.statistics import look_after
from edgekd.timing import Contestant, Cycle, Host, Opened, blocks_of, one_cycle, warm_up

NEW, BASE = "new", "base"

MOST_CYCLES = 2_000
"""Some 100,000 inferences: what is still undecided then lies on the limit."""

FEWEST_A_PROCESS = 4
"""Cycles in one process. A start costs half a second, and eight cycles of a network of a millisecond as much."""


CHEAP_SECONDS = 0.05
"""To open both files: then they are opened before every cycle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """What two files were timed at. runs: inferences a block, by name. openings: how often each was opened.

    seconds: all of it, with loading. decided: whether a look said so.
    """

    cycles: tuple[Cycle, ...]
    runs: Mapping[str, int]
    opened: Mapping[str, Opened]
    openings: int
    isolated: bool
    seed: int
    seconds: float

    def raw(self) -> dict[str, Any]:
        """All that a verdict follows from, JSON-ready."""
        return {
            "cycles": [{"new": list(c.new), "base": list(c.base), "new_first": c.first} for c in self.cycles],
            "runs": dict(self.runs),
            "seed": self.seed,
            "seconds": self.seconds,
            "openings": self.openings,
            "constant": {name: opened.constant for name, opened in self.opened.items()},
            "opened": {name: asdict(opened) for name, opened in self.opened.items()},
        }


def time_both(
    new: Contestant,
    base: Contestant,
    *,
    decided: Callable[[Sequence[Cycle]], tuple[bool, str]],
    max_seconds: float,
    min_seconds: float = 0.0,
    isolate: bool = False,
    timeout_seconds: float = 60.0,
    memory_bytes: int | None = None,
    seed: int = 0,
    stage: str = "compare",
    listener: Listener = silent,
) -> Timed:
    """Cycles of both until `decided` says so at a look, or max_seconds are over.

    Where a file's memory happens to lie changes its time by a percent or two, as long as it is open. So both are opened
    anew before most cycles, in random order, and in a new process after a few: then a cycle says something of the
    files, and not of two sessions. The cycles end with the last look; those after it decided nothing.

    decided: the cycles so far -> (whether the verdict is clear, a line for people); it is asked at looks only, because
    every look costs a part of the error that the verdict may have. min_seconds: measured even where it is clear before,
    for numbers that are to be kept. isolate: a process each; by default both sessions lie in one, unless their threads
    spin on after an inference. memory_bytes: of each file.

    Raises:
        EdgekdError: as `Host` says.
    """
    # Sessions in one process cannot be stopped one by one, and idle threads of each would spin on beside the other.
    apart = isolate or lingers(new.options) or lingers(base.options)
    course = _Course(
        contestants={NEW: new, BASE: base},
        apart=apart,
        timeout_seconds=timeout_seconds,
        memory_bytes=memory_bytes,
        coin=random.Random(seed),
    )
    found: list[Cycle] = []
    at_look, started = 0, time.monotonic()
    for cycle in course.cycles():
        found.append(cycle)
        elapsed = time.monotonic() - started
        clear, note = False, ""
        if look_after(len(found)) is not None:
            at_look = len(found)
            clear, note = decided(found)
        listener(Progress(stage=stage, done=min(elapsed, max_seconds), total=max_seconds, note=note))
        if (clear and elapsed >= min_seconds) or elapsed > max_seconds or len(found) >= MOST_CYCLES:
            break
    listener(Progress(stage=stage, done=max_seconds, total=max_seconds))
    course.check_alone()
    return Timed(
        cycles=tuple(found[: at_look or len(found)]),
        runs=course.runs,
        opened=course.opened,
        openings=course.openings,
        isolated=apart,
        seed=seed,
        seconds=time.monotonic() - started,
    )


@dataclass(slots=True, kw_only=True)
class _Course:
    """The cycles, in sessions and processes that are opened again and again. runs: inferences a block."""

    contestants: Mapping[str, Contestant]
    apart: bool
    timeout_seconds: float
    memory_bytes: int | None
    coin: random.Random
    runs: dict[str, int] = field(default_factory=dict)
    opened: dict[str, Opened] = field(default_factory=dict)
    openings: int = 0

    def cycles(self) -> Iterator[Cycle]:
        """Without end; whoever takes them stops."""
        while True:
            started = time.monotonic()
            with self._hosts() as hosts:
                cost = time.monotonic() - started
                if not self.runs:
                    self.runs = {name: blocks_of(median) for name, median in warm_up(hosts).items()}
                yield from self._in(hosts, cost)

    def _in(self, hosts: Mapping[str, Host], cost: float) -> Iterator[Cycle]:
        """The cycles of one process. Opening large files, which is slow, may take as long as timing, and no longer."""
        began = since = time.monotonic()
        opening = sum(opened.load_ms for opened in self.opened.values()) / 1e3
        for done in count(1):
            yield one_cycle(hosts, NEW, BASE, runs=self.runs, first=self.coin.random() < 0.5)
            now = time.monotonic()
            if done >= FEWEST_A_PROCESS and now - began >= cost / 4:
                return
            if now - since >= opening or opening < CHEAP_SECONDS:
                for name in self._order():
                    self.opened[name] = hosts[name].reopen(name)
                self.openings += 1
                since = time.monotonic()

    def check_alone(self) -> None:
        """Raise EnvironmentFault unless each file alone keeps to the memory, where both together did not."""
        most = self.memory_bytes
        if most is None or max(opened.peak_rss_bytes for opened in self.opened.values()) <= most:
            return
        for name, contestant in self.contestants.items():
            with Host({name: contestant}, timeout_seconds=self.timeout_seconds, memory_bytes=most):
                pass

    def _order(self) -> list[str]:
        names = list(self.contestants)
        return names if self.coin.random() < 0.5 else names[::-1]

    @contextmanager
    def _hosts(self) -> Iterator[dict[str, Host]]:
        """Name -> the process that holds it, newly started."""
        ordered = {name: self.contestants[name] for name in self._order()}
        groups = [{name: contestant} for name, contestant in ordered.items()] if self.apart else [ordered]
        with ExitStack() as stack:
            hosts: dict[str, Host] = {}
            for group in groups:
                host = stack.enter_context(
                    Host(group, timeout_seconds=self.timeout_seconds, memory_bytes=self.memory_bytes)
                )
                hosts |= dict.fromkeys(group, host)
            self.openings += 1
            self.opened |= {name: host.opened[name] for name, host in hosts.items()}
            yield hosts
