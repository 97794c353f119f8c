"""The fastest of several is found, from cycles that belong together; a process that would spin on is stopped."""

import contextlib
import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd.session import SessionOptions
from edgekd.timing import Block
from edgekd.tune import race

from .nets import chain

ONE = SessionOptions()
SPINNING = SessionOptions(threads=2, spinning=True)


@dataclass
class Steady:
    """What a process would answer whose inferences take `ns` each, with 1 % of jitter."""

    ns: int
    order: list[int] = field(default_factory=list)
    pid: int = 0

    def block(self, name: str, runs: int) -> Block:
        self.order.append(self.ns)
        draw = random.Random(len(self.order))
        samples = tuple(round(self.ns * draw.uniform(0.99, 1.01)) for _ in range(runs))
        return Block(ns=samples, cpu_ns=2 * sum(samples))


def racer(name: str, ns: int, order: list[int] | None = None) -> race.Racer:
    host: Any = Steady(ns, [] if order is None else order)
    return race.Racer(name=name, options=ONE, host=host, runs=3)


def test_a_cycle_runs_everybody_twice_in_an_order_and_in_its_reverse() -> None:
    order: list[int] = []
    racers = [racer(str(ns), ns, order) for ns in (100, 200, 300)]
    race.run_cycles(racers, until=0.0, coin=random.Random(0), least=20)
    assert len(order) == 20 * 6
    cycles = [order[start : start + 6] for start in range(0, len(order), 6)]
    assert all(cycle[:3] == cycle[:2:-1] and len(set(cycle)) == 3 for cycle in cycles)
    assert len({tuple(cycle) for cycle in cycles}) == 6  # every order occurs
    assert all(len(each.samples.cycles) == 20 and len(each.samples.cycles[0]) == 6 for each in racers)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_the_fastest_is_left_and_the_slowest_left_first(count: int) -> None:
    base, rivals = racer("own", 1000), [racer(str(k), 900 + 50 * k) for k in range(count)]
    random.Random(1).shuffle(rivals)
    winner = race.halve([base], rivals, seconds=0.0, coin=random.Random(0))
    assert winner.name == "0" and len(winner.samples.cycles) == len(base.samples.cycles) >= 8
    by_speed = sorted(rivals, key=lambda each: int(each.name))
    cycles = [len(each.samples.cycles) for each in by_speed]
    assert cycles == sorted(cycles, reverse=True)
    found = race.ratio(winner.samples, base.samples)
    assert found.low <= 0.9 <= found.high and found.high - found.low < 0.02  # 1 % of jitter in every sample
    assert winner.samples.cpu_ms == pytest.approx(2 * 900 / 1e6, rel=0.01)


def test_who_left_early_is_compared_with_the_cycles_that_it_ran() -> None:
    new, base = race.Samples(cycles=[(50,)] * 8), race.Samples(cycles=[(100,)] * 8 + [(1,)] * 50)
    assert race.ratio(new, base).value == race.quick_ratio(new, base) == 0.5


def test_too_few_cycles_bound_nothing() -> None:
    few = race.Samples(cycles=[(50,)] * 7)
    assert race.ratio(few, few).high == float("inf")


def test_samples_of_several_processes_are_added_up() -> None:
    whole = race.Samples()
    assert whole.p50_ms is None and whole.cpu_ms is None
    for ns in (1_000_000, 3_000_000):
        whole.add(race.Samples(cycles=[(ns, ns)], cpu_ns=4_000_000, count=2))
    assert (whole.p50_ms, whole.cpu_ms, whole.count) == (2.0, 2.0, 4)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this OS does not tell the state of a process")
def test_a_process_whose_threads_would_spin_on_is_stopped_between_its_blocks(tmp_path: Path) -> None:
    path = chain(tmp_path / "net.onnx")
    course = race.Course(path=path, feeds={"x": np.zeros((2, 1, 16), np.float32)})
    with contextlib.ExitStack() as stack:
        for options, stopped in ((SPINNING, True), (ONE, False)):
            found = race.enter(course, "any", options, stack)
            race.warm([found])
            assert (state(found.host.pid, wanted="T" if stopped else "S") == "T") is stopped
            assert len(found.block()) == found.runs  # it goes on where it was
            assert (state(found.host.pid, wanted="T" if stopped else "S") == "T") is stopped


def state(pid: int, *, wanted: str) -> str:
    """The state of a process: R, S, T and so on; a signal takes a moment, so the one `wanted` is waited for."""
    for _ in range(200):
        found = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        if found == wanted:
            break
        time.sleep(0.01)
    return found
