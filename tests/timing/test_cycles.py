"""The order of the blocks, and the warm-up, on a host that only counts."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from edgekd.timing import Block, Host, blocks_of, one_cycle, warm_up

from . import odd_nets
from .test_host import contestant


@dataclass
class Counting:
    """Says the number of the block as the time of each inference."""

    asked: list[tuple[str, int]] = field(default_factory=list)

    def block(self, name: str, runs: int) -> Block:
        self.asked.append((name, runs))
        return Block(ns=(len(self.asked),) * runs, cpu_ns=1)


@pytest.mark.parametrize(("first", "order"), [(True, "abba"), (False, "baab")])
def test_a_cycle_is_abba_or_baab_and_keeps_what_belongs_to_whom(first: bool, order: str) -> None:
    host = Counting()
    hosts = dict.fromkeys(("a", "b"), cast(Host, host))
    cycle = one_cycle(hosts, "a", "b", runs={"a": 3, "b": 2}, first=first)
    assert "".join(name for name, _ in host.asked) == order
    mine = [turn + 1 for turn, name in enumerate(order) if name == "a"]
    assert cycle.new == tuple(turn for turn in mine for _ in range(3))
    assert len(cycle.base) == 4 and cycle.first is first


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
        cycle = one_cycle({"a": host, "b": host}, "a", "b", runs={"a": 5, "b": 5}, first=True)
    assert len(cycle.new) == len(cycle.base) == 10
