"""How close the outputs of one file are to another's, for any network: no labels and no classes are needed."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError
from edgekd.recorded import Array, Recorded, Run, record
from edgekd.rows import Inputs, chunks
from edgekd.statistics import CONFIDENCE, wilson

SQNR_CAP_DB = 200.0
"""What equal outputs have: JSON knows no infinity, and float32's 24 bits tell no more than about 150 dB apart."""

THRESHOLD = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFidelity:
    """One output. sqnr_db: None where the reference is zero throughout and this is not.

    worst: the largest absolute difference, in the output's own unit.
    """

    sqnr_db: float | None
    worst: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """Outputs beside those of a reference on the same n samples; the results of all samples have the same weight.

    sqnr_db: of the worst output, at most 200; outputs of other units cannot drown it. 10 log10 of the sum of squares
    of the reference over that of the differences; higher is better. worst: largest absolute difference of any output.
    agreement: of the first output, the mean over samples of the share of equal decisions, 0..1; None where it decides
    nothing. A decision is the class with the greatest value, or, where there is one value instead of classes and all of
    the reference lie in [0, 1], whether it is above 0.5.
    agreement_low, agreement_high: 95 %. The samples are the units: pixels of one picture are not independent.
    decisions: how many one sample has, the fewest. constant: all decisions are one class, those of the reference not.
    unvarying: every output is the very same for all samples, though the inputs are not.
    """

    n: int
    sqnr_db: float | None
    worst: float
    agreement: float | None
    agreement_low: float | None
    agreement_high: float | None
    decisions: int
    constant: bool
    unvarying: bool
    outputs: tuple[OutputFidelity, ...]


def compare(run_reference: Run, run_other: Run, inputs: Inputs, *, batch_size: int) -> Fidelity:
    """The two over all inputs; memory does not grow with them beyond `edgekd.recorded.KEEP_BYTES`.

    Args:
        run_reference, run_other: as `edgekd.runner.run_all` gives them.
        inputs: (n, ...) in the networks' own layout and type.
        batch_size: as in `edgekd.recorded.record`.

    Raises:
        BadInputError: no inputs, NaN or infinity, or outputs of other shapes than the reference's.
    """
    reference, other = (record(run, inputs, batch_size=batch_size) for run in (run_reference, run_other))
    return compare_recorded(other, reference)


def compare_recorded(other: Recorded, reference: Recorded | None) -> Fidelity:
    """As `compare`, for a reference that stands beside several files. None compares the file with itself."""
    comparison = Comparison()
    for place in other.slices():
        outputs = other.outputs(place)
        comparison.add(outputs if reference is None else reference.outputs(place), outputs)
    first = other.inputs[:1]
    return comparison.result(distinct_inputs=any(bool((chunk != first).any()) for chunk in chunks(other.inputs)))


