"""What a recipe asks of the labels, and the errors where the data has none."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd import settings
from edgekd.errors import BadInputError
from edgekd.recipe import Recipe, parse


def recipe(path: Path, *, labels: str = "all", teacher: bool = True, **sections: dict[str, Any]) -> Recipe:
    """A recipe on 80 pictures of three classes, 48 of the first: with labels, half of them, or none."""
    rng = np.random.default_rng(0)
    y = np.array([0] * 48 + [1] * 16 + [2] * 16)
    y = {"all": y, "half": np.where(np.arange(80) % 2, y, -1), "none": np.full(80, -1)}[labels]
    np.savez(path / "d.npz", x=rng.integers(0, 256, (80, 6, 6), dtype=np.uint8), y=y, classes=np.array(["a", "b", "c"]))
    (path / "t.safetensors").write_bytes(b"t")
    document: dict[str, Any] = {
        "name": "r",
        "data": {"source": str(path / "d.npz"), "calibration_samples": 6},
        "student": {"model": "resnet8"},
        "distill": {},
    }
    if teacher:
        document["teacher"] = {"model": "resnet8", "weights": str(path / "t.safetensors")}
    for name, values in sections.items():
        document[name] = document[name] | values
    return parse(document, origin="test")


def check(made: Recipe) -> None:
    settings.check_labels(made, settings.load_data(made))


@pytest.mark.parametrize("method", ["dkd", "dkd+cist", "ats"])
def test_a_method_that_treats_the_true_class_apart_needs_every_label(method: str, tmp_path: Path) -> None:
    with pytest.raises(
        BadInputError, match=re.escape(f"training samples have no label, and method = '{method}' treats the true")
    ):
        check(recipe(tmp_path, labels="half", distill={"method": method}))
    check(recipe(tmp_path, distill={"method": method}))


@pytest.mark.parametrize(
    ("section", "values", "named"),
    [
        ("distill", {"method": "ce"}, r"distill\.method = 'ce'"),
        ("data", {"balance": "sample"}, r"data\.balance = 'sample'"),
        ("distill", {"class_weights": "balanced"}, r"distill\.class_weights = 'balanced'"),
    ],
)
def test_what_needs_labels_is_refused_where_there_are_none(
    section: str, values: dict[str, object], named: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInputError, match=f"have no label, and {named} needs labels"):
        check(recipe(tmp_path, labels="none", **{section: values}))
    check(recipe(tmp_path, labels="half", **{section: values}))
    check(recipe(tmp_path, labels="none"))


def test_early_stopping_needs_labels_to_validate_on(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"distill\.early_stop_epochs looks at validation accuracy"):
        check(recipe(tmp_path, labels="none", distill={"early_stop_epochs": 3}))
    check(recipe(tmp_path, labels="half", distill={"early_stop_epochs": 3}))


def test_class_weights_are_none_inverse_frequencies_or_the_numbers_given(tmp_path: Path) -> None:
    plain = recipe(tmp_path)
    data = settings.load_data(plain)
    assert settings.class_weights(plain, data) is None
    found = settings.class_weights(recipe(tmp_path, distill={"class_weights": "balanced"}), data)
    counts = np.bincount(data.train.labels)
    assert found == pytest.approx(tuple(len(data.train) / (3 * counts)))
    given = recipe(tmp_path, distill={"class_weights": [1.0, 2.0, 0.5]})
    assert settings.class_weights(given, data) == (1.0, 2.0, 0.5)
    with pytest.raises(BadInputError, match="has 2 numbers; expected 3, one for each of: a, b, c"):
        check(recipe(tmp_path, distill={"class_weights": [1.0, 2.0]}))


@pytest.mark.parametrize("weights", [[], [1.0, 0.0, 1.0], [1.0, -1.0, 1.0]])
def test_weights_that_are_not_positive_are_refused(weights: list[float], tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"class_weights is .*expected positive numbers"):
        recipe(tmp_path, distill={"class_weights": weights})


def test_the_recipe_s_choices_reach_the_trainer(tmp_path: Path) -> None:
    for balance, wanted in (("sample", True), ("none", False)):
        made = recipe(tmp_path, data={"balance": balance})
        found = settings.training(
            made, precision="fp32", augmentation=settings.augmentation(made, settings.load_data(made))
        )
        assert found.balance == wanted
