"""The teacher-logit cache, with real kills, real processes and a real full disk."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekd import teacher_logits
from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.progress import Progress
from edgekd.teacher_logits import TeacherLogits, stored
from edgekd.teacher_logits.layout import Layout

Floats = npt.NDArray[np.float32]

VIEWS, SAMPLES, CLASSES, BATCH = 2, 5_000, 10, 100
"""Chunks of 2,000 rows: three a view, the last one shorter."""
DATA, DIGESTS, ABOUT = "teacher-logits.bin", "teacher-logits.digests", "teacher-logits.json"


def logits(view: int, start: int, stop: int, *, classes: int = CLASSES, seed: int = 0) -> Floats:
    """What this test's teacher says: for each sample its own numbers."""
    rows = [np.random.default_rng([seed, view, n]).normal(0, 4, classes) for n in range(start, stop)]
    return np.asarray(rows, dtype=np.float32)


TRUTH = np.stack([logits(view, 0, SAMPLES) for view in range(VIEWS)])


class Teacher:
    """Counts what it is asked."""

    def __init__(self, truth: Floats = TRUTH) -> None:
        self.truth, self.asked = truth, list[tuple[int, int, int]]()

    def __call__(self, view: int, start: int, stop: int) -> Floats:
        self.asked.append((view, start, stop))
        return self.truth[view, start:stop]


def cache(folder: Path, **changes: Any) -> AbstractContextManager[TeacherLogits]:
    """The cache of the tests' shape."""
    shape = {"views": VIEWS, "samples": SAMPLES, "classes": CLASSES, "batch_size": BATCH}
    return teacher_logits.opened(folder, **({"key": "key", "limit_bytes": 10**7} | shape | changes))


def refill(folder: Path, **changes: Any) -> list[tuple[int, int, int]]:
    """Fill; check that all is right afterwards; say what the teacher was asked."""
    teacher = Teacher()
    with cache(folder, **changes) as kept:
        kept.fill(teacher)
        check(kept)
    return teacher.asked


def check(kept: TeacherLogits, truth: Floats = TRUTH) -> None:
    index = np.random.default_rng(0).permutation(truth.shape[1])
    for view in range(len(truth)):
        np.testing.assert_array_equal(kept.read(view, index), truth[view, index].astype(np.float16).astype(np.float32))


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """The folder of a full cache's one entry."""
    refill(tmp_path)
    return tmp_path / "key"


def test_every_row_comes_back_as_fp16_and_the_teacher_is_asked_once_for_each(tmp_path: Path) -> None:
    chunks = [(v, s, min(s + 2_000, SAMPLES)) for v in range(VIEWS) for s in (0, 2_000, 4_000)]
    assert refill(tmp_path) == chunks
    assert refill(tmp_path) == []


def test_a_live_teacher_rounded_by_stored_has_the_bits_of_the_cache(tmp_path: Path) -> None:
    index = np.array([4_999, 0, 17, 17])
    for top_k in (None, 3):
        with cache(tmp_path, top_k=top_k) as kept:
            kept.fill(Teacher())
            live = stored(TRUTH[1, index], top_k=top_k)
            assert kept.read(1, index).tobytes() == live.tobytes()


def test_rows_read_are_the_caller_s_own(full: Path) -> None:
    index = np.arange(128)
    with cache(full.parent) as kept:
        first = kept.read(0, index)
        first[:] = 7
        assert first.flags.c_contiguous and first.dtype == np.float32
        np.testing.assert_array_equal(kept.read(0, index), TRUTH[0, :128].astype(np.float16))


def test_an_empty_batch_and_a_strided_one_can_be_read(full: Path) -> None:
    with cache(full.parent) as kept:
        assert kept.read(0, np.arange(0)).shape == (0, CLASSES)
        np.testing.assert_array_equal(kept.read(1, np.arange(40)[::-4]), TRUTH[1, 39::-4].astype(np.float16))


def test_every_finite_fp16_number_is_widened_to_the_bit() -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = halves[np.isfinite(halves)].astype(np.float32).reshape(-1, 2)
    assert stored(finite).tobytes() == finite.tobytes()  # both zeros, subnormals and the largest among them


