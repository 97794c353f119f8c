"""What a classifier's outputs say beside its labels: each class's score, top-5 and the calibration error."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Outputs = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

ECE_BINS = 15
SUM_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScore:
    """One class; a ratio with nothing below the line is 0. n: samples whose true class it is."""

    name: str
    n: int
    recall: float
    precision: float
    f1: float


def confusion_matrix(labels: Labels, predicted: Labels, num_classes: int) -> npt.NDArray[np.int64]:
    """(K, K) counts; rows are the true class."""
    counts = np.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes).astype(np.int64)


def per_class(confusion: npt.NDArray[np.int64], classes: tuple[str, ...]) -> tuple[ClassScore, ...]:
    """One score a class, from its (K, K) confusion matrix."""
    hits, true, claimed = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    return tuple(
        ClassScore(
            name=name,
            n=int(true[k]),
            recall=_ratio(hits[k], true[k]),
            precision=_ratio(hits[k], claimed[k]),
            f1=_ratio(2 * hits[k], true[k] + claimed[k]),
        )
        for k, name in enumerate(classes)
    )


def _ratio(part: np.int64, whole: np.int64) -> float:
    return float(part / whole) if whole else 0.0


def top5(outputs: Outputs, labels: Labels) -> float:
    """Share of the labels, (n,), among the five greatest outputs, (n, K).

    Equals are ranked as in `predictions`, so that a constant output does not place every class first.
    """
    best = np.argsort(-outputs, axis=1, kind="stable")[:, :5]
    return float(np.mean(np.any(best == labels[:, None], axis=1)))


def calibration_error(outputs: Outputs, labels: Labels, *, is_probabilities: bool) -> float:
    """Expected calibration error over 15 bins of equal width: Guo et al. 2017, eq. 3, arXiv:1706.04599."""
    probabilities = outputs.astype(np.float64) if is_probabilities else _softmax(outputs)
    confidence = probabilities.max(axis=1)
    right = (np.argmax(outputs, axis=1) == labels).astype(np.float64)
    bins = np.clip(np.ceil(confidence * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)
    gaps = np.bincount(bins, weights=right - confidence, minlength=ECE_BINS)
    return float(np.abs(gaps).sum() / len(labels))


def _softmax(logits: Outputs) -> npt.NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    exponentials: npt.NDArray[np.float64] = np.exp(shifted)
    exponentials /= exponentials.sum(axis=1, keepdims=True)
    return exponentials


def are_probabilities(outputs: Outputs) -> bool:
    """Whether every row, (n, K), has no negative value and sums to 1."""
    sums = outputs.sum(axis=1, dtype=np.float64)
    return bool(outputs.min() >= 0 and np.all(np.abs(sums - 1) <= SUM_TOLERANCE))
