"""Samples without labels: from folders and arrays, and where they may stand in a split."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from edgekd import data
from edgekd.data.dataset import SPLITS, Dataset, Pool, Samples, split
from edgekd.data.image_folder import read_folder
from edgekd.data.npz import read_npz
from edgekd.errors import BadInputError

CLASSES = ("top", "middle", "bottom")


def cut(pool: Pool, *, calibration_samples: int = 20) -> Dataset:
    return split(
        pool,
        source="s",
        seed=0,
        validation_fraction=0.1,
        calibration_samples=calibration_samples,
        test_fraction=0.2,
    )


def samples(labels: list[int], *, groups: list[str] | None = None) -> Samples:
    numbers = np.arange(len(labels), dtype=">u4")
    return Samples(
        inputs=np.frombuffer(numbers.tobytes(), dtype=np.uint8).reshape(-1, 2, 2, 1),
        labels=np.array(labels, dtype=np.int64),
        groups=None if groups is None else np.array(groups),
    )


def test_a_folder_of_pictures_alone_has_no_labels_and_needs_the_names_of_the_classes(image_folder: Path) -> None:
    flat = image_folder.parent / "flat"
    flat.mkdir()
    for path in image_folder.rglob("*.png"):
        shutil.copy(path, flat)
    pool = read_folder(flat, resize=None, channels=None, classes=CLASSES)
    assert pool.classes == CLASSES and (pool.train.labels == -1).all() and len(pool.train) == 36
    with pytest.raises(BadInputError, match=r"has images and no class folders.*data\.classes = \[\.\.\.\]"):
        read_folder(flat, resize=None, channels=None)
    made = data.load(str(flat), classes=CLASSES, calibration_samples=6)
    assert made.unlabelled() == made.counts() and made.left_out == 0


def test_a_test_part_with_class_folders_names_the_classes_of_an_unlabelled_train_part(image_folder: Path) -> None:
    root = image_folder.parent / "root"
    shutil.copytree(image_folder, root / "test")
    (root / "train").mkdir()
    for path in image_folder.rglob("*.png"):
        shutil.copy(path, root / "train")
    pool = read_folder(root, resize=None, channels=None)
    assert pool.classes == ("bottom", "middle", "top")
    assert (pool.train.labels == -1).all()
    assert pool.train.ids is not None and pool.train.ids[0] == "train/00.png"
    assert pool.test is not None and pool.test.ids is not None and pool.test.ids[0].startswith("test/bottom/")
    assert np.bincount(pool.test.labels).tolist() == [12, 12, 12]


@pytest.mark.parametrize("name", ["unlabelled", "unlabeled"])
def test_a_folder_of_that_name_beside_the_class_folders_has_no_labels(name: str, image_folder: Path) -> None:
    shutil.copytree(image_folder / "top", image_folder / name)
    pool = read_folder(image_folder, resize=None, channels=None)
    assert pool.classes == ("bottom", "middle", "top")
    assert (pool.train.labels == -1).sum() == 12 and len(pool.train) == 48
    with pytest.raises(BadInputError, match=r"data\.classes is set, but .* has class folders"):
        read_folder(image_folder, resize=None, channels=None, classes=CLASSES)


def test_arrays_without_labels_for_the_training_part_are_unlabelled(tmp_path: Path) -> None:
    x = np.zeros((6, 4, 4), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x_train=x, x_test=x, y_test=np.arange(6) % 3)
    pool = read_npz(tmp_path / "a.npz", classes=None)
    assert pool.classes == ("0", "1", "2") and (pool.train.labels == -1).all()
    np.savez(tmp_path / "b.npz", x=x)
    assert (read_npz(tmp_path / "b.npz", classes=CLASSES).train.labels == -1).all()
    with pytest.raises(BadInputError, match=r"array 'y' is missing.*nothing says which classes there are"):
        read_npz(tmp_path / "b.npz", classes=None)
    np.savez(tmp_path / "c.npz", x=x, y=[0, 1, -1, 0, 1, -1])
    assert read_npz(tmp_path / "c.npz", classes=None).train.labels.tolist() == [0, 1, -1, 0, 1, -1]


def test_what_is_judged_on_has_labels_where_there_are_any() -> None:
    made = cut(Pool(classes=("a", "b"), train=samples([0, 1] * 50 + [-1] * 300)))
    assert made.unlabelled() == {"train": 284, "calibration": 16, "validation": 0, "test": 0}
    assert made.counts() == {"train": 350, "calibration": 20, "validation": 10, "test": 20}
    assert made.test.known_labels is not None and made.train.known_labels is None


def test_without_any_label_every_split_is_drawn_from_all() -> None:
    made = cut(Pool(classes=("a", "b"), train=samples([-1] * 200)))
    assert made.counts() == {"train": 120, "calibration": 20, "validation": 20, "test": 40}
    taken = np.concatenate([getattr(made, name).inputs.reshape(-1, 4) for name in SPLITS])
    assert len(np.unique(taken, axis=0)) == 200


def test_unlabelled_samples_of_a_given_test_part_are_left_out_and_counted() -> None:
    pool = Pool(classes=("a", "b"), train=samples([0, 1] * 60), test=samples([0, 1, -1, -1, -1, 1]))
    made = cut(pool)
    assert (made.left_out, made.test.labels.tolist()) == (3, [0, 1, 1])


def test_a_given_validation_part_is_taken_as_it_is() -> None:
    made = cut(Pool(classes=("a", "b"), train=samples([0, 1] * 60), validation=samples([0, 1, 1])))
    assert made.validation.labels.tolist() == [0, 1, 1]
    assert made.counts() == {"train": 76, "calibration": 20, "validation": 3, "test": 24}
    assert made.validation.ids is not None and made.validation.ids.tolist()[0] == "validation/0"


def test_a_class_that_only_unlabelled_training_samples_can_have_is_no_error() -> None:
    pool = Pool(classes=("a", "b"), train=samples([-1] * 60), test=samples([0, 1] * 5))
    assert cut(pool).unlabelled()["train"] == len(cut(pool).train)
    with pytest.raises(BadInputError, match="the test split has 2 samples and none of class 1"):
        cut(Pool(classes=("a", "b"), train=samples([-1] * 60), test=samples([0, 0])))


def test_labels_below_minus_one_are_refused() -> None:
    with pytest.raises(BadInputError, match=r"label -2 of sample 1 is outside"):
        cut(Pool(classes=("a", "b"), train=samples([0, -2] * 20)))
