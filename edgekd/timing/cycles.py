"""Blocks that take turns, new, base, base, new or the other way round, and how long they are."""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgekd.timing.host import Block, Host

BLOCK_MS = 10.0
"""How long a block should take: long beside the switch between two files, short beside a mood of the machine."""

MOST_RUNS = 50
STABLE = 0.02
"""The warm-up ends when the medians of a session's last three blocks lie within 2 %: the noise of an idle machine."""

WARM_UP_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycle:
    """Two blocks of each of two sessions, nanoseconds, in the order in which they ran; each pair had the same inputs.

    first: whether the new one began.
    """

    new: tuple[int, ...]
    base: tuple[int, ...]
    first: bool


def warm_up(hosts: Mapping[str, Host], *, runs: int = 10, seconds: float = WARM_UP_SECONDS) -> dict[str, float]:
    """Blocks of all sessions in turns until each one's median is stable, or the time is over: name -> last median, ns.

    hosts: session name -> the process that holds it.
    """
    medians: dict[str, list[float]] = {name: [] for name in hosts}
    started = time.monotonic()
    while True:
        for name, host in hosts.items():
            # A slow network has shorter blocks, or its warm-up alone would take minutes.
            size = runs if not medians[name] else max(1, min(runs, blocks_of(medians[name][-1])))
            medians[name].append(statistics.median(host.block(name, size if medians[name] else 1).ns))
        if time.monotonic() - started > seconds or all(_stable(found) for found in medians.values()):
            return {name: found[-1] for name, found in medians.items()}


def _stable(medians: Sequence[float]) -> bool:
    recent = medians[-3:]
    return len(medians) > 3 and max(recent) <= (1 + STABLE) * min(recent)


def blocks_of(median_ns: float) -> int:
    """Inferences a block, for a session that takes so many nanoseconds each."""
    return max(1, min(MOST_RUNS, round(BLOCK_MS * 1e6 / max(median_ns, 1.0))))


def one_cycle(hosts: Mapping[str, Host], new: str, base: str, *, runs: Mapping[str, int], first: bool) -> Cycle:
    """ABBA, or BAAB where `first` is false: what drifts in a straight line meets both alike.

    hosts: session name -> the process that holds it; new, base: the two names; runs: inferences a block.
    """
    order = (new, base, base, new) if first else (base, new, new, base)
    blocks: dict[str, list[Block]] = {new: [], base: []}
    for name in order:
        blocks[name].append(hosts[name].block(name, runs[name]))
    new_ns, base_ns = (tuple(ns for block in blocks[name] for ns in block.ns) for name in (new, base))
    return Cycle(new=new_ns, base=base_ns, first=first)
