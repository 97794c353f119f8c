"""The teacher-logit cache: what comes back is what the teacher said, and what cannot be kept is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd import teacher_logits
from edgekd.errors import BadInputError
from edgekd.progress import Progress
from edgekd.teacher_logits import stored
from edgekd.teacher_logits.layout import Layout

from .kept import ABOUT, CLASSES, DATA, DIGESTS, SAMPLES, TRUTH, VIEWS, Teacher, cache, check, refill


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
