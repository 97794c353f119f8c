"""Whole groups (subjects, speakers, machines) for a split, so that none stands on both sides of it."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError

Index = npt.NDArray[np.int64]


def draw_groups(
    labels: npt.NDArray[np.integer],
    groups: npt.NDArray[np.str_],
    available: Index,
    share: float,
    generator: np.random.Generator,
    *,
    classes: int,
) -> Index:
    """Sorted indices of whole groups that hold about `share` of each class of the available samples.

    Greedy, in an order drawn by `generator`: a group is taken where it brings the counts of the classes closer to what
    is wanted; then, for a class that is still missing, the smallest group that has it. At least one group is left.
    labels: (n,) with -1 for none, which counts as a class; or (n, K) of 1, 0 and -1, where the number of samples counts
    beside the positives of each class. groups: (n,) names.
    """
    names, member = np.unique(groups[available], return_inverse=True)
    counts = np.zeros((len(names), classes + 1))
    if labels.ndim == 2:
        np.add.at(counts[:, :classes], member, labels[available] == 1)
        counts[:, classes] = np.bincount(member, minlength=len(names))
    else:
        np.add.at(counts, (member, labels[available]), 1)  # label -1 counts in the last column
    wanted = share * counts.sum(axis=0)
    scale = 1.0 / np.maximum(wanted, 1.0)
    taken = np.zeros(len(names), dtype=bool)
    have = np.zeros(classes + 1)
    for group in generator.permutation(len(names)):
        if (np.abs(wanted - have - counts[group]) * scale).sum() < (np.abs(wanted - have) * scale).sum():
            taken[group] = True
            have += counts[group]
    for label in range(classes):
        rest = np.flatnonzero(~taken & (counts[:, label] > 0))
        if wanted[label] > 0 and have[label] == 0 and len(rest):
            group = rest[np.argmin(counts[rest].sum(axis=1))]
            taken[group] = True
            have += counts[group]
    if taken.all():  # nothing would be left to train on
        taken[np.argmax(counts.sum(axis=1))] = False
    return np.sort(available[taken[member]])


def check_groups(parts: Mapping[str, npt.NDArray[np.str_] | None], source: str) -> None:
    """Refuse a group that stands in two of the splits that a source brings itself.

    Raises:
        BadInputError: it names the group and both splits.
    """
    seen: dict[str, str] = {}
    for split, groups in parts.items():
        for group in [] if groups is None else np.unique(groups).tolist():
            if seen.setdefault(group, split) != split:
                raise BadInputError(
                    f"{source}: group '{group}' is in {seen[group]} and in {split}; expected each group in one split, "
                    "or the test says nothing of new ones: move its samples together"
                )
