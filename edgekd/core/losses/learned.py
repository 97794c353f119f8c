"""CTKD: one temperature that is learned against the student, so that the task grows harder."""

import torch
from torch import Tensor

from edgekd.core.losses.hard import label_term
from edgekd.core.losses.inputs import not_negative, rows
from edgekd.core.losses.kl import divergence
from edgekd.errors import BadInputError


def learned_temperature(theta: Tensor) -> Tensor:
    """T = 1 + 20 sigmoid(theta), between 1 and 21. theta: one number, float32; returns a scalar with its gradient."""
    return 1.0 + 20.0 * torch.sigmoid(theta.float().reshape(()))


def learned_temperatures(student_logits: Tensor, teacher_logits: Tensor, *, theta: Tensor) -> tuple[Tensor, Tensor]:
    """(tau_s, tau_t), both the learned T. logits: (..., K); returns (...) float32 each."""
    tau = learned_temperature(theta).expand(teacher_logits.shape[:-1])
    return tau, tau


def reverse_gradient(values: Tensor, factor: float) -> Tensor:
    """The same values; their gradient is multiplied by -factor."""
    # values.detach() - values is 0 exactly, so the forward value keeps all its bits.
    return values.detach() + factor * (values.detach() - values)


def ctkd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    theta: Tensor,
    reversal: float,
    kd_weight: float = 0.9,
    ce_weight: float = 0.1,
    mask: Tensor | None = None,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
) -> Tensor:
    """ce_weight CE + kd_weight T^2 mean_i KL(p_i || q_i), T = 1 + 20 sigmoid(theta) learned against the student.

    Li et al., "Curriculum Temperature for Knowledge Distillation", AAAI 2023 (arXiv 2211.16231), its global variant.
    The gradient to theta, through both softmaxes and T^2, comes multiplied by -reversal: the optimiser that lowers the
    loss in the student raises it in theta. Its authors start at theta = 1 and let reversal grow from 0 to 1 along a
    cosine in 10 epochs (the objective does). Attached: theta alone; T is one number, the student's logits do not move
    it.

    logits: (batch, K) or (batch, tokens, K); labels: int64, or class probabilities shaped as the logits; theta: one
    float; mask: bool (batch, tokens). Returns a scalar, float32.

    Raises:
        BadInputError: shapes that do not belong together, no row, a theta that is not one number, a negative weight.
    """
    not_negative(reversal=reversal, kd_weight=kd_weight)
    if theta.numel() != 1:
        raise BadInputError(f"theta is {tuple(theta.shape)}; expected one number, such as torch.ones(1)")
    batch = rows(student_logits, teacher_logits, labels, mask)
    temperature = learned_temperature(reverse_gradient(theta, reversal))
    kl = divergence(batch.student, batch.teacher, student_temperature=temperature, teacher_temperature=temperature)
    ce = label_term(
        batch.student, batch.labels, weight=ce_weight, label_smoothing=label_smoothing, class_weights=class_weights
    )
    return ce + kd_weight * temperature.square() * kl.mean()
