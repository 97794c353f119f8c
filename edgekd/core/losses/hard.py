"""Cross-entropy to the labels: the term that every method shares, and the baseline without a teacher."""

import torch.nn.functional as F
from torch import Tensor

from edgekd.core.losses.inputs import label_rows, not_negative
from edgekd.errors import BadInputError

UNLABELLED = -1
"""The label of a sample that has none: the label term leaves it out. Any other number outside [0, K) is an error."""


def labelled(labels: Tensor) -> Tensor:
    """Which rows have a label, (rows,) bool. labels: (rows,) int64, or (rows, K) float class probabilities."""
    return labels.sum(dim=-1) > 0 if labels.is_floating_point() else labels != UNLABELLED


def cross_entropy(
    student_logits: Tensor,
    labels: Tensor,
    *,
    mask: Tensor | None = None,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
) -> Tensor:
    """-mean_i sum_k w_k y_ik ln softmax(z_s)_ik, y the labels, smoothed as y (1 - s) + s / K.

    student_logits: (batch, K) or (batch, tokens, K); labels: int64 (batch,) or (batch, tokens), or class probabilities
    shaped as the logits; mask: bool (batch, tokens); class_weights: w, (K,) float32, 1 without. Returns a scalar,
    float32, nats.

    A sample without a label (-1, or probabilities that are all 0) adds nothing to the sum and counts in the mean: so
    each sample weighs the same whatever shares its batch, in as many parts or processes as that is computed. For the
    same reason the mean is over samples and not over their weights.

    Raises:
        BadInputError: shapes that do not belong together, no row to learn from, or a smoothing outside [0, 1).
    """
    student, labels = label_rows(student_logits, labels, mask)
    return label_term(student, labels, weight=1.0, label_smoothing=label_smoothing, class_weights=class_weights)


def label_term(
    student: Tensor, labels: Tensor, *, weight: float, label_smoothing: float, class_weights: Tensor | None = None
) -> Tensor:
    """weight CE, over rows that are selected already; not computed at all where the weight is 0.

    student: (rows, K) float32; labels: (rows,) int64 or (rows, K) float32; class_weights: (K,) float32.
    """
    not_negative(ce_weight=weight)
    if not 0 <= label_smoothing < 1:
        raise BadInputError(
            f"label_smoothing is {label_smoothing}; expected a share of at least 0 and below 1, such as 0.1"
        )
    if weight == 0:
        return student.new_zeros(())
    if labels.is_floating_point():
        each = F.cross_entropy(student, labels, weight=class_weights, label_smoothing=label_smoothing, reduction="none")
        total = (each * labelled(labels)).sum()  # smoothing would give a row without a label one
    else:
        # Not ignore_index = -100, torch's own: such a label is an error, not a sample to leave out.
        total = F.cross_entropy(
            student,
            labels,
            weight=class_weights,
            label_smoothing=label_smoothing,
            ignore_index=UNLABELLED,
            reduction="sum",
        )
    return weight * (total / len(student))
