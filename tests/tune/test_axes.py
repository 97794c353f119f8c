"""Every axis offers what can matter and nothing that cannot, and never more threads than there is room for."""

from dataclasses import replace

import pytest

from edgekd.session import SessionOptions
from edgekd.session_options import AFFINITIES, STOP_SPINNING
from edgekd.tune.axes import AXES, BLOCK_BASE, DURATION, Room, candidates, changes

TWO = SessionOptions(threads=2, threads_requested=2, spinning=True)
ROOM = Room(most=4, physical=None, branches=True, onnxruntime=(1, 32))


def names(axis: str, options: SessionOptions = TWO, room: Room = ROOM) -> list[str]:
    return list(candidates(axis, options, room))


@pytest.mark.parametrize(
    ("most", "physical", "numbers"),
    [
        (1, None, []),
        (4, None, [1, 3, 4]),
        (8, 3, [1, 3, 4, 5, 6, 7, 8]),
        (12, 6, [1, 4, 6, 8, 12]),
        (64, 24, [1, 4, 8, 16, 24, 32, 64]),
        (16, 32, [1, 4, 8, 16]),
    ],
)
def test_threads_are_every_number_or_powers_of_two_with_the_physical_cores(
    most: int, physical: int | None, numbers: list[int]
) -> None:
    options = replace(TWO, threads=min(2, most))
    found = candidates("threads", options, replace(ROOM, most=most, physical=physical))
    assert [each.threads for each in found.values()] == numbers
    assert all(each.threads == each.threads_requested for each in found.values())


def test_pinned_threads_are_not_pinned_in_another_number() -> None:
    pinned = replace(TWO, session_config={AFFINITIES: "1", "session.other": "1"})
    assert all(each.session_config == {"session.other": "1"} for each in candidates("threads", pinned, ROOM).values())


def test_one_thread_has_nobody_to_spin_for() -> None:
    one = replace(TWO, threads=1)
    assert names("spinning", one) == names("blocks", one) == []
    assert names("spinning") == ["no spinning", "spinning within an inference", "spinning for 1 ms"]
    assert names("spinning", replace(TWO, spinning=False))[0] == "spinning"


def test_an_older_runtime_is_not_given_an_entry_that_it_ignores() -> None:
    assert "spinning for 1 ms" not in names("spinning", room=replace(ROOM, onnxruntime=(1, 25)))


def test_ways_of_spinning_replace_one_another() -> None:
    stopping = replace(TWO, session_config={STOP_SPINNING: "1", "session.other": "1"})
    found = candidates("spinning", stopping, ROOM)
    assert found["spinning"].session_config == {"session.other": "1"}
    assert found["spinning for 1 ms"].session_config == {DURATION: "1000", "session.other": "1"}
    assert "spinning within an inference" not in found


def test_parallel_execution_needs_branches_and_takes_no_more_threads() -> None:
    assert names("execution", room=replace(ROOM, branches=False)) == []
    assert names("execution", room=replace(ROOM, most=1)) == []
    for most in (2, 3, 4, 16):
        found = candidates("execution", TWO, replace(ROOM, most=most))
        assert found
        assert all(each.execution_mode == "parallel" for each in found.values())
        assert all(each.threads * each.inter_op_threads <= most for each in found.values())
    assert names("execution", room=replace(ROOM, most=2)) == [
        "parallel, 2 branches x 1 thread(s)",
        "parallel, 2 branches x 1 thread(s), spinning",
    ]
    assert not any("spinning" in name for name in names("execution", replace(TWO, spinning=False)))


def test_nothing_is_offered_that_changes_outputs_or_holds_for_more_than_the_session() -> None:
    every = [each for axis in AXES for each in candidates(axis, TWO, ROOM).values()]
    keys = {key for each in every for key in each.session_config}
    assert keys <= {STOP_SPINNING, DURATION, BLOCK_BASE, "session.inter_op.allow_spinning"}


@pytest.mark.parametrize("axis", AXES)
def test_what_the_options_have_already_is_not_tried(axis: str) -> None:
    for options in (TWO, replace(TWO, graph_optimization="basic", arena=False, mem_pattern=False)):
        assert all(changes(each, options) for each in candidates(axis, options, ROOM).values())


def test_another_provider_is_tuned_by_its_graph_alone() -> None:
    cuda = replace(TWO, provider="CUDAExecutionProvider")
    assert [axis for axis in AXES if names(axis, cuda)] == ["graph optimisation"]


def test_a_plan_of_memory_is_not_offered_where_there_is_none() -> None:
    assert names("memory pattern", replace(TWO, execution_mode="parallel")) == []
    assert names("memory pattern") == ["no memory pattern"]


def test_changes_name_fields_and_entries() -> None:
    other = replace(TWO, threads=1, threads_requested=1, arena=False, session_config={"a": "1"})
    assert changes(other, TWO) == {"threads": 1, "arena": False, "a": "1"}
    assert changes(TWO, other) == {"threads": 2, "arena": True, "a": None}
    assert changes(TWO, replace(TWO, threads_requested=9)) == {}