@pytest.mark.parametrize(("view", "index"), [(2, [0]), (-1, [0]), (0, [5_000]), (0, [3, -1]), (1, [-(2**63)])])
def test_a_view_or_sample_that_does_not_exist_is_an_index_error(full: Path, view: int, index: list[int]) -> None:
    with cache(full.parent) as kept, pytest.raises(IndexError, match=r"expected 0 to (1|4999)"):
        kept.read(view, np.array(index, dtype=np.int64))


def test_samples_that_are_not_int64_are_refused(full: Path) -> None:
    with cache(full.parent) as kept, pytest.raises(TypeError, match="expected int64"):
        kept.read(0, np.arange(4, dtype=np.int32))  # type: ignore[arg-type]


def test_a_cache_that_is_not_full_is_not_read(tmp_path: Path) -> None:
    with cache(tmp_path) as kept, pytest.raises(BadInputError, match="6 of 6 chunks missing or damaged"):
        kept.read(0, np.arange(4))


def test_a_cache_that_was_closed_is_not_read(full: Path) -> None:
    with cache(full.parent) as kept:
        check(kept)
    with pytest.raises(ValueError, match="closed file"):
        kept.read(0, np.arange(4))


# Top k


def test_a_top_k_row_worked_by_hand() -> None:
    row = np.array([[1.0, 5.0, 1.0, 3.0, 1.0]], dtype=np.float32)
    assert stored(row, top_k=2).tolist() == [[1.0, 5.0, 1.0, 3.0, 1.0]]  # three equal ones: their mean weight is theirs
    row = np.array([[0.0, 9.0, np.log(3), 8.0]], dtype=np.float32)
    # ln((e^0 + e^ln 3) / 2) = ln 2 for each of the two left out, in fp16
    assert stored(row, top_k=2).tolist() == [[float(np.float16(np.log(2))), 9.0, float(np.float16(np.log(2))), 8.0]]


@pytest.mark.parametrize("classes", [101, 50_000, 70_000])
def test_the_top_100_are_exact_and_what_is_left_out_keeps_its_log_sum_exp(classes: int) -> None:
    truth = np.random.default_rng(1).normal(0, 3, (8, classes)).astype(np.float32)
    kept = stored(truth, top_k=100)
    for row, found in zip(truth, kept, strict=True):
        order = np.argsort(row)
        np.testing.assert_array_equal(found[order[-100:]], row[order[-100:]].astype(np.float16))
        rest, dropped = found[order[:-100]], row[order[:-100]].astype(np.float64)
        assert len(set(rest.tolist())) == 1
        # `rest` is one fp16 number: half a unit in the last of 11 bits
        assert np.isclose(_log_sum_exp(rest), _log_sum_exp(dropped), rtol=0, atol=2**-11 * max(1, abs(rest[0])))


def _log_sum_exp(values: npt.NDArray[Any]) -> float:
    return float(np.log(np.exp(values.astype(np.float64)).sum()))


def test_a_wide_top_k_cache_takes_little_space(tmp_path: Path) -> None:
    truth = np.random.default_rng(2).normal(0, 3, (1, 20, 50_000)).astype(np.float32)
    with cache(tmp_path, views=1, samples=20, classes=50_000, top_k=100, batch_size=128) as kept:
        kept.fill(Teacher(truth))
        assert kept.size_bytes == 20 * (100 * (2 + 2) + 2) + 8
        index = np.array([15, 3])
        assert kept.read(0, index).tobytes() == stored(truth[0, index], top_k=100).tobytes()


def test_fp16_and_top_k_under_one_key_are_two_entries(full: Path) -> None:
    assert refill_top(full.parent, top_k=3) == 6
    assert refill_top(full.parent, top_k=4) == 6
    assert refill(full.parent) == []
    assert {entry.folder.name for entry in teacher_logits.entries(full.parent)} == {"key", "key-top3", "key-top4"}


def refill_top(folder: Path, *, top_k: int) -> int:
    teacher = Teacher()
    with cache(folder, top_k=top_k) as kept:
        kept.fill(teacher)
    return len(teacher.asked)


# Sizes, shapes and bad input


