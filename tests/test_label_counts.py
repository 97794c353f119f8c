"""F1 of label sets and its intervals: worked by hand, beside resampling, and again from what a report keeps."""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from edgekd.accuracy import Accuracy, measure_label_sets
from edgekd.errors import BadInputError
from edgekd.label_counts import count_outcomes, scores
from edgekd.recheck import trusted_accuracy
from edgekd.statistics import share_interval, wilson

LABELS = np.array([[1, 1, 0], [0, 0, 0], [0, 1, -1], [1, 0, 0]], dtype=np.int8)
SAID = np.array([[1, 0, 0], [0, 0, 0], [0, 1, 1], [1, 1, 0]], dtype=np.bool_)
BEFORE = np.array([[1, 1, 0], [0, 0, 0], [0, 1, 0], [1, 1, 0]], dtype=np.bool_)


def made(n: int = 800, *, classes: int = 5, noise: float = 1.5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and logits that know something of them."""
    generator = np.random.default_rng(seed)
    labels = (generator.random((n, classes)) < np.linspace(0.05, 0.5, classes)).astype(np.int8)
    return labels, (2.4 * labels - 1.2 + generator.normal(0, noise, labels.shape)).astype(np.float32)


def test_f1_exact_match_and_drop_of_four_samples() -> None:
    found = scores(count_outcomes(LABELS, SAID, BEFORE), classes=3)
    # The unknown element is left out: TP = 3, FP = 1, FN = 1. Class 0: 2/2 right. Class 1: TP 1, FP 1, FN 1.
    assert found["n"] == 4
    assert found["micro_f1"] == pytest.approx(6 / 8)
    assert found["macro_f1"] == pytest.approx((1 + 0.5) / 2)
    assert found["exact_match"] == 0.5
    # fp32 before: TP = 4, FP = 1, FN = 0.
    assert found["micro_f1_drop"] == pytest.approx(8 / 9 - 6 / 8)
    for name in ("micro_f1", "macro_f1", "exact_match", "micro_f1_drop"):
        low, value, high = (found[f"{name}{end}"] for end in ("_low", "", "_high"))
        assert low is not None and value is not None and high is not None and low < value < high


def test_intervals_are_as_wide_as_resampling_says() -> None:
    labels, logits = made()
    other = logits + np.random.default_rng(1).normal(0, 0.2, logits.shape).astype(np.float32)
    found = asdict(measure_label_sets(other, labels=labels, classes=tuple("abcde"), fp32=logits, isa="x"))
    generator, true = np.random.default_rng(2), labels == 1
    drawn: dict[str, list[float]] = {"micro_f1": [], "macro_f1": [], "micro_f1_drop": []}
    for _ in range(400):
        index = generator.integers(0, len(labels), len(labels))
        t, said, before = true[index], other[index] > 0, logits[index] > 0
        micro = [2 * (t & s).sum() / (t.sum() + s.sum()) for s in (said, before)]
        drawn["micro_f1"].append(micro[0])
        drawn["macro_f1"].append(float(np.mean(2 * (t & said).sum(0) / (t.sum(0) + said.sum(0)))))
        drawn["micro_f1_drop"].append(micro[1] - micro[0])
    for name, values in drawn.items():
        width = found[f"{name}_high"] - found[f"{name}_low"]
        # 400 draws know a standard deviation to 1 / sqrt(800) = 3.5 %; four of those.
        assert width == pytest.approx(2 * 1.96 * np.std(values), rel=0.15)


def test_all_right_on_few_samples_is_no_proof() -> None:
    labels = np.array([[1, 0], [0, 1], [1, 1]], dtype=np.int8)
    logits = (2.0 * labels - 1).astype(np.float32)
    found = measure_label_sets(logits, labels=labels, classes=("a", "b"), isa="x")
    assert found.micro_f1 == found.macro_f1 == found.map == 1.0
    assert found.micro_f1_low == pytest.approx(wilson(3, 3).low)
    assert found.macro_f1_low is not None and found.macro_f1_low < 0.6
    assert found.map_low is not None and found.map_low < 0.6
    same = measure_label_sets(logits, labels=labels, classes=("a", "b"), fp32=logits, isa="x")
    assert same.micro_f1_drop == 0.0 and same.micro_f1_drop_high is not None and same.micro_f1_drop_high > 0.3
    assert (found.micro_f1_drop, found.micro_f1_drop_high) == (0.0, 0.0)  # of fp32 itself, by definition


def test_an_interval_of_a_plain_proportion_is_wilsons() -> None:
    interval = share_interval(0.3, variance=0.3 * 0.7 / 50, alike=50, most=1e9)
    assert interval.low == pytest.approx(wilson(15, 50).low) and interval.high == pytest.approx(wilson(15, 50).high)


def test_one_set_for_all_samples_is_constant_and_unlabelled_samples_have_agreement_alone() -> None:
    labels, logits = made(60)
    classes = tuple("abcde")
    assert measure_label_sets(np.full_like(logits, -1), labels=labels, classes=classes, isa="x").constant
    found = measure_label_sets(logits, labels=None, classes=classes, teacher_sets=labels == 1, fp32=logits + 9, isa="x")
    assert found.micro_f1 is None and found.map is None and found.outcomes == () and not found.constant
    assert found.agreement_teacher == pytest.approx(((logits > 0) == labels).all(axis=1).mean())
    assert found.agreement_fp32 is not None and found.agreement_fp32 < 0.2


def as_kept(found: Accuracy) -> dict[str, Any]:
    kept: dict[str, Any] = json.loads(json.dumps(asdict(found)))
    return kept


@pytest.mark.parametrize(
    "edit",
    [
        lambda kept: kept.update(micro_f1=0.99),
        lambda kept: kept.update(macro_f1_low=0.9),
        lambda kept: kept.update(micro_f1_drop=0.0),
        lambda kept: kept.update(n=kept["n"] + 1),
        lambda kept: kept["outcomes"][0].__setitem__(3, 10_000),
        lambda kept: kept["outcomes"].append([[0], [99], [0], 1]),
        lambda kept: kept.update(outcomes=[]),
    ],
)
def test_an_edited_summary_or_count_is_found(edit: Callable[[dict[str, Any]], None]) -> None:
    labels, logits = made(100)
    kept = as_kept(measure_label_sets(logits, labels=labels, classes=tuple("abcde"), fp32=logits[::-1] * 1, isa="x"))
    again = trusted_accuracy(kept)
    assert again is not None and again["micro_f1"] == pytest.approx(kept["micro_f1"])
    edit(kept)
    with pytest.raises(BadInputError, match="measure again"):
        trusted_accuracy(kept)


def test_the_fp32_files_own_accuracy_is_trusted_again() -> None:
    labels, logits = made(100)
    kept = as_kept(measure_label_sets(logits, labels=labels, classes=tuple("abcde"), isa="x"))
    again = trusted_accuracy(kept)
    assert again is not None and again["micro_f1_drop"] == 0.0


def test_shapes_that_do_not_fit_are_refused() -> None:
    labels, logits = made(10)
    with pytest.raises(BadInputError, match=r"labels have shape \(9, 5\); expected \(10, 5\)"):
        measure_label_sets(logits, labels=labels[1:], classes=tuple("abcde"), isa="x")
