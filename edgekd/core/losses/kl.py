"""The divergence between two tempered soft labels, and what one fixed temperature makes of it: Hinton's KD."""

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekd.core.losses.hard import label_term
from edgekd.core.losses.inputs import not_negative, positive, rows


def divergence(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    student_temperature: Tensor | float,
    teacher_temperature: Tensor | float,
) -> Tensor:
    """KL(p || q) of each sample in nats, p = softmax(z_t / tau_t), q = softmax(z_s / tau_s).

    logits: (..., K); temperatures: (...), or one number for all. Returns (...) float32. Both softmaxes stay logarithms:
    a probability that underflows to 0 would make the difference infinite, a logarithm of -200 does not. Gradient flows
    into whatever of the four arguments has one.
    """
    log_q = F.log_softmax(tempered(below_maximum(student_logits), student_temperature), dim=-1)
    log_p = F.log_softmax(tempered(below_maximum(teacher_logits), teacher_temperature), dim=-1)
    return (log_p.exp() * (log_p - log_q)).sum(dim=-1)


def below_maximum(logits: Tensor) -> Tensor:
    """z - max z, float32: the same softmax, and z / tau then loses no digits to an offset that all classes share."""
    return logits.float() - logits.detach().amax(dim=-1, keepdim=True)


def tempered(logits: Tensor, temperature: Tensor | float) -> Tensor:
    """z / tau, float32. logits: (..., K); temperature: (...), or one number for all."""
    return logits.float() / (temperature.unsqueeze(-1) if isinstance(temperature, Tensor) else temperature)


def fixed_temperatures(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float) -> tuple[Tensor, Tensor]:
    """(tau_s, tau_t) of KD and its kin: one T for every sample. logits: (..., K); returns (...) float32 each."""
    positive(temperature=temperature)
    tau = teacher_logits.new_full(teacher_logits.shape[:-1], temperature, dtype=torch.float32)
    return tau, tau


def kd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: float = 4.0,
    kd_weight: float = 0.9,
    ce_weight: float = 0.1,
    mask: Tensor | None = None,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
) -> Tensor:
    """ce_weight CE + kd_weight T^2 mean_i KL(p_i || q_i), both softmaxes at one fixed T.

    Hinton, Vinyals, Dean 2015, "Distilling the Knowledge in a Neural Network" (arXiv 1503.02531). A softmax at T
    shrinks gradients by 1/T^2; the factor T^2 gives them back: d KD-term / d z_s = kd_weight T (q - p) / rows.

    logits: (batch, K) or (batch, tokens, K); labels: int64, or class probabilities shaped as the logits; mask: bool
    (batch, tokens). Returns a scalar, float32.

    Raises:
        BadInputError: shapes that do not belong together, no row, T <= 0 or a negative weight.
    """
    positive(temperature=temperature)
    not_negative(kd_weight=kd_weight)
    batch = rows(student_logits, teacher_logits, labels, mask)
    kl = divergence(batch.student, batch.teacher, student_temperature=temperature, teacher_temperature=temperature)
    ce = label_term(
        batch.student, batch.labels, weight=ce_weight, label_smoothing=label_smoothing, class_weights=class_weights
    )
    return ce + kd_weight * temperature**2 * kl.mean()
