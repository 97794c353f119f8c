"""Splits of samples with several labels: every class in every part, frequencies kept, groups whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.data.dataset import Dataset, Pool, Samples, split
from edgekd.data.stratify import draw_label_sets
from edgekd.errors import BadInputError


def samples(labels: np.ndarray, groups: np.ndarray | None = None) -> Samples:
    numbers = np.arange(len(labels), dtype=">u4")
    inputs = np.frombuffer(numbers.tobytes(), dtype=np.uint8).reshape(-1, 2, 2, 1)
    return Samples(inputs=inputs, labels=labels.astype(np.int8), groups=groups)


def cut(labels: np.ndarray, groups: np.ndarray | None = None, **changes: object) -> Dataset:
    names = tuple(f"c{k}" for k in range(labels.shape[1]))
    asked = {"validation_fraction": 0.2, "calibration_samples": 10, "test_fraction": 0.2} | changes
    return split(Pool(classes=names, train=samples(labels, groups)), source="s", seed=0, **asked)  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    count=st.integers(20, 200),
    classes=st.integers(2, 6),
    share=st.floats(0.05, 0.5),
)
def test_a_drawn_part_keeps_every_class_and_about_its_frequency(
    seed: int, count: int, classes: int, share: float
) -> None:
    generator = np.random.default_rng(seed)
    labels = (generator.random((count, classes)) < generator.uniform(0.05, 0.6, classes)).astype(np.int8)
    taken = draw_label_sets(labels, np.arange(count), share, np.random.default_rng(0))
    assert len(set(taken.tolist())) == len(taken)
    rest = np.setdiff1d(np.arange(count), taken)
    for k in range(classes):
        total, drawn = int(labels[:, k].sum()), int(labels[taken, k].sum())
        if total > 1:
            assert labels[rest, k].any()
        # Other classes of the same samples pull it off its share, by no more than a few samples.
        assert abs(drawn - share * total) <= 3 + 0.25 * total
    assert abs(len(taken) - share * count) <= 3 + classes


def test_the_rarest_class_is_in_each_part_that_is_learned_or_judged() -> None:
    labels = np.zeros((100, 3), dtype=np.int8)
    labels[:60, 0] = labels[30:90, 1] = 1
    labels[[3, 40, 70, 95], 2] = 1
    found = cut(labels)
    assert found.task == "multi-label" and found.multi_label
    for part in (found.train, found.validation, found.test):
        assert (part.labels == 1).any(axis=0).all()
    assert {name: sum(counts) for name, counts in found.positives().items()} == {
        name: int((getattr(found, name).labels == 1).sum()) for name in ("train", "calibration", "validation", "test")
    }
    assert cut(labels).index_hash == found.index_hash


def test_a_class_with_too_few_samples_is_named() -> None:
    labels = np.zeros((60, 2), dtype=np.int8)
    labels[:30, 0] = labels[7:9, 1] = 1
    with pytest.raises(BadInputError, match=r"none with class 1 \('c1'\), which 2 samples of the source have"):
        cut(labels)


def test_unlabelled_samples_stay_in_training_and_are_counted() -> None:
    labels = (np.random.default_rng(0).random((120, 3)) < 0.5).astype(np.int8)
    labels[::3] = -1
    found = cut(labels)
    assert found.unlabelled()["train"] > 20
    assert found.unlabelled()["validation"] == found.unlabelled()["test"] == 0
    assert found.train.known_labels is None and found.test.known_labels is not None


def test_groups_stay_whole() -> None:
    generator = np.random.default_rng(0)
    labels = (generator.random((200, 3)) < 0.4).astype(np.int8)
    found = cut(labels, np.array([f"g{k % 20}" for k in range(200)]))
    parts = [set((found.test.groups).tolist()), set(found.validation.groups.tolist()), set(found.train.groups.tolist())]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    for part in (found.train, found.validation, found.test):
        assert (part.labels == 1).any(axis=0).all()
        assert len(part) < 160
