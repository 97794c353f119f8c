"""Mean squared error between logits: no softmax, no temperature."""

from torch import Tensor

from edgekd.core.losses.hard import label_term
from edgekd.core.losses.inputs import not_negative, rows


def mse(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    kd_weight: float = 1.0,
    ce_weight: float = 0.0,
    mask: Tensor | None = None,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
) -> Tensor:
    """ce_weight CE + kd_weight mean_ik (z_s,ik - z_t,ik)^2, the mean over rows and classes.

    Ba and Caruana 2014 (arXiv 1312.6184). It is twice what T^2 KL becomes at infinite T, plus the square of the
    difference of the two mean logits (compare Kim et al. 2021, arXiv 2105.08919). As theirs it is not centred: it alone
    of all methods here sees a shared offset. By default no label enters.

    logits: (batch, K) or (batch, tokens, K); labels: int64, or class probabilities shaped as the logits; mask: bool
    (batch, tokens). Returns a scalar, float32.

    Raises:
        BadInputError: shapes that do not belong together, no row, or a negative weight.
    """
    not_negative(kd_weight=kd_weight)
    batch = rows(student_logits, teacher_logits, labels, mask)
    ce = label_term(
        batch.student, batch.labels, weight=ce_weight, label_smoothing=label_smoothing, class_weights=class_weights
    )
    return ce + kd_weight * (batch.student - batch.teacher).square().mean()
