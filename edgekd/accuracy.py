"""How right an ONNX file is: its outputs against the labels, the teacher and the fp32 file."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd import label_counts
from edgekd.class_scores import ClassScore, are_probabilities, calibration_error, confusion_matrix, per_class, top5
from edgekd.errors import BadInputError
from edgekd.fidelity import Fidelity, compare_recorded
from edgekd.label_counts import Outcome
from edgekd.label_scores import average_precision_interval, label_scores
from edgekd.recorded import Recorded
from edgekd.statistics import mcnemar, newcombe_paired, wilson

Outputs = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Sets = npt.NDArray[np.bool_]

TOP5_ABOVE_CLASSES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """Of the same samples: on how many both files are right, only fp32, only this one, and neither."""

    both: int
    only_fp32: int
    only_model: int
    neither: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """What was measured; fractions 0..1, intervals 95 %, None where it could not be. Higher is better, save as said.

    top1_low, top1_high, agreement_*_low, agreement_*_high: Wilson, of a classifier. top5: only above 10 classes.
    macro_f1: mean over the classes that occur in the labels. ece: lower is better.
    confusion: rows are the true class, columns the predicted one. per_class and confusion are empty without labels.
    top1_drop: top-1 of fp32 less this one's on the same samples, lower is better; interval Newcombe, paired.
    paired: the counts that it follows from, None of fp32 itself and without labels. mcnemar_p: how often two files that
    are right equally often would be apart so far on the samples where one of them is right; exact, two-sided.
    agreement_fp32: of a network that is no classifier, the mean over samples of the share of equal decisions, with its
    interval, as `edgekd.fidelity` has it. sqnr_db: of the worst output against fp32's, 200 where equal.
    outputs: what the file puts out: "logits", "probabilities" or, of no classifier, "values". constant: it answers one
    class for every sample though the samples have several, or puts out the very same numbers for every sample though
    they are not all the same; no accuracy of such a file means anything, and no speed either.
    task: `multi-label` where a sample may have several classes: then a prediction is the set of classes whose output is
    above `threshold`, agreement the share of equal sets (Wilson), top-1, ece and confusion are not there, and micro_f1,
    macro_f1, exact_match and micro_f1_drop follow from `outcomes`, as `edgekd.label_counts` has them. map: mean average
    precision, over all thresholds; interval by bootstrap.
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
    paired: Paired | None
    mcnemar_p: float | None
    sqnr_db: float | None
    outputs: str
    constant: bool
    isa: str
    task: str = "classes"
    threshold: float | None = None
    micro_f1: float | None = None
    micro_f1_low: float | None = None
    micro_f1_high: float | None = None
    macro_f1_low: float | None = None
    macro_f1_high: float | None = None
    map: float | None = None
    map_low: float | None = None
    map_high: float | None = None
    exact_match: float | None = None
    exact_match_low: float | None = None
    exact_match_high: float | None = None
    micro_f1_drop: float | None = None
    micro_f1_drop_low: float | None = None
    micro_f1_drop_high: float | None = None
    outcomes: tuple[Outcome, ...] = ()


def assess(
    file: Recorded,
    *,
    reference: Recorded | None,
    labels: npt.NDArray[Any] | None,
    classes: tuple[str, ...],
    teacher_predictions: npt.NDArray[Any] | None = None,
    multi_label: bool = False,
    threshold: float = 0.0,
    isa: str,
) -> Accuracy:
    """Every accuracy number of one file, whatever kind of network it is.

    A first output (n, K), K > 1, is a classifier's, and is measured as `measure` says. Of any other network the
    decisions of the first output are compared with fp32's, and all outputs by SQNR.

    Args:
        file: the file's outputs.
        reference: those of the fp32 file on the same samples; None: this is the fp32 file.
        labels, teacher_predictions, threshold, isa: as `measure` takes them, or `measure_label_sets` where
            `multi_label`; only a classifier has labels.
        classes: K names, or none: then they are numbered.

    Raises:
        BadInputError: what `measure` and `compare_recorded` raise, or labels for a network that is no classifier.
    """
    shape = file.outputs(slice(0, 1))[0].shape[1:]
    if len(shape) != 1 or (shape[0] == 1 and labels is None):
        if labels is not None:
            raise BadInputError(
                f"the data has labels, and the model's first output has shape {shape} a sample; expected (classes,): "
                "leave y out, then outputs are compared with fp32's"
            )
        return _without_classes(compare_recorded(file, reference), is_fp32=reference is None, isa=isa)
    outputs = file.first().astype(np.float32, copy=False)
    _check_finite(outputs)
    found = compare_recorded(file, reference)
    if multi_label:
        return measure_label_sets(
            outputs,
            labels=labels,
            classes=classes or tuple(str(k) for k in range(shape[0])),
            teacher_sets=teacher_predictions,
            threshold=threshold,
            fp32=None if reference is None else reference.first().astype(np.float32, copy=False),
            sqnr_db=found.sqnr_db,
            unvarying=found.unvarying,
            isa=isa,
        )
    return measure(
        outputs,
        labels=labels,
        classes=classes or tuple(str(k) for k in range(shape[0])),
        teacher_predictions=teacher_predictions,
        fp32_predictions=None if reference is None else predictions(reference.first()),
        is_fp32=reference is None,
        sqnr_db=found.sqnr_db,
        unvarying=found.unvarying,
        isa=isa,
    )


