"""Rows of a file read as numpy reads an array's, whatever is asked for."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgekd.errors import EnvironmentFault
from edgekd.rows import Rows, Stored, chunks, places, take

DTYPES = [np.dtype(name) for name in ("u1", "<i2", "<i4", "<f4")]


def stored(array: np.ndarray[Any, Any], path: Path, *, offset: int = 0) -> Rows:
    path.write_bytes(bytes(offset) + array.tobytes())
    return Rows(Stored(path, row=array.shape[1:], dtype=array.dtype, count=len(array), offset=offset))


def same(found: Any, expected: Any) -> None:
    assert isinstance(found, np.ndarray) and found.flags.c_contiguous and found.flags.writeable and found.flags.owndata
    assert found.dtype == expected.dtype and found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rows") / "rows.bin"


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_rows_read_as_an_array_does(data: st.DataObject, path: Path) -> None:
    shape = data.draw(arrays.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=5))
    array = data.draw(arrays.arrays(data.draw(st.sampled_from(DTYPES)), shape))
    offset = data.draw(st.integers(0, 40))
    rows = stored(array, path, offset=offset)
    n = len(array)
    index = np.array(data.draw(st.lists(st.integers(-n, n - 1), max_size=12)), dtype=np.int64)
    part = data.draw(st.slices(n))
    mask = data.draw(arrays.arrays(np.bool_, (n,)))
    for key in (index, part, mask):
        same(rows[key], array[key])
        same(rows.take(key)[:], array[key])
        taken = rows.take(index)
        assert (taken.shape, taken.dtype, taken.ndim, len(taken)) == (
            array[index].shape,
            array.dtype,
            array.ndim,
            len(index),
        )
        assert taken.nbytes == array[index].nbytes
    again = np.array(
        data.draw(st.lists(st.integers(0, max(0, len(index) - 1)), max_size=6 * bool(len(index)))), np.int64
    )
    same(rows.take(index).take(again)[:], array[index][again])
    np.testing.assert_array_equal(list(rows), array)
    np.testing.assert_array_equal(rows[int(part.start or 0) % n], array[int(part.start or 0) % n])
    np.testing.assert_array_equal(np.asarray(rows), array)
    joined = np.concatenate([*chunks(rows, chunk_bytes=data.draw(st.integers(1, 200)))])
    np.testing.assert_array_equal(joined, array)


def test_axes_are_arranged_anew_as_they_are_read(tmp_path: Path) -> None:
    array = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    turned = stored(array, tmp_path / "rows.bin").transpose(0, 3, 1, 2)
    assert turned.shape == (2, 3, 3, 4)
    same(turned[:], np.ascontiguousarray(array.transpose(0, 3, 1, 2)))
    np.testing.assert_array_equal(turned.take(np.array([1]))[0], array[1].transpose(2, 0, 1))
    for wrong in ((1, 0, 2, 3), (3, 2, 1, 0)):
        with pytest.raises(ValueError, match="expected 0 first"):
            stored(array, tmp_path / "rows.bin").transpose(*wrong)


@settings(max_examples=30, deadline=None)
@given(length=st.integers(1, 6), index=st.lists(st.integers(0, 4), max_size=8))
def test_windows_share_what_the_file_holds_once(length: int, index: list[int], path: Path) -> None:
    readings = np.arange(20, dtype=np.float32).reshape(10, 2)
    kept = stored(readings, path)
    places_ = np.array(index, dtype=np.int64)
    windows = Rows(kept.stored.overlapping(length), places_)
    expected = np.lib.stride_tricks.sliding_window_view(readings, length, axis=0).transpose(0, 2, 1)[places_]
    assert windows.shape == expected.shape
    np.testing.assert_array_equal(windows[:], expected)
    assert windows.stored.count == 10 - length + 1


def test_slices_over_all_samples_hold_whole_batches() -> None:
    array = np.zeros((10, 7), dtype=np.uint8)
    assert [(p.start, p.stop) for p in places(array, chunk_bytes=30)] == [(0, 4), (4, 8), (8, 10)]
    assert [(p.start, p.stop) for p in places(array, chunk_bytes=30, multiple=3)] == [(0, 3), (3, 6), (6, 9), (9, 10)]
    assert [(p.start, p.stop) for p in places(array, chunk_bytes=1, multiple=8)] == [(0, 8), (8, 10)]
    assert take(array, np.array([1, 2])).shape == (2, 7)


def test_an_index_that_numpy_refuses_is_refused(tmp_path: Path) -> None:
    rows = stored(np.zeros((3, 2), dtype=np.uint8), tmp_path / "rows.bin")
    for wrong in (3, -4, np.array([0, 3]), (slice(None), 0), np.zeros((1, 1), dtype=np.int64)):
        with pytest.raises(IndexError):
            rows[wrong]
    with pytest.raises(ValueError, match="no array in memory"):
        np.array(rows, copy=False)


def test_a_file_that_became_shorter_is_named_and_kills_nobody(tmp_path: Path) -> None:
    path = tmp_path / "rows.bin"
    rows = stored(np.zeros((100, 50), dtype=np.uint8), path)
    with path.open("r+b") as file:
        file.truncate(1000)
    assert rows[:20].shape == (20, 50)
    with pytest.raises(
        EnvironmentFault, match=r"rows.bin: ends at byte 1000, in the middle of the samples; .*run again"
    ):
        rows[:21]
    path.unlink()
    with pytest.raises(EnvironmentFault, match="cannot be opened"):
        Stored(path, row=(2,), dtype=np.uint8, count=1)
