"""How right a multi-label network is: average precision, F1 and exact match from its outputs and (n, K) labels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError
from edgekd.statistics import share_interval

Outputs = npt.NDArray[np.float32]
Labels = npt.NDArray[np.integer]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelScores:
    """Fractions; higher is better. None where no class, or no sample, has what they need.

    mean_average_precision: over the classes that some sample has. macro_f1: over the classes that some sample has, at
    the threshold. exact_match: share of the fully labelled samples of which every class is right. average_precision: of
    each class. n: samples.
    """

    n: int
    mean_average_precision: float | None
    macro_f1: float | None
    exact_match: float | None
    average_precision: tuple[float | None, ...]


def label_scores(outputs: Outputs, labels: Labels, *, threshold: float = 0.0) -> LabelScores:
    """The scores of logits (n, K), or of probabilities with `threshold=0.5`, beside labels (n, K).

    labels: 1 where the sample has the class, 0 where not, -1 where nobody said: left out of that class's scores.
    threshold: an output above it says that the class is there; 0 for logits is a probability of 1/2.

    Raises:
        BadInputError: shapes that do not belong together, other labels than -1, 0, 1, or outputs that are not finite.
    """
    if outputs.shape != labels.shape or outputs.ndim != 2 or 0 in outputs.shape:
        raise BadInputError(f"outputs are {outputs.shape}, labels {labels.shape}; expected both (samples, classes)")
    if not np.isin(labels, (-1, 0, 1)).all():
        raise BadInputError("a label is neither 1, 0 nor -1 (unknown); expected one of these for each class")
    if not np.isfinite(outputs).all():
        raise BadInputError("an output is NaN or infinite; expected finite logits or probabilities")
    known, said = labels >= 0, outputs > threshold
    precisions = tuple(average_precision(outputs[k, c], labels[k, c]) for c, k in enumerate(known.T))
    hits = (said & (labels == 1)).sum(axis=0)
    wrong = ((said & (labels == 0)) | (~said & (labels == 1))).sum(axis=0)
    there = (labels == 1).any(axis=0)
    f1 = 2 * hits[there] / (2 * hits[there] + wrong[there])
    whole = known.all(axis=1)
    scored = [precision for precision in precisions if precision is not None]
    return LabelScores(
        n=len(labels),
        mean_average_precision=float(np.mean(scored)) if scored else None,
        macro_f1=float(f1.mean()) if there.any() else None,
        exact_match=float((said == (labels == 1))[whole].all(axis=1).mean()) if whole.any() else None,
        average_precision=precisions,
    )


def average_precision(scores: npt.NDArray[np.float32], labels: Labels) -> float | None:
    """The area under the precision-recall curve as a step function, of one class: sum_i (R_i - R_(i-1)) P_i.

    scores, labels: (n,), labels 0 or 1. None where no sample has the class. No interpolation: as scikit-learn's
    average_precision_score (https://scikit-learn.org/stable/modules/model_evaluation.html#precision-recall-f-measure-metrics).
    Equal scores count as one step, so the
    order of the samples does not matter.
    """
    positives = int(labels.sum())
    if positives == 0:
        return None
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(labels[order])
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # the last sample of each step
    precision, recall = hits[ends] / (ends + 1), hits[ends] / positives
    return float((np.diff(recall, prepend=0.0) * precision).sum())


REPLICATES = 200
"""Resampled test sets: the standard error of a mean average precision is then known to about 5 % of itself."""

BLOCK = 1 << 22
"""Weights at a time, float64: 32 MiB."""


def average_precision_interval(outputs: Outputs, labels: Labels, *, seed: int = 0) -> tuple[float, float] | None:
    """The 95 % interval of the mean average precision; None where no class has a sample.

    The variance is that over test sets drawn from this one with replacement (Efron 1979,
    https://doi.org/10.1214/aos/1176344552), samples whole. outputs, labels: as `label_scores`. seed: of the draws.
    """
    n = len(outputs)
    judged = [k for k in range(labels.shape[1]) if (labels[:, k] == 1).any()]
    if not judged:
        return None
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(n, np.full(n, 1.0 / n), size=REPLICATES)
    values = np.mean([_resampled(outputs[:, k], labels[:, k], weights) for k in judged], axis=0)
    value = label_scores(outputs, labels).mean_average_precision
    assert value is not None
    positives = np.array([(labels[:, k] == 1).sum() for k in judged])
    most = len(judged) ** 2 / float((1.0 / positives).sum())
    interval = share_interval(value, variance=float(values.var(ddof=1)), alike=most, most=most)
    return interval.low, interval.high


def _resampled(scores: npt.NDArray[np.float32], labels: Labels, weights: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Average precision of one class in each resampled set, (replicates,); 0 where a set has no sample of the class.

    scores, labels: (n,); weights: (replicates, n), how often each sample was drawn.
    """
    known = np.flatnonzero(labels >= 0)
    order = known[np.argsort(-scores[known], kind="stable")]
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    rows = max(1, BLOCK // len(order))
    found = []
    for start in range(0, len(weights), rows):
        drawn = weights[start : start + rows][:, order]
        seen = np.cumsum(drawn, axis=1)[:, ends]
        hits = np.cumsum(drawn * labels[order], axis=1)[:, ends].astype(np.float64)
        recall = hits / np.maximum(hits[:, -1:], 1.0)
        found.append((np.diff(recall, axis=1, prepend=0.0) * hits / np.maximum(seen, 1)).sum(axis=1))
    return np.concatenate(found)
