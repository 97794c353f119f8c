"""A share of multi-label samples in which every class keeps its frequency.

Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011, "On the Stratification of Multi-Label Data", ECML PKDD,
algorithm 1, https://doi.org/10.1007/978-3-642-23808-6_10) with two subsets: what is drawn, and the rest. The rarest
class is dealt out first, as frequent ones can still be evened out by what comes later.
"""

import numpy as np
import numpy.typing as npt

Index = npt.NDArray[np.int64]


def draw_label_sets(
    labels: npt.NDArray[np.int8], available: Index, share: float, generator: np.random.Generator
) -> Index:
    """Sorted indices of about `share` of the available samples, about the same share of every class's positives.

    At least one positive of each class that has two or more, as far as samples with several classes allow; samples with
    no class fill up the count. labels: (n, K) of 1, 0 and -1; an unknown counts as 0.
    """
    positive = labels[available] == 1
    counts = positive.sum(axis=0).astype(np.float64)
    # What each subset still wants of each class, and of samples at all: [drawn, rest].
    drawn = np.where(counts > 1, np.clip(share * counts, 1.0, counts - 1.0), 0.0)
    wanted = np.stack([drawn, counts - drawn])
    samples = np.array([share, 1.0 - share]) * len(available)
    free = np.ones(len(available), dtype=bool)
    taken = np.zeros(len(available), dtype=bool)
    order = generator.permutation(len(available))
    left = counts.copy()
    while left.any():
        rarest = int(np.argmin(np.where(left > 0, left, np.inf)))
        for place in order[free[order] & positive[order, rarest]]:
            side = _side(wanted[:, rarest], samples)
            taken[place], free[place] = side == 0, False
            wanted[side] -= positive[place]
            samples[side] -= 1
            left -= positive[place]
    rest = order[free[order]]
    taken[rest[: max(0, round(float(samples[0])))]] = True
    return np.sort(available[taken])


def _side(wanted: npt.NDArray[np.float64], samples: npt.NDArray[np.float64]) -> int:
    """The subset that wants the class more, else samples more, else the drawn one."""
    if wanted[0] != wanted[1]:
        return int(wanted[0] < wanted[1])
    return int(samples[0] < samples[1])
