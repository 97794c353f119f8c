"""Which cell comes next, and which candidate is chosen."""

from edgekd.study.process import Failed, Trained
from edgekd.study.schedule import Schedule

from .sample import finished, result, whole


def scored(schedule: Schedule, scores: dict[str, float | None]) -> None:
    """Run everything; a cell's validation accuracy is that of the table, None fails it."""
    while (cell := schedule.take()) is not None:
        score = scores.get(cell.name, 0.5)
        made = result(cell)
        made.report["student"]["validation_top1"] = score
        schedule.finish(cell, made if score is not None else Failed(message="diverged", exit_code=2))


def test_every_candidate_comes_before_any_second_seed() -> None:
    schedule = Schedule(whole(methods=("ce", "kd"), seeds=2, count=3))
    names = []
    while (cell := schedule.take()) is not None:
        names.append(cell.name)
        schedule.finish(cell, result(cell))
    assert names[:4] == ["ce-seed0", "kd-0.9-4-seed0", "kd-2.7-4-seed0", "kd-0.9-8-seed0"]
    assert [name[-5:] for name in names[4:]] == ["seed1", "seed1"]
    assert schedule.done == schedule.total == 6


def test_the_teacher_s_cache_is_filled_by_one_cell_while_only_labels_run_beside_it() -> None:
    schedule = Schedule(whole(methods=("kd", "ce"), seeds=1, count=3))
    first, beside = schedule.take(), schedule.take()
    assert first is not None and beside is not None
    assert (first.name, beside.name) == ("kd-0.9-4-seed0", "ce-seed0")
    assert schedule.take() is None
    schedule.finish(first, Failed(message="killed", exit_code=4))
    again = schedule.take()
    assert again is not None and schedule.take() is None  # it may have left the cache half full
    schedule.finish(again, result(again))
    assert schedule.take() is not None


def test_the_best_on_validation_is_chosen_and_ties_go_to_the_nearer_to_the_default() -> None:
    schedule = Schedule(whole(methods=("kd",), seeds=2, count=6))
    scored(schedule, {"kd-2.7-4-seed0": 0.8, "kd-0.9-2-seed0": 0.8, "kd-0.9-4-seed0": 0.7})
    assert schedule.chosen["kd"] == {"kd_weight": 2.7, "temperature": 4.0}
    assert isinstance(schedule.results["kd-2.7-4-seed1"], Trained)


def test_a_candidate_that_fails_is_not_chosen() -> None:
    schedule = Schedule(whole(methods=("kd",), seeds=1, count=2))
    scored(schedule, {"kd-0.9-4-seed0": None, "kd-2.7-4-seed0": 0.1})
    assert schedule.chosen["kd"] == {"kd_weight": 2.7, "temperature": 4.0}


def test_an_arm_whose_candidates_all_fail_loses_no_other_arm() -> None:
    failing = ("lskd-9-2-seed0", "lskd-27-2-seed0")
    schedule = finished(methods=("kd", "lskd"), count=2, failing=failing)
    assert schedule.chosen["lskd"] is None
    assert schedule.chosen["kd"] is not None
    assert schedule.done == schedule.total == 2 * 2 + 2
