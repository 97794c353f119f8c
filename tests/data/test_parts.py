"""Calibration and evaluation share no sample, each has the classes of the whole, and a warning says what is thin."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.data import parts
from edgekd.data.parts import RANDOM_WARNING, ModelSamples, draw, is_mapped, part, random_parts, random_samples
from edgekd.errors import BadInputError

patient = settings(deadline=None)


def numbered(n: int, *, classes: int | None = None) -> ModelSamples:
    """Samples whose one input is their own number; labels in blocks, as sorted data has them."""
    labels = None if classes is None else (np.arange(n) * classes // n).astype(np.int64)
    return ModelSamples(inputs=np.arange(n)[:, None], labels=labels, classes=())


def places(samples: ModelSamples) -> list[int]:
    return [int(x) for x in samples.inputs[:, 0]]


@patient
@given(st.integers(4, 200), st.integers(1, 120), st.sampled_from([None, 1, 3]), st.integers(0, 9))
def test_halves_share_nothing_and_leave_nothing_out(n: int, wanted: int, classes: int | None, seed: int) -> None:
    found = part(None, numbered(n, classes=classes), calibration_samples=max(wanted, 2), seed=seed)
    calibration, evaluation = places(found.calibration), places(found.evaluation)
    assert len(calibration) == min(max(wanted, 2), n // 2)
    assert sorted(calibration + evaluation) == list(range(n))
    assert found.origin == "half"


@patient
@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(1, 60), st.integers(0, 9))
def test_every_class_has_its_share_of_the_draw_to_within_one(drawn: list[int], count: int, seed: int) -> None:
    labels = np.array(drawn, dtype=np.int64)
    chosen = draw(labels, len(labels), count, seed=seed)
    assert len(np.unique(chosen)) == len(chosen) == min(count, len(labels))
    for label in range(5):
        share = len(chosen) * np.mean(labels == label)
        assert abs(np.sum(labels[chosen] == label) - share) < 1 + 1e-9


def test_the_draw_is_fixed_by_the_seed_and_differs_between_seeds() -> None:
    first, again, other = (draw(None, 100, 30, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_train_calibrates_in_part_and_all_of_test_is_evaluated() -> None:
    train, test = numbered(300, classes=3), numbered(10, classes=2)
    found = part(train, test, calibration_samples=60)
    assert found.origin == "train"
    assert found.calibration.labels is not None
    np.testing.assert_array_equal(np.bincount(found.calibration.labels), [20, 20, 20])
    assert found.evaluation is test
    assert found.warnings == ()


@pytest.mark.parametrize(("n", "warned"), [(62, True), (63, True), (64, False)])
def test_fewer_than_32_samples_are_a_warning(n: int, warned: bool) -> None:
    warnings = part(None, numbered(n), calibration_samples=500).warnings
    assert [f"calibrated on {n // 2} samples" in w for w in warnings] == ([True] if warned else [])


def test_equal_images_are_refused_and_two_kinds_of_image_are_not() -> None:
    images = np.full((40, 4, 4, 1), 7, dtype=np.uint8)
    with pytest.raises(BadInputError, match=r"20 sample\(s\) to calibrate on, all equal"):
        part(None, ModelSamples(inputs=images, labels=None, classes=()), calibration_samples=500)
    with pytest.raises(BadInputError, match=r"10 sample\(s\) to calibrate on, all equal"):
        same = ModelSamples(inputs=images, labels=None, classes=())
        part(same, numbered(9), calibration_samples=10)
    images[::2] = 8
    part(None, ModelSamples(inputs=images, labels=None, classes=()), calibration_samples=500)


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(BadInputError, match="found 3 samples; expected at least 4"):
        part(None, numbered(3), calibration_samples=500)
    with pytest.raises(BadInputError, match="calibration samples: 0; expected at least 1"):
        part(numbered(9), numbered(9), calibration_samples=0)


@pytest.mark.parametrize("classes", [None, 5])
def test_large_samples_in_a_file_are_evaluated_where_they_stand(
    classes: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "COPY_BYTES", 1_000)
    given_ = numbered(401, classes=classes)
    np.save(tmp_path / "x.npy", given_.inputs)
    mapped = ModelSamples(inputs=np.load(tmp_path / "x.npy", mmap_mode="r"), labels=given_.labels, classes=())
    found = part(None, mapped, calibration_samples=50)
    assert is_mapped(found.evaluation.inputs)
    assert not is_mapped(found.calibration.inputs)
    assert places(found.evaluation) == list(range(1, 401, 2))
    assert len(places(found.calibration)) == 50
    assert not set(places(found.calibration)) & set(places(found.evaluation))


def test_classes_that_alternate_are_not_parted_by_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "COPY_BYTES", 1_000)
    np.save(tmp_path / "x.npy", numbered(400).inputs)
    labels = np.arange(400) % 2
    mapped = ModelSamples(inputs=np.load(tmp_path / "x.npy", mmap_mode="r"), labels=labels, classes=())
    found = part(None, mapped, calibration_samples=200)
    assert found.evaluation.labels is not None
    assert np.bincount(found.evaluation.labels).tolist() == [100, 100]


@pytest.mark.parametrize(("dtype", "spread"), [("uint8", 73.9), ("float32", 1.0), ("float16", 1.0)])
def test_random_samples_have_the_input_s_type_and_its_usual_spread(dtype: str, spread: float) -> None:
    found = random_samples((None, 3, 16, 16), dtype=dtype, count=20, seed=1)
    assert (found.shape, found.dtype) == ((20, 3, 16, 16), dtype)
    assert float(found.astype(np.float64).std()) == pytest.approx(spread, rel=0.02)  # 256 / sqrt(12), and 1
    np.testing.assert_array_equal(found, random_samples((7, 3, 16, 16), dtype=dtype, count=20, seed=1))


def test_random_samples_of_an_unknown_size_are_refused() -> None:
    with pytest.raises(BadInputError, match=r"has shape \(any, 3, any, any\); random samples need every size"):
        random_samples((None, 3, None, None), dtype="float32", count=4, seed=0)


def test_random_parts_differ_and_carry_their_stamp() -> None:
    found = random_parts((None, 8), dtype="float32", count=40)
    assert (found.origin, found.warnings) == ("random", (RANDOM_WARNING,))
    assert found.calibration.inputs.shape == found.evaluation.inputs.shape == (40, 8)
    assert not np.array_equal(found.calibration.inputs, found.evaluation.inputs)
    assert len(random_parts((None, 8), dtype="float32", count=31).warnings) == 2
