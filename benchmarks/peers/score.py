"""How a file's outputs compare with those of another file or run, sample by sample: 1 is the same answer, 0 is not."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Outputs = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float64]

MASK_ABOVE = 0.3
"""Where rapidocr's detector takes a pixel for text (its config.yaml, Det.thresh)."""


def same_class(reference: Outputs, other: Outputs) -> Scores:
    """Whether the largest of the classes is the same one. Both (n, classes)."""
    same: Scores = (reference.argmax(axis=-1) == other.argmax(axis=-1)).astype(np.float64)
    return same


def same_text(reference: Outputs, other: Outputs) -> Scores:
    """Whether the line reads the same. Both (n, steps, characters), 0 is the blank of CTC."""
    return np.array([_read(one) == _read(two) for one, two in zip(reference, other, strict=True)], dtype=np.float64)


def same_mask(reference: Outputs, other: Outputs) -> Scores:
    """Intersection over union of the pixels taken for text. Both (n, 1, height, width) of probabilities."""
    one, two = (outputs.reshape(len(outputs), -1) > MASK_ABOVE for outputs in (reference, other))
    union = (one | two).sum(axis=1)
    return np.where(union == 0, 1.0, (one & two).sum(axis=1) / np.maximum(union, 1))


def right(outputs: Outputs, labels: npt.NDArray[Any]) -> float:
    """The share of samples whose largest class is the label."""
    return float((outputs.argmax(axis=1) == labels).mean())


def _read(steps: Outputs) -> tuple[int, ...]:
    """The characters of one line: repetitions are one, blanks are none (greedy CTC)."""
    best = steps.argmax(axis=-1)
    kept = best[np.insert(best[1:] != best[:-1], 0, True)]
    return tuple(int(character) for character in kept if character != 0)


SCORES: Mapping[str, Callable[[Outputs, Outputs], Scores]] = {
    "class": same_class,
    "text": same_text,
    "mask": same_mask,
}
