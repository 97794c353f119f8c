"""Whether a teacher at chance would be right with its classes in another order, which is the usual reason for it."""

import numpy as np
import numpy.typing as npt

from edgekd.label_scores import label_scores

ENOUGH = 0.5
"""Share of the samples that the best order must get right to be worth telling: more than half."""


def reordered(
    predictions: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], classes: tuple[str, ...]
) -> tuple[str, ...] | None:
    """The class that each output seems to mean, where one order of them explains the labels; else None.

    predictions, labels: (n,) class numbers. The order is the assignment of outputs to classes with the most hits, by
    the Hungarian method (Kuhn 1955, doi 10.1002/nav.3800020109).
    """
    from scipy.optimize import linear_sum_assignment

    known = labels >= 0
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, (predictions[known], labels[known]), 1)
    outputs, meant = linear_sum_assignment(-counts)
    if counts[outputs, meant].sum() <= ENOUGH * max(1, known.sum()):
        return None
    return tuple(classes[number] for number in meant)


SHUFFLES = 20
"""Of the teacher's answers among the samples: what mean average precision they reach by chance, and its spread."""


def chance_map(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.integer], *, seed: int = 0) -> float:
    """The mean average precision that a multi-label teacher must exceed to know anything of these samples.

    That of its own answers given to other samples, mean and three standard deviations over shuffles: what knowing the
    frequencies of the classes alone is worth. logits: (n, K); labels: (n, K) of 1, 0 and -1, unknown.
    """
    generator = np.random.default_rng(seed)
    found = [
        label_scores(logits[generator.permutation(len(logits))], labels).mean_average_precision or 0.0
        for _ in range(SHUFFLES)
    ]
    return float(np.mean(found) + 3 * np.std(found, ddof=1))


def reordered_sets(
    logits: npt.NDArray[np.float32], labels: npt.NDArray[np.integer], classes: tuple[str, ...]
) -> tuple[str, ...] | None:
    """As `reordered`, of a multi-label teacher: the order in which its outputs correlate most with the labels.

    None where its mean average precision in that order is no better than half way from chance to all right.
    """
    from scipy.optimize import linear_sum_assignment

    known = (labels >= 0).all(axis=1)
    z, y = logits[known].astype(np.float64), labels[known].astype(np.float64)
    if len(z) < 2:
        return None
    z, y = ((a - a.mean(axis=0)) / np.maximum(a.std(axis=0), 1e-9) for a in (z, y))
    _, meant = linear_sum_assignment(-(z.T @ y))
    placed = np.empty_like(logits)
    placed[:, meant] = logits
    reached = label_scores(placed, labels).mean_average_precision or 0.0
    if reached <= (1.0 + chance_map(logits, labels)) / 2:
        return None
    return tuple(classes[number] for number in meant)
