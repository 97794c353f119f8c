"""What a network is calibrated and judged on comes from the parts that a source has for it."""

import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd.data import pictures
from edgekd.data.for_model import ModelData, data_for_model, samples_for_model
from edgekd.data.image_folder import read_labelled_folder
from edgekd.data.parts import is_mapped, part
from edgekd.data.takes import Takes
from edgekd.errors import BadInputError

X = np.random.default_rng(0).integers(0, 256, (9, 6, 7, 1), dtype=np.uint8)
Y = np.arange(9) % 3
GIVEN: dict[str, Any] = {"shape": (None, 6, 7, 1), "dtype": "uint8"}


def found(source: Path, *, classes: tuple[str, ...] | None = None, **changed: Any) -> ModelData:
    limit = changed.pop("train_limit", None)
    return data_for_model(source, Takes(classes=classes, **GIVEN | changed), train_limit=limit)


def save(tmp_path: Path, **arrays: Any) -> Path:
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)
    return path


def test_train_calibrates_and_test_judges(tmp_path: Path) -> None:
    data = found(save(tmp_path, x_train=X, y_train=Y, x_test=X[:4] + 1, y_test=Y[:4]))
    assert data.train is not None
    np.testing.assert_array_equal(data.train.inputs, X)
    np.testing.assert_array_equal(data.test.inputs, X[:4] + 1)
    assert data.test.labels is not None
    np.testing.assert_array_equal(data.test.labels, Y[:4])


