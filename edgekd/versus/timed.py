"""Both files' sessions open, blocks in turns, and a look at the ratio after 8, 12, 18, 27 … cycles."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from edgekd.progress import Listener, Progress, silent
from edgekd.session import lingers
from edgekd.statistics import look_after
from edgekd.timing import Contestant, Cycle, Host, Opened, blocks_of, cycles, warm_up

NEW, BASE = "new", "base"

MOST_CYCLES = 2_000
"""Some 100,000 inferences: what is still undecided then lies on the limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """What two files were timed at. runs: inferences a block, by name. seconds: of the cycles, without loading."""

    cycles: tuple[Cycle, ...]
    runs: Mapping[str, int]
    opened: Mapping[str, Opened]
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

    decided: the cycles so far -> (whether the verdict is clear, a line for people); it is asked at looks only, because
    every look costs a part of the error that the verdict may have. min_seconds: measured even where it is clear before,
    for numbers that are to be kept. isolate: a process each; by default both sessions lie in one, where they share its
    core, its heap and its luck, unless their threads spin on after an inference. memory_bytes: of each file.

    Raises:
        EdgekdError: as `Host` says.
    """
    # Sessions in one process cannot be stopped one by one, and idle threads of each would spin on beside the other.
    isolate = isolate or lingers(new.options) or lingers(base.options)
    with _hosts({NEW: new, BASE: base}, isolate, timeout_seconds, memory_bytes) as hosts:
        opened = {name: host.opened[name] for name, host in hosts.items()}
        runs = {name: blocks_of(median) for name, median in warm_up(hosts).items()}
        found: list[Cycle] = []
        started = time.monotonic()
        clear, note = False, ""
        for cycle in cycles(hosts, NEW, BASE, runs=runs, seed=seed):
            found.append(cycle)
            elapsed = time.monotonic() - started
            if look_after(len(found)) is not None:
                clear, note = decided(found)
            listener(Progress(stage=stage, done=min(elapsed, max_seconds), total=max_seconds, note=note))
            if (clear and elapsed >= min_seconds) or elapsed > max_seconds or len(found) >= MOST_CYCLES:
                break
        listener(Progress(stage=stage, done=max_seconds, total=max_seconds))
    return Timed(cycles=tuple(found), runs=runs, opened=opened, isolated=isolate, seed=seed, seconds=elapsed)


@contextmanager
def _hosts(
    contestants: Mapping[str, Contestant], isolate: bool, timeout_seconds: float, memory_bytes: int | None
) -> Iterator[dict[str, Host]]:
    with ExitStack() as stack:
        if isolate:
            yield {
                name: stack.enter_context(
                    Host({name: contestant}, timeout_seconds=timeout_seconds, memory_bytes=memory_bytes)
                )
                for name, contestant in contestants.items()
            }
        else:
            together = None if memory_bytes is None else memory_bytes * len(contestants)
            host = stack.enter_context(Host(contestants, timeout_seconds=timeout_seconds, memory_bytes=together))
            yield dict.fromkeys(contestants, host)
