"""A teacher-logit cache and several processes, with real kills; and what is in a folder of caches."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from edgekd import teacher_logits
from edgekd.errors import BadInputError
from edgekd.teacher_logits.layout import Layout

from .kept import (
    ABOUT,
    BATCH,
    CLASSES,
    DATA,
    DIGESTS,
    SAMPLES,
    TRUTH,
    VIEWS,
    Start,
    Teacher,
    cache,
    flip,
    heard,
    refill,
)


@pytest.mark.parametrize("delay_s", [0.0, 0.01, 0.03])
def test_a_process_killed_while_it_fills_loses_one_chunk(tmp_path: Path, start: Start, delay_s: float) -> None:
    process = start(pause=0.02)
    heard(process, "compute 0 2000")
    if delay_s:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(delay_s)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (entry,) = teacher_logits.entries(tmp_path)
    assert not entry.complete
    asked = refill(tmp_path)
    assert 3 <= len(asked) <= 5 and (0, 0, 2_000) not in asked


def test_a_fill_killed_after_any_of_its_writes_is_never_taken_for_whole(tmp_path: Path) -> None:
    """Every state that a kill between two writes, or in the middle of one, can leave behind."""
    refill(tmp_path / "whole")
    whole = tmp_path / "whole" / "key"
    data, digests = (whole / DATA).read_bytes(), (whole / DIGESTS).read_bytes()
    for number, chunk in enumerate(Layout.of("key", **_shape()).chunks()):
        for written in (0, 1, chunk.size // 2, chunk.size):
            for told in (0, 3, 8) if written == chunk.size else (0,):
                place = tmp_path / "part" / "key"
                place.mkdir(parents=True, exist_ok=True)
                (place / DATA).write_bytes(data[: chunk.offset + written].ljust(len(data), b"\0"))
                (place / DIGESTS).write_bytes(digests[: 8 * number + told].ljust(len(digests), b"\0"))
                assert len(refill(tmp_path / "part")) == 6 - number - (told == 8)


def _shape() -> dict[str, Any]:
    return {"views": VIEWS, "samples": SAMPLES, "classes": CLASSES, "top_k": None, "batch_size": BATCH}


def test_a_worker_that_outlives_its_killed_parent_does_not_hold_the_cache(tmp_path: Path, start: Start) -> None:
    process = start(pause=0.05, worker=True)
    worker = int(heard(process, "worker")[1])
    assert worker > 1, "0 would be this process and its kin"
    process.send_signal(signal.SIGKILL)
    process.wait()
    os.kill(worker, 0)  # it lives
    try:
        assert 2 <= len(refill(tmp_path)) <= 5
    finally:
        os.kill(worker, signal.SIGKILL)


def test_a_second_process_that_would_fill_meanwhile_is_turned_away(tmp_path: Path, start: Start) -> None:
    first = start(pause=0.3)
    heard(first, "compute 0 0")
    second = start()
    out, _ = second.communicate()
    assert second.returncode == 2
    assert "in use by another edgekd process; wait until it ends" in out
    with pytest.raises(BadInputError, match="in use by another"), cache(tmp_path):
        pass
    heard(first, "full")
    assert refill(tmp_path) == []


def test_a_process_that_waits_finds_all_done(tmp_path: Path, start: Start) -> None:
    first = start(pause=0.1)
    heard(first, "compute 0 0")
    second = start(wait=True)
    assert heard(second, "")[0] == "full"  # it computed nothing


def test_two_processes_that_start_together_never_fill_both(tmp_path: Path, start: Start) -> None:
    both = [start(pause=0.01), start(pause=0.01)]
    codes = []
    for process in both:
        process.communicate()
        codes.append(process.returncode)
    assert 0 in codes and set(codes) <= {0, 2}
    assert refill(tmp_path) == []


def test_readers_of_a_full_cache_do_not_block_each_other(full: Path, start: Start) -> None:
    readers = [start(), start()]
    for reader in readers:
        heard(reader, "full")
    assert refill(full.parent) == []
    for reader in readers:
        reader.communicate()
        assert reader.returncode == 0


def test_a_damaged_cache_is_not_mended_under_another_reader(full: Path, start: Start) -> None:
    reader = start()
    heard(reader, "full")
    flip(full / DATA, 5, 0)
    with cache(full.parent) as kept, pytest.raises(BadInputError, match="in use by another"):
        kept.fill(Teacher())
    reader.communicate()
    assert len(refill(full.parent)) == 1


def test_entries_tell_what_is_there_and_the_one_used_last_comes_first(tmp_path: Path) -> None:
    assert teacher_logits.entries(tmp_path / "none") == ()
    refill(tmp_path, key="old")
    refill(tmp_path, key="new")
    with cache(tmp_path, key="part") as kept, pytest.raises(BadInputError):
        kept.fill(Teacher(TRUTH * 1e6))
    for name, when in (("old", 1_000), ("new", 2_000), ("part", 500)):
        os.utime(tmp_path / name / ABOUT, (when, when))
    found = teacher_logits.entries(tmp_path)
    assert [(e.key, e.complete, e.last_used.timestamp()) for e in found] == [
        ("new", True, 2_000),
        ("old", True, 1_000),
        ("part", False, 500),
    ]
    assert found[0].size_bytes == kept.size_bytes + (tmp_path / "new" / ABOUT).stat().st_size
    with cache(tmp_path, key="part"):
        pass
    assert teacher_logits.entries(tmp_path)[0].key == "part"  # to open it is to use it


def test_clear_removes_the_entries_and_nothing_else(full: Path) -> None:
    folder = full.parent
    (folder / "own").mkdir()
    (folder / "own" / "lock").touch()
    refill(folder, key="mixed")
    (folder / "mixed" / "own.txt").touch()
    assert {entry.key for entry in teacher_logits.clear(folder)} == {"key", "mixed"}
    left = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert left == ["mixed/own.txt", "own/lock"]
    assert not full.exists()
    assert len(refill(folder)) == 6


def test_clear_keeps_what_another_process_uses(full: Path, start: Start) -> None:
    refill(full.parent, key="idle")
    reader = start()
    heard(reader, "full")
    with pytest.raises(BadInputError, match=f"kept: {full}; wait"):
        teacher_logits.clear(full.parent)
    assert [entry.key for entry in teacher_logits.entries(full.parent)] == ["key"]
    reader.communicate()
    assert len(teacher_logits.clear(full.parent)) == 1


def test_a_process_that_waited_for_a_lock_that_was_cleared_away_starts_a_new_entry(full: Path, start: Start) -> None:
    from edgekd.teacher_logits.entry import held

    with held(full, exclusive=True):
        process = start(wait=True)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        for path in full.iterdir():
            path.unlink()
        full.rmdir()
    assert heard(process, "compute")[1:] == ["0", "0"]
    heard(process, "full")
    assert refill(full.parent) == []


def test_the_names_that_others_build_on_are_there() -> None:
    assert set(teacher_logits.__all__) == {"Entry", "TeacherLogits", "clear", "entries", "opened", "stored"}