def test_x_alone_and_a_single_array_have_no_part_to_train_on(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    for source in (save(tmp_path, x=X), tmp_path / "x.npy"):
        data = found(source)
        assert data.train is data.test.labels is None
        np.testing.assert_array_equal(data.test.inputs, X)


def test_a_folder_with_train_and_test_gives_both_with_the_same_classes(image_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(image_folder, tmp_path / "split" / "train")
    shutil.copytree(image_folder, tmp_path / "split" / "test")
    (tmp_path / "split" / "test" / "top" / "00.png").unlink()
    data = found(tmp_path / "split", shape=(None, 8, 8, 1))
    assert data.train is not None
    assert (len(data.train.inputs), len(data.test.inputs)) == (36, 35)
    assert data.train.classes == data.test.classes == ("bottom", "middle", "top")
    turned = found(tmp_path / "split", shape=(None, 8, 8, 1), classes=("top", "middle", "bottom"))
    assert turned.train is not None
    assert turned.train.labels is not None
    assert turned.train.labels[0] == turned.test.labels[0] == 0  # type: ignore[index]
    assert found(image_folder, shape=(None, 8, 8, 1)).train is None


def test_a_limited_train_folder_gives_the_samples_that_calibration_draws_and_opens_no_other(
    image_folder: Path, tmp_path: Path
) -> None:
    for part_of in ("train", "test"):
        shutil.copytree(image_folder, tmp_path / "split" / part_of)
    for picture in sorted((tmp_path / "split" / "train" / "top").iterdir())[4:]:
        picture.unlink()  # 4, 12 and 12 pictures
    given: dict[str, Any] = {"shape": (None, 8, 8, 1)}
    whole = found(tmp_path / "split", **given)
    drawn = part(whole.train, whole.test, calibration_samples=7).calibration
    limited = found(tmp_path / "split", train_limit=7, **given)
    assert limited.train is not None and limited.train.labels is not None
    np.testing.assert_array_equal(limited.train.inputs, drawn.inputs)
    np.testing.assert_array_equal(limited.train.labels, drawn.labels)
    assert np.bincount(limited.train.labels).tolist() == [3, 3, 1]
    assert len(limited.test.inputs) == len(whole.test.inputs)
    again = part(limited.train, limited.test, calibration_samples=7).calibration
    np.testing.assert_array_equal(again.inputs, drawn.inputs)


@pytest.mark.parametrize(("limit", "decoded"), [(0, 1), (1, 1), (36, 36), (1_000, 36)])
def test_no_more_pictures_are_decoded_than_the_limit_says(
    limit: int, decoded: int, image_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    original = pictures.decode
    monkeypatch.setattr(pictures, "decode", lambda *given, name: opened.append(given) or original(*given, name=name))
    read_labelled_folder(image_folder, classes=None, resize=None, channels=1, limit=limit)
    assert len(opened) == decoded


def test_a_train_folder_of_other_classes_is_refused(image_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(image_folder, tmp_path / "split" / "test")
    shutil.copytree(image_folder, tmp_path / "split" / "train")
    (tmp_path / "split" / "train" / "top").rename(tmp_path / "split" / "train" / "sky")
    with pytest.raises(BadInputError, match=r"train/ has the classes .*'sky'.*, test/ .*'top'.*expected the same"):
        found(tmp_path / "split", shape=(None, 8, 8, 1))


def test_class_names_come_from_the_network_or_else_from_the_data(tmp_path: Path) -> None:
    named = save(tmp_path, x=X, classes=np.array(["a", "b"]))
    assert samples_for_model(named, Takes(classes=None, **GIVEN)).classes == ("a", "b")
    assert samples_for_model(named, Takes(classes=("a", "b"), **GIVEN)).classes == ("a", "b")
    unnamed = save(tmp_path, x=X)
    assert samples_for_model(unnamed, Takes(classes=("c", "d"), **GIVEN)).classes == ("c", "d")
    assert samples_for_model(unnamed, Takes(classes=None, **GIVEN)).classes == ()


@pytest.mark.parametrize(
    ("theirs", "labels"), [(("b", "a"), [1, 0, 1, 0]), (("c", "b", "a"), [2, 1, 2, 1]), (("a", "b"), [0, 1, 0, 1])]
)
def test_labels_are_mapped_by_name_onto_the_network_s_classes(
    theirs: tuple[str, ...], labels: list[int], tmp_path: Path
) -> None:
    data = found(save(tmp_path, x=X[:4], y=np.arange(4) % 2, classes=np.array(["a", "b"])), classes=theirs)
    assert data.test.classes == theirs
    assert data.test.labels is not None
    assert data.test.labels.tolist() == labels


def test_a_class_that_the_network_does_not_know_is_refused(tmp_path: Path) -> None:
    named = save(tmp_path, x=X, y=Y % 2, classes=np.array(["a", "b"]))
    with pytest.raises(BadInputError, match=r"class 'b' is none of the model's .*it tells apart: a, x\)"):
        found(named, classes=("a", "x"))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": X}, r"'x' is missing \(found: x_train\); expected x, or x_train and x_test"),
        ({"x_train": X[:0], "x_test": X}, "'x_train' is empty"),
        ({"x_train": X, "y_train": Y[:2], "x_test": X}, "'y_train' is int64 of shape \\(2,\\); expected 9 integers"),
        ({"x": np.uint8(3)}, "'x' is empty"),
        ({"x": X, "y": np.zeros((9, 6, 7), dtype=np.int64)}, "leave it out where the network is no classifier"),
    ],
)
def test_arrays_that_are_no_samples_are_named(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=message):
        found(save(tmp_path, **arrays))


def test_large_arrays_stay_in_their_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekd.data.for_model.MAP_BYTES", 1 << 20)
    large = np.random.default_rng(0).integers(0, 256, (4_000, 32, 32, 1), dtype=np.uint8)  # 4 MB
    source = save(tmp_path, x=large, y=np.arange(4_000) % 3)
    np.save(tmp_path / "x.npy", large)
    for path in (source, tmp_path / "x.npy"):
        tracemalloc.start()
        data = found(path, shape=(None, 32, 32, 1))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert is_mapped(data.test.inputs)
        assert peak < 2_500_000  # labels, and zipfile's chunks of 1 MiB
        np.testing.assert_array_equal(data.test.inputs, large)
