"""Whether a teacher at chance would be right with its classes in another order, which is the usual reason for it."""

import numpy as np
import numpy.typing as npt

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
