"""How far confidence and accuracy lie apart."""

from typing import Any

import numpy as np
import numpy.typing as npt


def calibration_error(
    probabilities: npt.NDArray[np.floating[Any]], labels: npt.NDArray[np.integer[Any]], *, bins: int = 15
) -> float:
    """Expected calibration error: the mean gap between confidence and accuracy over bins of equal width, a fraction.

    probabilities: (n, K), rows that sum to 1; labels: (n,). Source: Guo et al. 2017, arXiv 1706.04599, with their 15
    bins.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    number = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(number, weights=confidence - correct, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))
