"""Splits: disjoint, balanced, fixed by the seed."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.data.dataset import SPLITS, Dataset, Pool, Samples, split
from edgekd.errors import BadInputError

Draw = Callable[..., Samples]


def numbered(count: int, *, classes: int = 3, offset: int = 0) -> Samples:
    """Pictures of 2x2 pixels, each of which spells its own number, so that a split shows where it came from."""
    numbers = np.arange(offset, offset + count, dtype=">u4")
    return Samples(
        inputs=np.frombuffer(numbers.tobytes(), dtype=np.uint8).reshape(count, 2, 2, 1),
        labels=np.arange(count, dtype=np.int64) % classes,
    )


def numbers(samples: Samples) -> set[int]:
    return set(np.frombuffer(samples.inputs.tobytes(), dtype=">u4").tolist())


def cut(pool: Pool, *, seed: int = 0, train_samples: int | None = None, calibration_samples: int = 30) -> Dataset:
    return split(
        pool,
        source="pool",
        seed=seed,
        validation_fraction=0.1,
        calibration_samples=calibration_samples,
        test_fraction=0.2,
        train_samples=train_samples,
    )


ONE = Pool(classes=("a", "b", "c"), train=numbered(300))
TWO = Pool(classes=("a", "b", "c"), train=numbered(300), test=numbered(60, offset=1000))


def test_the_four_splits_share_no_sample_and_lose_none() -> None:
    data = cut(ONE)
    parts = [numbers(getattr(data, name)) for name in SPLITS]
    assert data.counts() == {"train": 180, "calibration": 30, "validation": 30, "test": 60}
    assert sum(map(len, parts)) == 300
    assert len(set().union(*parts)) == 300


def test_every_split_has_the_balance_of_the_source() -> None:
    for pool in (ONE, TWO):
        data = cut(pool)
        for name in SPLITS:
            assert len(set(np.bincount(getattr(data, name).labels).tolist())) == 1, name


def test_an_uneven_source_stays_as_uneven_in_every_split() -> None:
    labels = np.repeat(np.arange(3), [600, 300, 100])
    data = cut(Pool(classes=("a", "b", "c"), train=Samples(inputs=numbered(1000).inputs, labels=labels)))
    for name in SPLITS:
        part = getattr(data, name)
        np.testing.assert_allclose(np.bincount(part.labels) / len(part), [0.6, 0.3, 0.1], atol=0.04)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), calibration=st.integers(3, 60), own_test=st.booleans())
def test_whatever_the_seed_and_sizes_calibration_never_meets_validation_or_test(
    seed: int, calibration: int, own_test: bool
) -> None:
    data = cut(TWO if own_test else ONE, seed=seed, calibration_samples=calibration)
    held_out = numbers(data.validation) | numbers(data.test)
    assert not numbers(data.calibration) & held_out
    assert not numbers(data.train) & (held_out | numbers(data.calibration))


def test_a_test_part_of_the_source_is_the_test_split_untouched() -> None:
    data = cut(TWO)
    assert TWO.test is not None
    assert np.array_equal(data.test.inputs, TWO.test.inputs)
    assert max(numbers(data.train) | numbers(data.calibration) | numbers(data.validation)) < 1000


def test_the_seed_fixes_the_splits_and_their_hash() -> None:
    first, again, other = cut(ONE, seed=5), cut(ONE, seed=5), cut(ONE, seed=6)
    assert (first.index_hash, first.content_hash) == (again.index_hash, again.content_hash)
    assert all(numbers(getattr(first, name)) == numbers(getattr(again, name)) for name in SPLITS)
    assert first.index_hash != other.index_hash
    assert numbers(first.test) != numbers(other.test)


def test_the_index_hash_tells_which_split_a_sample_is_in() -> None:
    # The same indices cut in other places: 30 for calibration or 33.
    assert cut(ONE).index_hash != cut(ONE, calibration_samples=33).index_hash
    # Other pixels under the same indices: another content, the same indices.
    other = cut(Pool(classes=ONE.classes, train=numbered(300, offset=1)))
    assert other.index_hash == cut(ONE).index_hash
    assert other.content_hash != cut(ONE).content_hash


def test_fewer_training_samples_leave_the_other_splits_as_they_were() -> None:
    data, small = cut(ONE), cut(ONE, train_samples=60)
    assert len(small.train) == 60
    assert set(np.bincount(small.train.labels).tolist()) == {20}
    assert numbers(small.train) < numbers(data.train)
    for name in ("calibration", "validation", "test"):
        assert numbers(getattr(small, name)) == numbers(getattr(data, name))


def test_more_training_samples_than_there_are_is_an_error_and_not_silently_all() -> None:
    with pytest.raises(BadInputError, match=r"180 images are left to train on, data\.train_samples asks for 181"):
        cut(ONE, train_samples=181)


def test_pictures_that_stand_in_two_splits_are_counted() -> None:
    assert cut(ONE).repeated == 0
    twice = numbered(300)
    images = twice.inputs.copy()
    images[150:] = images[:150]
    data = cut(Pool(classes=ONE.classes, train=Samples(inputs=images, labels=twice.labels)))
    held_out = numbers(data.validation) | numbers(data.test)
    spelled = np.frombuffer(data.train.inputs.tobytes() + data.calibration.inputs.tobytes(), dtype=">u4")
    assert data.repeated == sum(int(n) in held_out for n in spelled) > 0


def test_one_class_only_is_refused() -> None:
    with pytest.raises(BadInputError, match="pool: found 1 class; expected at least 2"):
        cut(Pool(classes=("a",), train=numbered(300, classes=1)))


@pytest.mark.parametrize("label", [-2, 3])
@pytest.mark.parametrize("where", ["train", "test"])
def test_a_label_outside_the_range_names_the_sample(label: int, where: str) -> None:
    parts = {"train": numbered(300), "test": numbered(60)}
    parts[where].labels[7] = label
    with pytest.raises(
        BadInputError, match=rf"pool: label {label} of sample 7 is outside 0\.\.2; count classes from 0"
    ):
        cut(Pool(classes=ONE.classes, **parts))


def test_no_samples_at_all_is_refused() -> None:
    with pytest.raises(BadInputError, match="found no samples"):
        cut(Pool(classes=ONE.classes, train=numbered(0)))
    with pytest.raises(BadInputError, match="found no samples"):
        cut(Pool(classes=ONE.classes, train=numbered(300), test=numbered(0)))


def test_a_split_left_empty_is_named_with_the_class_and_the_settings_to_lower() -> None:
    with pytest.raises(
        BadInputError, match=r"the train split has 0 samples and none of class 0 \('a'\).*calibration_samp"
    ):
        cut(ONE, calibration_samples=500)


def test_a_class_that_a_split_misses_is_named() -> None:
    labels = np.arange(300) % 2
    labels[0] = 2  # a single picture of the third class cannot be in four splits
    with pytest.raises(BadInputError, match=r"none of class 2 \('c'\)"):
        cut(Pool(classes=ONE.classes, train=Samples(inputs=numbered(300).inputs, labels=labels)))


def test_train_and_test_pictures_of_two_sizes_are_refused() -> None:
    test = Samples(inputs=np.zeros((30, 4, 4, 1), dtype=np.uint8), labels=np.arange(30) % 3)
    with pytest.raises(BadInputError, match=r"train images are \(2, 2, 1\), test images \(4, 4, 1\).*resize"):
        cut(Pool(classes=ONE.classes, train=numbered(300), test=test))


def test_the_input_shape_is_height_width_channels(draw: Draw) -> None:
    wide = Samples(inputs=np.zeros((30, 4, 6, 3), dtype=np.uint8), labels=np.arange(30) % 3)
    assert cut(Pool(classes=ONE.classes, train=wide), calibration_samples=3).input_shape == (4, 6, 3)


def test_a_renamed_class_is_other_data() -> None:
    renamed = Pool(classes=("a", "b", "d"), train=ONE.train)
    assert cut(renamed).index_hash == cut(ONE).index_hash
    assert cut(renamed).content_hash != cut(ONE).content_hash


def test_two_classes_of_one_name_are_refused() -> None:
    with pytest.raises(BadInputError, match="two classes are called 'a'"):
        cut(Pool(classes=("a", "b", "a"), train=numbered(300)))