class Comparison:
    """Sums over batches that have been added, one after another."""

    def __init__(self) -> None:
        self._signal: list[float] = []
        self._noise: list[float] = []
        self._worst: list[float] = []
        self._agreements: list[npt.NDArray[np.float64]] = []
        self._decisions = 0
        self._seen: tuple[set[int], set[int]] = (set(), set())
        self._thresholds = False
        self._in_unit = True
        self._sample: list[Array] | None = None
        self._varies = False

    def add(self, reference: list[Array], other: list[Array]) -> None:
        """Compare the outputs of one batch. reference, other: all outputs, each (batch, ...).

        Raises:
            BadInputError: NaN or infinity, or numbers or shapes of outputs differ.
        """
        first = sum(map(len, self._agreements))
        if len(reference) != len(other):
            raise BadInputError(f"the model has {len(other)} outputs, its reference {len(reference)}; expected as many")
        if not self._signal:
            self._signal, self._noise, self._worst = ([0.0] * len(reference) for _ in range(3))
        for index, (a, b) in enumerate(zip(reference, other, strict=True)):
            _check(a, b, index=index, first=first)
            self._add_sums(index, a.astype(np.float64), b.astype(np.float64))
        self._add_decisions(reference[0], other[0])
        self._sample = self._sample or [output[:1].copy() for output in other]
        self._varies |= any(map(_differs, other, self._sample))

    def result(self, *, distinct_inputs: bool = True) -> Fidelity:
        """What all batches come to. distinct_inputs: whether two of the samples were different.

        Raises:
            BadInputError: nothing was added.
        """
        if not self._agreements:
            raise BadInputError("no samples to compare; expected at least one: check the data's test split")
        outputs = tuple(
            OutputFidelity(sqnr_db=_decibels(signal, noise), worst=worst)
            for signal, noise, worst in zip(self._signal, self._noise, self._worst, strict=True)
        )
        shares = np.concatenate(self._agreements)
        decided = self._decisions > 0 and (self._in_unit or not self._thresholds)
        mean = float(shares.mean()) if decided else None
        low, high = mean_interval(shares, decisions=self._decisions) if decided else (None, None)
        return Fidelity(
            n=len(shares),
            sqnr_db=min((o.sqnr_db for o in outputs if o.sqnr_db is not None), default=None),
            worst=max(self._worst),
            agreement=mean,
            agreement_low=low,
            agreement_high=high,
            decisions=self._decisions,
            constant=decided and len(self._seen[1]) == 1 < len(self._seen[0]),
            unvarying=distinct_inputs and not self._varies and len(shares) > 1,
            outputs=outputs,
        )

    def _add_sums(self, index: int, a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> None:
        self._signal[index] += float(np.vdot(a, a))
        b -= a
        self._noise[index] += float(np.vdot(b, b))
        self._worst[index] = max(self._worst[index], float(np.abs(b, out=b).max(initial=0.0)))

    def _add_decisions(self, reference: Array, other: Array) -> None:
        axis = class_axis(reference.shape)
        if axis is None:
            self._thresholds = True
            self._in_unit &= bool(((reference >= 0) & (reference <= 1)).all())  # type: ignore[operator]
        decided = [decide(outputs, axis).reshape(len(outputs), -1) for outputs in (reference, other)]
        for seen, found in zip(self._seen, decided, strict=True):
            if len(seen) < 2:  # more than one is all that is asked
                seen.update(np.unique(found).tolist())
        count = decided[0].shape[1]
        self._decisions = min(self._decisions or count, count or self._decisions)
        equal = decided[0] == decided[1]
        self._agreements.append(equal.mean(axis=1) if count else np.ones(len(equal)))


def class_axis(shape: tuple[int, ...]) -> int | None:
    """The axis of the classes of an output (n, ...), None where it has one value instead of classes.

    (n, K) and (n, T, C): the last. (n, C, H, W) and more: axis 1.
    """
    axis = len(shape) - 1 if len(shape) <= 3 else 1
    return axis if len(shape) > 1 and shape[axis] > 1 else None


def decide(outputs: Array, axis: int | None) -> npt.NDArray[np.int64]:
    """The class with the greatest value along `axis`, the first of equals; without an axis, 1 above 0.5, else 0."""
    found = outputs > THRESHOLD if axis is None else np.argmax(outputs, axis=axis)  # type: ignore[operator]
    decided: npt.NDArray[np.int64] = np.asarray(found).astype(np.int64)
    return decided


def mean_interval(shares: npt.NDArray[np.float64], *, decisions: int) -> tuple[float, float]:
    """The 95 % interval of the mean of shares, one a sample, each of `decisions` decisions: Student's t over samples.

    Decisions of one sample are not independent, so only the number of samples narrows it. The variance is taken to be
    at least what one more decision that differs would give: full agreement on few samples is no proof. One decision a
    sample is a plain proportion, and gets its Wilson interval.
    """
    from scipy.stats import t

    n, mean = len(shares), float(shares.mean())
    if decisions == 1:
        interval = wilson(round(float(shares.sum())), n)
        return interval.low, interval.high
    if n == 1:
        return 0.0, 1.0
    variance = max(float(shares.var(ddof=1)), 1 / (decisions**2 * n))
    half = float(t.ppf((1 + CONFIDENCE) / 2, n - 1)) * math.sqrt(variance / n)
    return max(0.0, mean - half), min(1.0, mean + half)


def _decibels(signal: float, noise: float) -> float | None:
    if noise == 0:
        return SQNR_CAP_DB
    if signal == 0:
        return None
    return max(-SQNR_CAP_DB, min(SQNR_CAP_DB, 10 * (math.log10(signal) - math.log10(noise))))


def _differs(outputs: Array, sample: Array) -> bool:
    """Whether a row of `outputs`, (batch, ...), is another one than `sample`, (1, ...); nothing found is no answer."""
    return outputs.size == 0 or outputs.shape[1:] != sample.shape[1:] or bool((outputs != sample).any())


def _check(reference: Array, other: Array, *, index: int, first: int) -> None:
    if reference.shape != other.shape:
        raise BadInputError(
            f"output {index} has shape {other.shape}, the reference's {reference.shape}, from sample {first} on; "
            "expected the same: outputs whose size depends on what was found cannot be compared; cut the network before"
        )
    for name, outputs in (("model", other), ("reference", reference)):
        bad = np.flatnonzero(~np.isfinite(outputs).reshape(len(outputs), -1).all(axis=1))
        if len(bad):
            raise BadInputError(
                f"output {index} of the {name} is NaN or infinite for sample {first + bad[0]}; expected finite "
                "numbers: check the weights, or, in fp16, for overflow"
            )