@given(
    views=st.integers(1, 4),
    samples=st.integers(1, 10_000),
    classes=st.integers(2, 60_000),
    batch=st.integers(1, 5_000),
)
def test_chunks_cover_every_row_once_in_whole_batches(views: int, samples: int, classes: int, batch: int) -> None:
    layout = Layout.of("k", views=views, samples=samples, classes=classes, top_k=None, batch_size=batch)
    end = 0
    for number, chunk in enumerate(layout.chunks()):
        assert (chunk.number, chunk.offset) == (number, end)
        assert chunk.start % batch == 0 and (chunk.stop % batch == 0 or chunk.stop == samples)
        assert chunk.stop - chunk.start <= max(batch, 2_048)
        assert 4 * classes * (chunk.stop - chunk.start) <= max(4 * classes * batch, 2**25)
        end += chunk.size
    assert end == layout.data_bytes == 2 * views * samples * classes
    assert layout.digest_bytes == 8 * len(layout.chunks())


def test_the_size_is_known_before_anything_is_written_and_true_afterwards(tmp_path: Path) -> None:
    with cache(tmp_path) as kept:
        assert kept.size_bytes == 2 * 5_000 * 10 * 2 + 6 * 8
        assert not (tmp_path / "key" / ABOUT).exists()
        kept.fill(Teacher())
    place = tmp_path / "key"
    assert (place / DATA).stat().st_size + (place / DIGESTS).stat().st_size == kept.size_bytes
    assert (place / DATA).stat().st_blocks * 512 >= 200_000


def test_a_cache_over_its_limit_is_refused_with_both_sizes_and_leaves_no_trace(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"need 200\.0 kB \(2 views.*limit of 200\.0 kB; raise .*n_views"):
        cache(tmp_path / "new", limit_bytes=200_047).__enter__()
    assert not (tmp_path / "new").exists()
    with cache(tmp_path / "new", limit_bytes=200_048):
        pass


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"views": 0}, "views = 0; expected at least 1"),
        ({"samples": 0}, "samples = 0"),
        ({"classes": 1}, "classes = 1; expected at least 2"),
        ({"batch_size": 0}, "batch_size = 0"),
        ({"top_k": 0}, "expected 1 to 9"),
        ({"top_k": 10}, "the top 10 of 10 classes; .*teacher_cache = 'fp16'"),
        ({"key": "../x"}, "expected letters"),
        ({"key": ""}, "expected letters"),
    ],
)
def test_a_bad_argument_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message), cache(tmp_path, **changes):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 65_520.0, -1e30])
def test_a_logit_that_fp16_cannot_hold_is_named_and_what_came_before_it_stays(tmp_path: Path, bad: float) -> None:
    truth = TRUTH.copy()
    truth[1, 2_345, 6] = bad
    for top_k in (None, 3):
        with (
            cache(tmp_path, top_k=top_k) as kept,
            pytest.raises(BadInputError, match="sample 2345, view 1, class 6 is"),
        ):
            kept.fill(Teacher(truth))
    assert refill(tmp_path) == [(1, 2_000, 4_000), (1, 4_000, 5_000)]


def test_the_largest_numbers_that_fit_are_kept(tmp_path: Path) -> None:
    assert stored(np.array([[65_504.0, -65_519.0]], dtype=np.float32)).tolist() == [[65_504.0, -65_504.0]]


def test_a_teacher_for_other_classes_is_refused(tmp_path: Path) -> None:
    with cache(tmp_path) as kept, pytest.raises(BadInputError, match=r"shape \(2000, 9\); expected \(2000, 10\)"):
        kept.fill(Teacher(TRUTH[:, :, :9]))


def test_progress_tells_the_size_before_anything_is_written_and_ends_full(tmp_path: Path) -> None:
    heard: list[tuple[Progress, bool]] = []
    with cache(tmp_path) as kept:
        kept.fill(Teacher(), listener=lambda p: heard.append((p, (tmp_path / "key" / ABOUT).exists())))
    first, written = heard[0]
    assert first == Progress(stage="teacher-logits", done=0, total=10_000, note=f"200.0 kB in {tmp_path / 'key'}")
    assert not written
    assert [p.done for p, _ in heard] == [0, 2_000, 4_000, 5_000, 7_000, 9_000, 10_000, 10_000]
    heard.clear()
    with cache(tmp_path) as kept:
        kept.fill(Teacher(), listener=lambda p: heard.append((p, True)))
    assert [p.done for p, _ in heard] == [10_000]


# Damage


