"""Groups: whole ones on one side of a split, and as balanced as whole groups can be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.data.dataset import SPLITS, Dataset, Pool, Samples, split
from edgekd.data.groups import draw_groups
from edgekd.errors import BadInputError


def pool(count: int, groups: int, *, seed: int = 0, classes: int = 3, unlabelled: float = 0.0) -> Pool:
    rng = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % classes
    labels[rng.random(count) < unlabelled] = -1
    return Pool(
        classes=tuple("abcdef"[:classes]),
        train=Samples(
            inputs=rng.integers(0, 256, (count, 2, 2, 1), dtype=np.uint8),
            labels=labels,
            groups=np.array([f"g{number}" for number in rng.integers(0, groups, count)]),
        ),
    )


def cut(given: Pool, *, seed: int = 0) -> Dataset:
    return split(given, source="s", seed=seed, validation_fraction=0.15, calibration_samples=12, test_fraction=0.25)


@given(seed=st.integers(0, 1000), groups=st.integers(8, 40), unlabelled=st.sampled_from([0.0, 0.3]))
def test_no_group_stands_in_two_of_train_validation_and_test(seed: int, groups: int, unlabelled: float) -> None:
    made = cut(pool(600, groups, seed=seed, unlabelled=unlabelled), seed=seed)
    judged = {name: set(getattr(made, name).groups.tolist()) for name in ("train", "validation", "test")}
    judged["train"] |= set(made.calibration.groups.tolist()) if made.calibration.groups is not None else set()
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert not judged[one] & judged[other]
    kept = sum(made.counts().values())
    assert kept + made.left_out == 600
    assert (made.test.labels >= 0).all() and (made.validation.labels >= 0).all()
    assert made.left_out == 0 or unlabelled


def test_sizes_and_classes_are_about_what_was_asked_for() -> None:
    made = cut(pool(3000, 60))
    assert len(made.test) == pytest.approx(750, rel=0.1)
    assert len(made.validation) == pytest.approx(450, rel=0.15)
    for name in SPLITS:
        shares = np.bincount(getattr(made, name).labels, minlength=3) / len(getattr(made, name))
        assert abs(shares - 1 / 3).max() < 0.06, name


def test_the_same_seed_draws_the_same_groups_and_another_seed_others() -> None:
    given = pool(600, 20)
    assert cut(given).index_hash == cut(given).index_hash
    assert cut(given).index_hash != cut(given, seed=1).index_hash


def test_a_class_that_one_group_alone_has_still_comes_into_the_split() -> None:
    labels = np.array([0] * 8 + [1] * 8, dtype=np.int64)
    groups = np.array(["a"] * 4 + ["b"] * 4 + ["c"] * 7 + ["d"])
    taken = draw_groups(labels, groups, np.arange(16), 0.05, np.random.default_rng(0), classes=2)
    assert set(labels[taken].tolist()) == {0, 1}
    assert {group: (groups[taken] == group).sum() for group in set(groups[taken])}.keys() <= {"a", "b", "d"}


def test_too_few_groups_for_the_splits_is_an_error_that_names_the_split() -> None:
    with pytest.raises(BadInputError, match=r"the (validation|train|calibration) split has .* none of class"):
        cut(pool(90, 1))


def test_the_report_can_say_how_many_groups_each_split_has() -> None:
    made = cut(pool(600, 20))
    assert sum(made.groups()[name] for name in ("train", "validation", "test")) == 20
