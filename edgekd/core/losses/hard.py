"""Cross-entropy to the labels: the term that every method shares, and the baseline without a teacher."""

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekd.core.losses.inputs import label_rows, not_negative
from edgekd.errors import BadInputError

NO_LABEL = torch.iinfo(torch.int64).min
"""Torch would skip label -100 in silence, and the distillation term would not; the mask leaves tokens out of both."""


def cross_entropy(
    student_logits: Tensor, labels: Tensor, *, mask: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """-mean_i sum_k y_ik ln softmax(z_s)_ik, y the labels, smoothed as y (1 - s) + s / K.

    student_logits: (batch, K) or (batch, tokens, K); labels: int64 (batch,) or (batch, tokens), or class probabilities
    shaped as the logits; mask: bool (batch, tokens). Returns a scalar, float32, nats.

    Raises:
        BadInputError: shapes that do not belong together, no row to learn from, or a smoothing outside [0, 1).
    """
    student, labels = label_rows(student_logits, labels, mask)
    return label_term(student, labels, weight=1.0, label_smoothing=label_smoothing)


def label_term(student: Tensor, labels: Tensor, *, weight: float, label_smoothing: float) -> Tensor:
    """weight CE, over rows that are selected already; not computed at all where the weight is 0.

    student: (rows, K) float32; labels: (rows,) int64 or (rows, K) float32.
    """
    not_negative(ce_weight=weight)
    if not 0 <= label_smoothing < 1:
        raise BadInputError(
            f"label_smoothing is {label_smoothing}; expected a share of at least 0 and below 1, such as 0.1"
        )
    if weight == 0:
        return student.new_zeros(())
    return weight * F.cross_entropy(student, labels, label_smoothing=label_smoothing, ignore_index=NO_LABEL)
