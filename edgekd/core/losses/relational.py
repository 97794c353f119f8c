"""DIST: the student need not match the teacher's probabilities, only correlate with them."""

import torch.nn.functional as F
from torch import Tensor

from edgekd.core.losses.hard import label_term
from edgekd.core.losses.inputs import not_negative, positive, rows

NORM_FLOOR = 1e-6
"""Below this norm a vector is taken for constant: it correlates with nothing, and its gradient stays finite."""


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's r along the last dimension. a, b: (..., n) float32; returns (...) in [-1, 1], 0 for constant vectors.

    Shifting either vector, or scaling it by a positive number, changes nothing.
    """
    a, b = a - a.mean(dim=-1, keepdim=True), b - b.mean(dim=-1, keepdim=True)
    return (a * b).sum(dim=-1) / (_norm(a) * _norm(b))


def _norm(values: Tensor) -> Tensor:
    return (values.square().sum(dim=-1) + NORM_FLOOR**2).sqrt()


def dist(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: float = 4.0,
    kd_weight: float = 2.0,
    ce_weight: float = 1.0,
    mask: Tensor | None = None,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
) -> Tensor:
    """ce_weight CE + kd_weight T^2 [(1 - mean_i r(p_i, q_i)) + (1 - mean_k r(p_.k, q_.k))], r Pearson's correlation.

    Huang et al., "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022 (arXiv 2205.10536): p = softmax(z_t /
    T) and q = softmax(z_s / T), compared over the classes of each sample and over the samples of each class. What a
    positive scale or a shift does to a row of probabilities does not matter; scaling logits does matter, softmax is
    not linear.

    Guarded: a norm is at least 1e-6; theirs adds 1e-8 to the product of both. A batch of one row has nothing to
    correlate over samples: that half is then the constant 1. With tokens, "samples" are all kept tokens of the batch.

    logits: (batch, K) or (batch, tokens, K); labels: int64, or class probabilities shaped as the logits; mask: bool
    (batch, tokens). Returns a scalar, float32.

    Raises:
        BadInputError: shapes that do not belong together, no row, T <= 0 or a negative weight.
    """
    positive(temperature=temperature)
    not_negative(kd_weight=kd_weight)
    batch = rows(student_logits, teacher_logits, labels, mask)
    p, q = F.softmax(batch.teacher / temperature, dim=-1), F.softmax(batch.student / temperature, dim=-1)
    apart = 2.0 - correlation(q, p).mean() - correlation(q.T, p.T).mean()
    ce = label_term(
        batch.student, batch.labels, weight=ce_weight, label_smoothing=label_smoothing, class_weights=class_weights
    )
    return ce + kd_weight * temperature**2 * apart
