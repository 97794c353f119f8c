"""From the name of a source to a dataset."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd.data import load, load_labelled
from edgekd.errors import BadInputError


def test_the_built_in_source_loads_and_its_default_splits_are_these() -> None:
    data = load("fashion-mnist")
    assert data.counts() == {"train": 4000, "calibration": 500, "validation": 500, "test": 1000}
    assert data.input_shape == (28, 28, 1)
    # A changed hash means that every earlier report was made on other splits.
    assert data.index_hash.startswith("313a0314457e825a")


def test_a_folder_and_an_npz_file_of_the_same_pictures_load_alike(image_folder: Path, npz_file: Path) -> None:
    for source in (image_folder, npz_file):
        data = load(str(source), calibration_samples=6)
        assert data.source == str(source)
        assert data.input_shape == (8, 8, 1)
        assert len(data.classes) == 3


@pytest.mark.parametrize("wrong", ["fashion-mnst", "fashionmnist", "/somewhere/recipes/fashion-mnst"])
def test_a_misspelt_built_in_name_is_told_the_nearest_even_as_the_absolute_path_of_a_recipe(wrong: str) -> None:
    with pytest.raises(BadInputError, match="one of: fashion-mnist, fashion-mnist-full; did you mean 'fashion-mnist'"):
        load(wrong)


def test_a_missing_file_or_folder_is_named(tmp_path: Path) -> None:
    for name in ("gone", "gone.npz"):
        with pytest.raises(BadInputError, match=f"data source '.*{name}' is neither a folder"):
            load(str(tmp_path / name))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("npz", {"resize": (4, 4)}),
        ("npz", {"channels": 3}),
        ("folder", {"classes": ("a", "b", "c")}),
        ("fashion-mnist", {"resize": (32, 32)}),
        ("fashion-mnist", {"classes": ("a", "b")}),
    ],
)
def test_a_setting_that_the_source_has_no_use_for_is_an_error(
    kind: str, settings: dict[str, Any], image_folder: Path, npz_file: Path
) -> None:
    source = {"npz": str(npz_file), "folder": str(image_folder)}.get(kind, kind)
    with pytest.raises(BadInputError, match=f"data.{next(iter(settings))} is set, but .* remove"):
        load(source, **settings)


def test_labels_of_one_class_in_an_npz_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "one.npz"
    np.savez(path, x=np.zeros((20, 4, 4), dtype=np.uint8), y=np.zeros(20, dtype=int))
    with pytest.raises(BadInputError, match=r"one\.npz: found 1 class; expected at least 2"):
        load(str(path))


def test_labels_outside_the_named_classes_are_refused(npz_file: Path) -> None:
    with pytest.raises(BadInputError, match=r"bars\.npz: label 2 of sample 2 is outside 0\.\.1"):
        load(str(npz_file), classes=("a", "b"))


def test_a_class_folder_without_images_is_named(image_folder: Path) -> None:
    (image_folder / "void").mkdir()
    with pytest.raises(BadInputError, match=r"none of class 3 \('void'\)"):
        load(str(image_folder), calibration_samples=6)


def test_labelled_images_of_a_missing_folder_are_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="gone: no such folder"):
        load_labelled(tmp_path / "gone", classes=None, resize=None, channels=None)
