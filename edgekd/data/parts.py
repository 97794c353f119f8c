"""Samples for a network, parted into those that calibrate it and those that judge it."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError

FEW_SAMPLES = 32
COPY_BYTES = 1 << 28
"""Memory-mapped samples above 256 MiB are parted without a copy of those that judge."""

RANDOM_WARNING = (
    "calibrated on random numbers, not on data (--allow-random-calibration): ranges and agreement say nothing of real "
    "inputs; bring real ones with --data before this ships"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSamples:
    """inputs: (n, ...) in the network's own layout and type; labels: (n,) int64, of a multi-label task (n, K)
    int8 of 1, 0 and -1, or None where there are none."""

    inputs: npt.NDArray[Any]
    labels: npt.NDArray[Any] | None
    classes: tuple[str, ...]

    def take(self, index: npt.NDArray[np.int64] | slice) -> "ModelSamples":
        """The samples at `index`: a copy, or a view for a slice."""
        labels = None if self.labels is None else self.labels[index]
        return ModelSamples(inputs=self.inputs[index], labels=labels, classes=self.classes)

    def halves(self, *, calibration_samples: int, seed: int = 0) -> tuple["ModelSamples", "ModelSamples"]:
        """Two disjoint parts: for calibration, at most half of all, and the rest for evaluation.

        Drawn by `seed`, with the same share of every class where there are labels. Of memory-mapped samples too large
        to copy, every second one is evaluated, where it stands, unless the labels show that classes alternate.

        Raises:
            BadInputError: fewer than 4 samples.
        """
        n = len(self.inputs)
        if n < 4:
            raise BadInputError(
                f"found {n} samples; expected at least 4, better some hundreds: one half calibrates, the other is "
                "evaluated"
            )
        even, odd = self.take(slice(0, None, 2)), self.take(slice(1, None, 2))
        if is_mapped(self.inputs) and self.inputs.nbytes > COPY_BYTES and _same_classes(even.labels, odd.labels):
            return even.take(draw(even.labels, len(even.inputs), calibration_samples, seed=seed)), odd
        chosen = draw(self.labels, n, min(calibration_samples, n // 2), seed=seed)
        return self.take(chosen), self.take(np.setdiff1d(np.arange(n, dtype=np.int64), chosen))


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Two parts without a common sample. origin: where the first came from: the source's train part, a half of what it
    has, or random numbers. warnings: for the report, one sentence each.
    """

    calibration: ModelSamples
    evaluation: ModelSamples
    origin: Literal["train", "half", "random"]
    warnings: tuple[str, ...]


def part(train: ModelSamples | None, test: ModelSamples, *, calibration_samples: int, seed: int = 0) -> Parts:
    """At most `calibration_samples` of `train`, drawn by `seed` with the same share of every class, and all of `test`.

    Without `train`, at most half of `test` calibrates, and the rest of it is evaluated.

    Raises:
        BadInputError: too few samples to part, or all samples of a part equal.
    """
    if calibration_samples < 1:
        raise BadInputError(f"calibration samples: {calibration_samples}; expected at least 1, better some hundreds")
    if train is None:
        calibration, evaluation = test.halves(calibration_samples=calibration_samples, seed=seed)
    else:
        calibration = train.take(draw(train.labels, len(train.inputs), calibration_samples, seed=seed))
        evaluation = test
    _check_varied(calibration.inputs)
    return Parts(
        calibration=calibration,
        evaluation=evaluation,
        origin="half" if train is None else "train",
        warnings=_warnings(len(calibration.inputs)),
    )


def random_parts(shape: tuple[int | None, ...], *, dtype: str, count: int, seed: int = 0) -> Parts:
    """Two parts of `count` random samples each, with the warning that they are; for a network without data."""
    drawn = random_samples(shape, dtype=dtype, count=2 * count, seed=seed)
    parts = [ModelSamples(inputs=inputs, labels=None, classes=()) for inputs in (drawn[:count], drawn[count:])]
    warnings = (RANDOM_WARNING, *_warnings(count))
    return Parts(calibration=parts[0], evaluation=parts[1], origin="random", warnings=warnings)


def random_samples(shape: tuple[int | None, ...], *, dtype: str, count: int, seed: int = 0) -> npt.NDArray[Any]:
    """(count, ...) random numbers for an input of `shape`: integers uniform, floats standard normal.

    shape: of the network's input, its batch first, None for dynamic sizes; only the batch may be dynamic.

    Raises:
        BadInputError: another size is dynamic.
    """
    sizes = [size for size in shape[1:] if size is not None]
    if len(sizes) != len(shape) - 1:
        found = ", ".join("any" if size is None else str(size) for size in shape)
        raise BadInputError(
            f"the model's input has shape ({found}); random samples need every size but the first: bring real "
            "ones with --data"
        )
    generator = np.random.default_rng(seed)
    if dtype == "uint8":
        return generator.integers(0, 256, (count, *sizes), dtype=np.uint8)
    if dtype == "int32":  # token numbers, of which every vocabulary has 0 and 1
        return generator.integers(0, 2, (count, *sizes), dtype=np.int32)
    if dtype == "int16":
        return generator.integers(-(2**15), 2**15, (count, *sizes), dtype=np.int16)
    return generator.standard_normal((count, *sizes), dtype=np.float32).astype(dtype, copy=False)


def draw(labels: npt.NDArray[np.int64] | None, n: int, count: int, *, seed: int) -> npt.NDArray[np.int64]:
    """Sorted places of `count` of n samples (all where n is less), as many of each class as its share asks for.

    Evenly spaced along the samples in the order of their classes, mixed within each: no class is more than one off.
    """
    generator = np.random.default_rng(seed)
    order = generator.permutation(n).astype(np.int64)
    if count >= n:
        return np.sort(order)
    if labels is not None and labels.ndim == 1:
        order = order[np.argsort(labels[order], kind="stable")]
    spaced = ((np.arange(count) + generator.random()) * n / count).astype(np.int64)
    return np.sort(order[spaced])


def is_mapped(array: npt.NDArray[Any]) -> bool:
    """Whether the array, or what it is a view of, lies in a file."""
    base: object = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            return True
        base = base.base
    return False


def _same_classes(one: npt.NDArray[np.int64] | None, other: npt.NDArray[np.int64] | None) -> bool:
    return one is None or other is None or np.array_equal(np.unique(one), np.unique(other))


def _warnings(count: int) -> tuple[str, ...]:
    if count >= FEW_SAMPLES:
        return ()
    return (
        f"calibrated on {count} samples; expected at least {FEW_SAMPLES}, better some hundreds: ranges from so few cut "
        "off what they have not seen",
    )


def _check_varied(inputs: npt.NDArray[Any]) -> None:
    """One sample after the other, to the first that differs: a mask of all would be as large as they are."""
    if all(np.array_equal(inputs[0], sample) for sample in inputs[1:]):
        raise BadInputError(
            f"the data has {len(inputs)} sample(s) to calibrate on, all equal; expected real, different ones (some "
            "hundreds): ranges taken from a constant are worth nothing"
        )