def _without_classes(found: Fidelity, *, is_fp32: bool, isa: str) -> Accuracy:
    """The numbers of a network that is no classifier; None for all that needs classes."""
    agreement = {
        "agreement_fp32": found.agreement,
        "agreement_fp32_low": found.agreement_low,
        "agreement_fp32_high": found.agreement_high,
    }
    unknown = [f"{stem}{end}" for stem in ("top1", "agreement_teacher", "top1_drop") for end in ("", "_low", "_high")]
    return Accuracy(
        n=found.n,
        labelled=False,
        **dict.fromkeys([*unknown, "top5", "macro_f1", "ece"]),
        per_class=(),
        confusion=(),
        paired=None,
        mcnemar_p=None,
        **(_exactly("agreement_fp32", 1.0) if is_fp32 and found.agreement is not None else agreement),
        sqnr_db=found.sqnr_db,
        outputs="values",
        constant=found.constant or found.unvarying,
        isa=isa,
        task="classes",
        outcomes=(),
    )


def measure(
    outputs: Outputs,
    *,
    labels: Labels | None,
    classes: tuple[str, ...],
    teacher_predictions: Labels | None = None,
    fp32_predictions: Labels | None = None,
    is_fp32: bool = False,
    sqnr_db: float | None = None,
    unvarying: bool = False,
    isa: str,
) -> Accuracy:
    """Every accuracy number of a classifier's file, from its raw outputs.

    Args:
        outputs: (n, K) float32, logits or probabilities; which of the two is read off the numbers.
        labels: (n,) int64 in [0, K), or None: then only agreement is measured.
        classes: K names.
        teacher_predictions: (n,) int64, the teacher's classes of the same samples.
        fp32_predictions: (n,) int64, the fp32 file's classes of the same samples.
        is_fp32: this is the fp32 file: its drop is 0 and its agreement with itself 1, by definition and exactly.
        sqnr_db: of the outputs against those of the fp32 file; None without one.
        unvarying: whether the outputs are the very same for all samples, which are not.
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
    is_probabilities = are_probabilities(outputs)
    confusion = None if labels is None else confusion_matrix(labels, predicted, len(classes))
    scores = () if confusion is None else per_class(confusion, classes)
    paired = None if labels is None or is_fp32 else _paired(predicted, labels, fp32_predictions)
    return Accuracy(
        n=n,
        labelled=labels is not None,
        **_rate("top1", predicted, labels),
        top5=None if labels is None or len(classes) <= TOP5_ABOVE_CLASSES else top5(outputs, labels),
        macro_f1=float(np.mean([score.f1 for score in scores if score.n])) if scores else None,
        ece=None if labels is None else calibration_error(outputs, labels, is_probabilities=is_probabilities),
        per_class=scores,
        confusion=() if confusion is None else tuple(tuple(int(cell) for cell in row) for row in confusion),
        **_rate("agreement_teacher", predicted, teacher_predictions),
        **(_exactly("agreement_fp32", 1.0) if is_fp32 else _rate("agreement_fp32", predicted, fp32_predictions)),
        **(_exactly("top1_drop", 0.0) if is_fp32 and labels is not None else _drop(paired)),
        paired=paired,
        mcnemar_p=None if paired is None else mcnemar(paired.only_fp32, paired.only_model),
        sqnr_db=sqnr_db,
        outputs="probabilities" if is_probabilities else "logits",
        constant=unvarying or (_spread(predicted) == 1 and any(_spread(value) > 1 for value in references.values())),
        isa=isa,
        task="classes",
        outcomes=(),
    )


def measure_label_sets(
    outputs: Outputs,
    *,
    labels: npt.NDArray[np.integer] | None,
    classes: tuple[str, ...],
    teacher_sets: Sets | None = None,
    fp32: Outputs | None = None,
    threshold: float = 0.0,
    sqnr_db: float | None = None,
    unvarying: bool = False,
    isa: str,
) -> Accuracy:
    """Every accuracy number of a multi-label network's file, from its raw outputs.

    Args:
        outputs: (n, K) float32, logits of a sigmoid each, or probabilities with `threshold=0.5`.
        labels: (n, K) of 1, 0 and -1, unknown, or None: then only agreement is measured.
        classes: K names.
        teacher_sets: (n, K), which classes the teacher gives the same samples.
        fp32: (n, K), the fp32 file's outputs; None: this is the fp32 file.
        threshold: an output above it says that the class holds; 0 of logits is a probability of 1/2.
        sqnr_db, unvarying, isa: as `measure` takes them.

    Raises:
        BadInputError: NaN or infinite outputs, or shapes that do not fit `classes` and n.
    """
    _check_outputs(outputs, num_classes=len(classes))
    _check_finite(outputs)
    references = {"labels": labels, "the teacher's label sets": teacher_sets, "the fp32 file's outputs": fp32}
    for name, value in references.items():
        if value is not None and value.shape != outputs.shape:
            raise BadInputError(f"{name} have shape {value.shape}; expected {outputs.shape}, as the model's outputs")
    said, before = outputs > threshold, None if fp32 is None else fp32 > threshold
    outcomes = () if labels is None else label_counts.count_outcomes(labels, said, before)
    found: dict[str, Any] = label_counts.scores(outcomes, classes=len(classes)) if outcomes else {}
    found.pop("n", None)
    if fp32 is None and outcomes:
        found |= _exactly("micro_f1_drop", 0.0)
    unknown = [f"{stem}{end}" for stem in ("top1", "top1_drop") for end in ("", "_low", "_high")]
    one_for_all = len(np.unique(said, axis=0)) == 1
    varied = any(value is not None and len(np.unique(value, axis=0)) > 1 for value in (labels, teacher_sets))
    return Accuracy(
        n=len(outputs),
        labelled=labels is not None,
        **dict.fromkeys([*unknown, "top5", "ece", "mcnemar_p"]),
        macro_f1=found.pop("macro_f1", None),
        per_class=label_counts.per_class(outcomes, classes) if outcomes else (),
        confusion=(),
        **_same_sets("agreement_teacher", said, teacher_sets),
        **(_exactly("agreement_fp32", 1.0) if fp32 is None else _same_sets("agreement_fp32", said, before)),
        paired=None,
        sqnr_db=sqnr_db,
        outputs="probabilities" if threshold else "logits",
        constant=unvarying or (one_for_all and varied),
        isa=isa,
        task="multi-label",
        threshold=threshold,
        outcomes=outcomes,
        **_average_precision(outputs, labels),
        **found,
    )


def _average_precision(outputs: Outputs, labels: npt.NDArray[np.integer] | None) -> dict[str, float | None]:
    value = None if labels is None else label_scores(outputs, labels).mean_average_precision
    ends = None if labels is None else average_precision_interval(outputs, labels)
    low, high = ends or (None, None)
    return {"map": value, "map_low": low, "map_high": high}


def _same_sets(name: str, said: Sets, reference: Sets | None) -> dict[str, float | None]:
    """How often the two name the same set of classes, with its Wilson interval, as three fields."""
    if reference is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    hits, n = int((said == reference).all(axis=1).sum()), len(said)
    interval = wilson(hits, n)
    return {name: hits / n, f"{name}_low": interval.low, f"{name}_high": interval.high}


def predictions(outputs: npt.NDArray[Any]) -> Labels:
    """(n,) int64: the class with the greatest output, the first of equals.

    Raises:
        BadInputError: an output is NaN or infinite.
    """
    _check_finite(outputs)
    best: Labels = np.argmax(outputs, axis=1).astype(np.int64)
    return best


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


def _paired(predicted: Labels, labels: Labels, fp32: Labels | None) -> Paired | None:
    if fp32 is None:
        return None
    before, after = fp32 == labels, predicted == labels
    return Paired(
        both=int(np.sum(before & after)),
        only_fp32=int(np.sum(before & ~after)),
        only_model=int(np.sum(~before & after)),
        neither=int(np.sum(~before & ~after)),
    )


def _drop(paired: Paired | None) -> dict[str, float | None]:
    """Top-1 of fp32 less top-1 of this file, with its Newcombe interval, as three fields."""
    if paired is None:
        return {"top1_drop": None, "top1_drop_low": None, "top1_drop_high": None}
    interval = newcombe_paired(paired.both, paired.only_fp32, paired.only_model, paired.neither)
    n = paired.both + paired.only_fp32 + paired.only_model + paired.neither
    drop = (paired.only_fp32 - paired.only_model) / n
    return {"top1_drop": drop, "top1_drop_low": interval.low, "top1_drop_high": interval.high}


def _spread(classes: Labels) -> int:
    return len(np.unique(classes))


def _check_outputs(outputs: Outputs, *, num_classes: int) -> None:
    if outputs.ndim != 2 or outputs.shape[1] != num_classes or len(outputs) == 0:
        raise BadInputError(
            f"the model's outputs have shape {outputs.shape}; expected (n, {num_classes}) with n >= 1, one column for "
            "each class of the data: check that model and data belong together"
        )


def _check_finite(outputs: npt.NDArray[Any]) -> None:
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
