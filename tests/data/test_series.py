"""Windows of readings from .npz files, and whole groups in one split."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd import data
from edgekd.data.series import holds_series, read_series_npz
from edgekd.errors import BadInputError

X = np.random.default_rng(0).normal(size=(60, 16, 3))
Y = np.arange(60) % 3
SUBJECTS = np.array([f"s{number // 6}" for number in range(60)])


def npz(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


def test_windows_with_a_point_are_series_and_pixels_are_images(tmp_path: Path) -> None:
    assert holds_series(npz(tmp_path, x=X, y=Y))
    assert not holds_series(npz(tmp_path, x=np.zeros((3, 4, 4), dtype=np.uint8), y=Y[:3]))


def test_the_arrays_become_float32_windows_with_labels_groups_and_channels(tmp_path: Path) -> None:
    pool = read_series_npz(npz(tmp_path, x=X, y=Y, groups=SUBJECTS, channels=np.array(["a", "b", "c"])), classes=None)
    assert (pool.kind, pool.classes, pool.front) == ("series", ("0", "1", "2"), {"channels": ["a", "b", "c"]})
    assert pool.train.inputs.dtype == np.float32
    assert np.array_equal(pool.train.inputs, X.astype(np.float32))
    assert pool.train.groups is not None and pool.train.groups.tolist() == SUBJECTS.tolist()


def test_one_channel_needs_no_axis_and_classes_may_be_strings_or_count_from_one(tmp_path: Path) -> None:
    pool = read_series_npz(npz(tmp_path, x=X[..., 0], y=Y + 1), classes=None)
    assert (pool.train.inputs.shape, pool.classes) == ((60, 16, 1), ("1", "2", "3"))
    named = read_series_npz(npz(tmp_path, x=X, y=np.array(["run", "walk", ""])[Y]), classes=None)
    assert named.classes == ("run", "walk") and named.train.labels[:3].tolist() == [0, 1, -1]
    given = read_series_npz(npz(tmp_path, x=X, y=Y), classes=("c", "b", "a"))
    assert given.classes == ("c", "b", "a") and given.train.labels[:3].tolist() == [0, 1, 2]


def test_no_subject_stands_in_two_splits(tmp_path: Path) -> None:
    found = data.load(str(npz(tmp_path, x=X, y=Y, groups=SUBJECTS)), calibration_samples=6)
    assert (found.kind, found.input_shape, found.channels) == ("series", (16, 3), 3)
    of = {name: set(getattr(found, name).groups.tolist()) for name in ("train", "validation", "test")}
    assert not of["train"] & of["test"] and not of["train"] & of["validation"] and not of["validation"] & of["test"]
    assert sum(found.counts().values()) == 60


def test_a_subject_in_two_given_splits_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = npz(
        tmp_path, x_train=X[:40], y_train=Y[:40], groups_train=SUBJECTS[:40], x_test=X[40:], y_test=Y[40:],
        groups_test=SUBJECTS[40:],
    )  # fmt: skip
    with pytest.raises(BadInputError, match=r"group 's6' is in train and in test"):
        data.load(str(path), calibration_samples=6)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_a_reading_that_is_not_finite_is_named_by_window_row_and_channel(value: float, tmp_path: Path) -> None:
    x = X.copy()
    x[7, 3, 2] = value
    with pytest.raises(BadInputError, match=r"'x' holds .* in window 7, row 3, channel 2 \(1 such readings\)"):
        read_series_npz(npz(tmp_path, x=x, y=Y), classes=None)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": Y}, r"array 'x' is missing \(found: y\)"),
        ({"x": X[:, :0], "y": Y}, r"shape \(60, 0, 3\); expected numbers, \(windows, length, channels\)"),
        ({"x": np.array(["a", "b"]), "y": Y[:2]}, r"expected numbers"),
        ({"x": X, "y": Y[:5]}, r"'y' is int64 of shape \(5,\); expected 60 integers or strings"),
        ({"x": X, "y": Y * 1.0}, r"'y' is float64"),
        ({"x": X}, r"no window has a label"),
        ({"x": X, "y": Y, "groups": SUBJECTS[:5]}, r"'groups' is of shape \(5,\); expected 60 names"),
        ({"x": X, "y": Y, "channels": np.array(["a"])}, r"'channels' has 1 names for 3 channels"),
        ({"x": X, "y": Y, "classes": np.array(["a", "b"])}, r"label 2 of window 2 is outside 0\.\.1"),
        ({"x_train": X, "y_train": Y, "x_test": X[:, :8], "y_test": Y}, r"\(16, 3\), those of test \(8, 3\)"),
    ],
)
def test_arrays_that_are_not_windows_are_refused(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=message):
        read_series_npz(npz(tmp_path, **arrays), classes=None)


def test_a_name_that_is_none_of_the_classes_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"label 'wakl' of window 1 is none of the classes \(run, walk\).*'walk'"):
        read_series_npz(npz(tmp_path, x=X[:2], y=np.array(["run", "wakl"])), classes=("run", "walk"))
