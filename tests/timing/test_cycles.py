"""The order of the blocks, and the warm-up, on a host that only counts."""

from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import cast

import pytest

from edgekd.timing import Block, Host, blocks_of, cycles, warm_up

from . import odd_nets
from .test_host import contestant


@dataclass
class Counting:
    """Says the number of the block as the time of each inference."""

    asked: list[tuple[str, int]] = field(default_factory=list)

    def block(self, name: str, runs: int) -> Block:
        self.asked.append((name, runs))
        return Block(ns=(len(self.asked),) * runs, cpu_ns=1)


def counted(count: int, seed: int = 0) -> tuple[list[str], list[bool]]:
    host = Counting()
    hosts = dict.fromkeys(("a", "b"), cast(Host, host))
    found = list(islice(cycles(hosts, "a", "b", runs={"a": 3, "b": 2}, seed=seed), count))
    for number, cycle in enumerate(found):
        mine = [turn for turn in range(4 * number, 4 * number + 4) if host.asked[turn][0] == "a"]
        assert cycle.new == tuple(turn + 1 for turn in mine for _ in range(3))
        assert len(cycle.base) == 4
    return [name for name, _ in host.asked], [cycle.first for cycle in found]


def test_each_cycle_is_abba_or_baab_by_a_coin() -> None:
    names, first = counted(200)
    quads = ["".join(names[i : i + 4]) for i in range(0, 800, 4)]
    assert quads == ["abba" if began else "baab" for began in first]
    assert 70 <= Counter(first)[True] <= 130
    assert counted(200)[1] == first != counted(200, seed=1)[1]


@pytest.mark.parametrize(("median_ms", "runs"), [(0.01, 50), (1.0, 10), (9.0, 1), (700.0, 1), (0.0, 50)])
def test_a_block_lasts_about_ten_milliseconds(median_ms: float, runs: int) -> None:
    assert blocks_of(median_ms * 1e6) == runs


def test_a_steady_host_is_warm_after_four_blocks_of_each() -> None:
    @dataclass
    class Steady(Counting):
        def block(self, name: str, runs: int) -> Block:
            self.asked.append((name, runs))
            return Block(ns=(1_000_000,) * runs, cpu_ns=1)

    host = Steady()
    assert warm_up(dict.fromkeys("ab", cast(Host, host))) == {"a": 1e6, "b": 1e6}
    assert Counter(name for name, _ in host.asked) == {"a": 4, "b": 4}


def test_both_sessions_get_the_same_inputs_in_a_cycle(tmp_path: Path) -> None:
    """A network whose work depends on the data: equal blocks take equal inputs, so the turns keep in step."""
    path = odd_nets.dense(tmp_path / "n.onnx")
    with Host({"a": contestant(path), "b": contestant(path)}) as host:
        found = list(islice(cycles({"a": host, "b": host}, "a", "b", runs={"a": 5, "b": 5}, seed=0), 2))
    assert all(len(cycle.new) == len(cycle.base) == 10 for cycle in found)