@pytest.mark.parametrize("name", [DATA, DIGESTS])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_costs_one_chunk(full: Path, name: str, share: float, bit: int) -> None:
    place = int(share * (full / name).stat().st_size)
    _flip(full / name, place, bit)
    with cache(full.parent) as kept, pytest.raises(BadInputError, match="1 of 6 chunks"):
        kept.read(0, np.arange(4))
    number = place // 8 if name == DIGESTS else (place // 100_000) * 3 + place % 100_000 // 40_000
    view, start = divmod(number, 3)
    assert refill(full.parent) == [(view, start * 2_000, min(start * 2_000 + 2_000, SAMPLES))]


def test_a_flipped_bit_anywhere_in_the_description_costs_nothing_and_is_mended(full: Path) -> None:
    good = (full / ABOUT).read_bytes()
    for place in range(len(good)):
        _flip(full / ABOUT, place, place % 8)
        teacher_logits.entries(full.parent)
        assert refill(full.parent) == []
        assert (full / ABOUT).read_bytes() == good


def _flip(path: Path, place: int, bit: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1 << bit
    path.write_bytes(raw)


@pytest.mark.parametrize("name", [DATA, DIGESTS, ABOUT])
@pytest.mark.parametrize("share", [0, 0.3, 0.999])
def test_a_cut_file_costs_the_chunks_that_are_gone(full: Path, name: str, share: float) -> None:
    size = int(share * (full / name).stat().st_size)
    os.truncate(full / name, size)
    assert not teacher_logits.entries(full.parent)[0].complete
    lost = {DATA: {0: 6, 60_000: 5, 199_800: 1}, DIGESTS: {0: 6, 14: 4, 47: 0}, ABOUT: {}}[name].get(size, 0)
    assert len(refill(full.parent)) == lost
    assert teacher_logits.entries(full.parent)[0].complete


@pytest.mark.parametrize("name", [DATA, DIGESTS, ABOUT])
def test_a_file_that_is_gone_or_too_long_is_put_right(full: Path, name: str) -> None:
    with (full / name).open("ab") as file:
        file.write(b"more")
    assert refill(full.parent) == []
    (full / name).unlink()
    assert len(refill(full.parent)) == (0 if name == ABOUT else 6)
    assert refill(full.parent) == []


def test_the_whole_entry_of_another_key_is_foreign(full: Path) -> None:
    full.rename(full.parent / "other")
    assert len(refill(full.parent, key="other")) == 6
    assert json.loads((full.parent / "other" / ABOUT).read_text())["key"] == "other"
    assert refill(full.parent, key="other") == []


def test_the_data_of_another_key_under_this_key_s_digests_is_foreign(full: Path) -> None:
    with cache(full.parent, key="other") as kept:
        kept.fill(Teacher(TRUTH[::-1] + 1))
    (full.parent / "other" / DATA).replace(full / DATA)
    assert len(refill(full.parent)) == 6


def test_chunks_that_changed_places_are_found(full: Path) -> None:
    raw, digests = (full / DATA).read_bytes(), (full / DIGESTS).read_bytes()
    (full / DATA).write_bytes(raw[100_000:] + raw[:100_000])  # the two views, digests and all
    (full / DIGESTS).write_bytes(digests[24:] + digests[:24])
    assert len(refill(full.parent)) == 6


def test_another_shape_under_the_same_key_is_computed_anew(full: Path) -> None:
    with cache(full.parent, views=1, samples=700) as kept:
        kept.fill(Teacher())
        check(kept, TRUTH[:1, :700])
    assert (full / DATA).stat().st_size == 700 * 20
    assert len(refill(full.parent)) == 6


def test_nothing_but_zeros_is_not_taken_for_logits(full: Path) -> None:
    (full / DATA).write_bytes(bytes(200_000))
    assert len(refill(full.parent)) == 6


def test_a_teacher_that_fails_leaves_what_was_done(tmp_path: Path) -> None:
    teacher = Teacher()

    def fail(view: int, start: int, stop: int) -> Floats:
        if len(teacher.asked) == 4:
            raise ZeroDivisionError
        return teacher(view, start, stop)

    with cache(tmp_path) as kept, pytest.raises(ZeroDivisionError):
        kept.fill(fail)
    assert not teacher_logits.entries(tmp_path)[0].complete
    assert len(refill(tmp_path)) == 2


# Processes

FILLER = """
import os, sys, time
from pathlib import Path
import numpy as np
from edgekd import teacher_logits
from edgekd.errors import EdgekdError
folder, pause, worker, wait = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3] == "worker", sys.argv[4] == "wait"
truth = np.load(sys.argv[5], mmap_mode="r")
def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # in one piece: two processes write
def compute(view, start, stop):
    if worker and (view, start) == (0, 2000) and os.fork() == 0:
        say("worker", os.getpid())
        time.sleep(60)
        os._exit(0)
    say("compute", view, start)
    time.sleep(pause)
    return truth[view, start:stop]
try:
    with teacher_logits.opened(
        folder, key="key", views=2, samples=5000, classes=10, limit_bytes=10**9, batch_size=100, wait=wait
    ) as cache:
        cache.fill(compute)
        cache.read(1, np.arange(128))
        say("full")
        sys.stdin.read()
except EdgekdError as err:
    print(err)
    sys.exit(int(err.exit_code))
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def truth_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("truth") / "truth.npy"
    np.save(path, TRUTH)
    return path


@pytest.fixture
def start(tmp_path: Path, truth_file: Path) -> Iterator[Start]:
    """A function that starts a process which fills the cache, reads, and stays until its input is closed."""
    running: list[subprocess.Popen[str]] = []

    def start(*, pause: float = 0.0, worker: bool = False, wait: bool = False) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", FILLER, str(tmp_path), str(pause), *(["worker"] if worker else ["-"])]
        command += ["wait" if wait else "-", str(truth_file)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def heard(process: "subprocess.Popen[str]", word: str) -> list[str]:
    """The first line with this word."""
    assert process.stdout is not None
    for line in process.stdout:
        if word in line:
            return line.split()
    raise AssertionError(f"the process ended without '{word}'")


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
    _flip(full / DATA, 5, 0)
    with cache(full.parent) as kept, pytest.raises(BadInputError, match="in use by another"):
        kept.fill(Teacher())
    reader.communicate()
    assert len(refill(full.parent)) == 1


# The disk

MOUNTS = sys.platform == "linux" and os.geteuid() == 0


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    """A file system of this size, mounted while inside."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("this machine mounts nothing")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.skipif(not MOUNTS, reason="only root mounts a small disk")
def test_a_full_disk_is_told_with_the_size_needed_before_the_teacher_is_asked(tmp_path: Path) -> None:
    teacher = Teacher()
    with small_disk(tmp_path / "disk", 100_000) as disk:
        with (
            cache(disk) as kept,
            pytest.raises(EnvironmentFault, match=r"need 200\.0 kB of disk .* is free there; free"),
        ):
            kept.fill(teacher)
        assert teacher.asked == []
        assert sum(path.stat().st_blocks for path in disk.rglob("*") if path.is_file()) == 0
        (disk / "still-room").write_bytes(bytes(50_000))


@pytest.mark.skipif(not MOUNTS, reason="only root mounts a small disk")
def test_what_was_reserved_is_still_there_when_others_fill_the_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 400_000) as disk:

        def compute(view: int, start: int, stop: int) -> Floats:
            with (disk / "greedy").open("ab", buffering=0) as file, pytest.raises(OSError, match="No space left"):
                while True:
                    file.write(bytes(4_096))
            return TRUTH[view, start:stop]

        with cache(disk) as kept:
            kept.fill(compute)
            check(kept)


LIMITED = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from edgekd import teacher_logits
from edgekd.errors import EnvironmentFault
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
def compute(view, start, stop):
    raise SystemExit("asked")
try:
    shape = dict(views=2, samples=5000, classes=10, limit_bytes=10**9, batch_size=100)
    with teacher_logits.opened(Path(sys.argv[1]), key="key", **shape) as cache:
        cache.fill(compute)
except EnvironmentFault as err:
    print(err)
    sys.exit(int(err.exit_code))
"""


def test_a_file_that_may_not_be_so_large_is_told_before_the_teacher_is_asked(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)], check=False, capture_output=True, text=True
    )
    assert process.returncode == 4, process.stderr
    assert "need 200.0 kB of disk" in process.stdout and "File too large" in process.stdout
    assert len(refill(tmp_path)) == 6


def test_a_folder_below_a_file_is_the_environment_s_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFault, match=r"choose another distill\.cache_folder"), cache(tmp_path / "file"):
        pass


# What is in a folder


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
