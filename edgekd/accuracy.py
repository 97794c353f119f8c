"""How right an ONNX file is: its raw outputs against the labels, the teacher and the fp32 file."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError
from edgekd.statistics import newcombe_paired, wilson

Outputs = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

ECE_BINS = 15
TOP5_ABOVE_CLASSES = 10
SUM_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScore:
    """One class; a ratio with nothing below the line is 0. n: samples whose true class it is."""

    name: str
    n: int
    recall: float
    precision: float
    f1: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """What was measured; fractions 0..1, intervals 95 %, None where it could not be. Higher is better, save as said.

    top1_low, top1_high, agreement_*_low, agreement_*_high: Wilson. top5: only above 10 classes.
    macro_f1: mean over the classes that occur in the labels. ece: lower is better.
    confusion: rows are the true class, columns the predicted one. per_class and confusion are empty without labels.
    top1_drop: top-1 of fp32 less this one's on the same samples, lower is better; interval Newcombe, paired.
    outputs: what the file puts out, "logits" or "probabilities". constant: it answers one class for every sample
    though the samples have several; no accuracy of such a file means anything.
    """

    n: int
    labelled: bool
    top1: float | None
    top1_low: float | None
    top1_high: float | None
    top5: float | None
    macro_f1: float | None
    ece: float | None
    per_class: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]
    agreement_teacher: float | None
    agreement_teacher_low: float | None
    agreement_teacher_high: float | None
    agreement_fp32: float | None
    agreement_fp32_low: float | None
    agreement_fp32_high: float | None
    top1_drop: float | None
    top1_drop_low: float | None
    top1_drop_high: float | None
    outputs: str
    constant: bool
    isa: str


def measure(
    outputs: Outputs,
    *,
    labels: Labels | None,
    classes: tuple[str, ...],
    teacher_predictions: Labels | None = None,
    fp32_predictions: Labels | None = None,
    is_fp32: bool = False,
    isa: str,
) -> Accuracy:
    """Every accuracy number of one file, from its raw outputs.

    Args:
        outputs: (n, K) float32, logits or probabilities; which of the two is read off the numbers.
        labels: (n,) int64 in [0, K), or None: then only agreement is measured.
        classes: K names.
        teacher_predictions: (n,) int64, the teacher's classes of the same samples.
        fp32_predictions: (n,) int64, the fp32 file's classes of the same samples.
        is_fp32: this is the fp32 file: its drop is 0 and its agreement with itself 1, by definition and exactly.
        isa: the instruction set that the runtime used.

    Raises:
        BadInputError: NaN or infinite outputs, or shapes, labels or predictions that do not fit `classes` and n.
    """
    _check_outputs(outputs, num_classes=len(classes))
    n = len(outputs)
    predicted = predictions(outputs)
    given = {"labels": labels, "teacher predictions": teacher_predictions, "fp32 predictions": fp32_predictions}
    references = {name: value for name, value in given.items() if value is not None}
    for name, value in references.items():
        _check_classes(value, name=name, n=n, num_classes=len(classes))
    is_probabilities = _are_probabilities(outputs)
    confusion = None if labels is None else _confusion(labels, predicted, len(classes))
    per_class = () if confusion is None else _per_class(confusion, classes)
    return Accuracy(
        n=n,
        labelled=labels is not None,
        **_rate("top1", predicted, labels),
        top5=None if labels is None or len(classes) <= TOP5_ABOVE_CLASSES else _top5(outputs, labels),
        macro_f1=float(np.mean([score.f1 for score in per_class if score.n])) if per_class else None,
        ece=None if labels is None else _ece(outputs, labels, is_probabilities=is_probabilities),
        per_class=per_class,
        confusion=() if confusion is None else tuple(tuple(int(cell) for cell in row) for row in confusion),
        **_rate("agreement_teacher", predicted, teacher_predictions),
        **(_exactly("agreement_fp32", 1.0) if is_fp32 else _rate("agreement_fp32", predicted, fp32_predictions)),
        **_drop(predicted, labels, fp32_predictions, is_fp32=is_fp32),
        outputs="probabilities" if is_probabilities else "logits",
        constant=_spread(predicted) == 1 and any(_spread(value) > 1 for value in references.values()),
        isa=isa,
    )


def predictions(outputs: Outputs) -> Labels:
    """(n,) int64: the class with the greatest output, the first of equals.

    Raises:
        BadInputError: an output is NaN or infinite.
    """
    _check_finite(outputs)
    best: Labels = np.argmax(outputs, axis=1).astype(np.int64)
    return best


def evaluate(
    session_run: Callable[[npt.NDArray[np.generic]], npt.NDArray[np.generic]],
    inputs: npt.NDArray[np.generic],
    *,
    batch_size: int = 32,
) -> Outputs:
    """(n, K) float32: the outputs of all `inputs`, run `batch_size` at a time; the last batch may be smaller.

    Args:
        session_run: (batch, ...) in the file's own input layout and dtype -> (batch, K).
        inputs: (n, ...), the same layout and dtype.
        batch_size: at least 1.

    Raises:
        BadInputError: there are no inputs, or an output is not (batch, K).
    """
    if len(inputs) == 0:
        raise BadInputError("no samples to evaluate; expected at least one: check the data's test split")
    parts = []
    for start in range(0, len(inputs), batch_size):
        batch = inputs[start : start + batch_size]
        part = np.asarray(session_run(batch))
        if part.ndim != 2 or len(part) != len(batch):
            raise BadInputError(
                f"the model's output has shape {part.shape} for {len(batch)} samples; "
                f"expected ({len(batch)}, classes): evaluate a classifier with one output row a sample"
            )
        parts.append(part.astype(np.float32))
    outputs: Outputs = np.concatenate(parts)
    return outputs


def _rate(name: str, predicted: Labels, reference: Labels | None) -> dict[str, float | None]:
    """How often the two are equal, with its Wilson interval, as three fields."""
    if reference is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    hits, n = int(np.sum(predicted == reference)), len(predicted)
    interval = wilson(hits, n)
    return {name: hits / n, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _exactly(name: str, value: float) -> dict[str, float | None]:
    """A value known by definition: its interval has no width."""
    return {name: value, f"{name}_low": value, f"{name}_high": value}


def _drop(predicted: Labels, labels: Labels | None, fp32: Labels | None, *, is_fp32: bool) -> dict[str, float | None]:
    """Top-1 of fp32 less top-1 of this file, with its Newcombe interval, as three fields."""
    if labels is None or (fp32 is None and not is_fp32):
        return {"top1_drop": None, "top1_drop_low": None, "top1_drop_high": None}
    if fp32 is None or is_fp32:
        return _exactly("top1_drop", 0.0)
    before, after = fp32 == labels, predicted == labels
    both, only_before = int(np.sum(before & after)), int(np.sum(before & ~after))
    only_after, neither = int(np.sum(~before & after)), int(np.sum(~before & ~after))
    interval = newcombe_paired(both, only_before, only_after, neither)
    drop = (only_before - only_after) / len(labels)
    return {"top1_drop": drop, "top1_drop_low": interval.low, "top1_drop_high": interval.high}


def _confusion(labels: Labels, predicted: Labels, num_classes: int) -> npt.NDArray[np.int64]:
    """(K, K) counts; rows are the true class."""
    counts = np.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes).astype(np.int64)


def _per_class(confusion: npt.NDArray[np.int64], classes: tuple[str, ...]) -> tuple[ClassScore, ...]:
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


def _top5(outputs: Outputs, labels: Labels) -> float:
    """Equals are ranked as in `predictions`, so that a constant output does not place every class first."""
    best = np.argsort(-outputs, axis=1, kind="stable")[:, :5]
    return float(np.mean(np.any(best == labels[:, None], axis=1)))


def _ece(outputs: Outputs, labels: Labels, *, is_probabilities: bool) -> float:
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


def _are_probabilities(outputs: Outputs) -> bool:
    sums = outputs.sum(axis=1, dtype=np.float64)
    return bool(outputs.min() >= 0 and np.all(np.abs(sums - 1) <= SUM_TOLERANCE))


def _spread(classes: Labels) -> int:
    return len(np.unique(classes))


def _check_outputs(outputs: Outputs, *, num_classes: int) -> None:
    if outputs.ndim != 2 or outputs.shape[1] != num_classes or len(outputs) == 0:
        raise BadInputError(
            f"the model's outputs have shape {outputs.shape}; expected (n, {num_classes}) with n >= 1, one column for "
            "each class of the data: check that model and data belong together"
        )


def _check_finite(outputs: Outputs) -> None:
    broken = np.flatnonzero(~np.isfinite(outputs).all(axis=1))
    if len(broken):
        raise BadInputError(
            f"the model's output for sample {broken[0]} is NaN or infinite ({len(broken)} of {len(outputs)} samples); "
            "expected finite numbers: check the weights, or, in fp16, for overflow"
        )


def _check_classes(values: Labels, *, name: str, n: int, num_classes: int) -> None:
    if values.shape != (n,):
        raise BadInputError(f"{name} have shape {values.shape}; expected ({n},), one for each output: check the data")
    if not np.issubdtype(values.dtype, np.integer):
        raise BadInputError(f"{name} are {values.dtype}; expected whole numbers: convert them to int64")
    wrong = np.flatnonzero((values < 0) | (values >= num_classes))
    if len(wrong):
        raise BadInputError(
            f"{name} hold {values[wrong[0]]} at sample {wrong[0]}; expected 0 to {num_classes - 1}: check the data"
        )
