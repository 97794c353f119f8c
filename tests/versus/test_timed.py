"""Real sessions that are opened again and again, and cycles that end with a look."""

from collections.abc import Sequence
from pathlib import Path

from edgekd.session import SessionOptions
from edgekd.statistics import look_after
from edgekd.timing import Contestant, Cycle, feeds_for
from edgekd.versus import time_both

from ..timing import odd_nets  # noqa: TID252  tests are no package


def contestant(path: Path, options: SessionOptions | None = None) -> Contestant:
    return Contestant(path=path, options=options or SessionOptions(), feeds=feeds_for(path)[0])


def test_sessions_are_opened_anew_and_the_cycles_end_with_the_look_that_decided(tmp_path: Path) -> None:
    one = contestant(odd_nets.dense(tmp_path / "n.onnx"))
    seen: list[int] = []

    def decided(cycles: Sequence[Cycle]) -> tuple[bool, str]:
        seen.append(len(cycles))
        return len(cycles) >= 12, "clear"

    found = time_both(one, one, decided=decided, max_seconds=60, seed=1)
    assert seen == [8, 12]
    assert len(found.cycles) == 12
    assert found.openings >= 8
    assert not found.isolated
    assert {cycle.first for cycle in found.cycles} == {True, False}


def test_cycles_after_the_last_look_decide_nothing_and_are_not_kept(tmp_path: Path) -> None:
    one = contestant(odd_nets.dense(tmp_path / "n.onnx"))
    found = time_both(one, one, decided=lambda cycles: (False, ""), max_seconds=1.5)
    assert look_after(len(found.cycles)) is not None or len(found.cycles) < 8


def test_threads_that_spin_on_get_a_process_each(tmp_path: Path) -> None:
    spinning = SessionOptions(threads=2, threads_requested=2, spinning=True)
    one = contestant(odd_nets.dense(tmp_path / "n.onnx"), spinning)
    assert time_both(one, one, decided=lambda cycles: (True, ""), max_seconds=60).isolated
