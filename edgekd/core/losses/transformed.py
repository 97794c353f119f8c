"""Transformed teacher matching: the temperature only on the teacher's side, as a power of its probabilities."""

import torch
from torch import Tensor

from edgekd.core.losses.hard import label_term
from edgekd.core.losses.inputs import Rows, not_negative, positive, rows
from edgekd.core.losses.kl import divergence


def transformed_temperatures(
    student_logits: Tensor, teacher_logits: Tensor, *, temperature: float
) -> tuple[Tensor, Tensor]:
    """(tau_s, tau_t) = (1, T). logits: (..., K); returns (...) float32 each."""
    positive(temperature=temperature)
    tau = teacher_logits.new_full(teacher_logits.shape[:-1], temperature, dtype=torch.float32)
    return torch.ones_like(tau), tau


def ttm(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: float = 10.0,
    kd_weight: float = 100.0,
    mask: Tensor | None = None,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
) -> Tensor:
    """CE + kd_weight mean_i KL(p_i || q_i), p = softmax(z_t / T), q = softmax(z_s); no factor T^2.

    Zheng and Yang, "Knowledge Distillation Based on Transformed Teacher Matching", ICLR 2024 (arXiv 2402.11148).
    Softmax at T is the power p^gamma, normalised, gamma = 1/T. Against KD without its T^2, q_T the student at T: KL(p
    || q) = T KL(p || q_T) + (T - 1) H(p) - (T - 1) H_gamma(q), H_gamma the Renyi entropy of order gamma: TTM is KD
    that also asks the student for entropy. Differs: their code raises float32 probabilities to the power gamma, here
    logits are divided, which no underflow can spoil.

    logits: (batch, K) or (batch, tokens, K); labels: int64, or class probabilities shaped as the logits; mask: bool
    (batch, tokens). Returns a scalar, float32.

    Raises:
        BadInputError: shapes that do not belong together, no row, T <= 0 or a negative weight.
    """
    positive(temperature=temperature)
    not_negative(kd_weight=kd_weight)
    batch = rows(student_logits, teacher_logits, labels, mask)
    ce = label_term(
        batch.student, batch.labels, weight=1.0, label_smoothing=label_smoothing, class_weights=class_weights
    )
    return ce + kd_weight * _matching(batch, temperature).mean()


def wttm(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: float = 10.0,
    kd_weight: float = 3.0,
    mask: Tensor | None = None,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
) -> Tensor:
    """CE + kd_weight mean_i[U_i KL(p_i || q_i)], U = sum_k softmax(z_t)_k^gamma, gamma = 1/T; p, q as in `ttm`.

    The weighted form of the same paper. U, the teacher's power sum, lies between 1 (sure) and K^(1 - gamma) (uniform):
    it weighs down rows on which the teacher is sure, and is why the default weight is so much smaller. Guarded: U is
    computed as exp(logsumexp(z_t / T) - logsumexp(z_t) / T).

    logits: (batch, K) or (batch, tokens, K); labels: int64, or class probabilities shaped as the logits; mask: bool
    (batch, tokens). Returns a scalar, float32.

    Raises:
        BadInputError: shapes that do not belong together, no row, T <= 0 or a negative weight.
    """
    positive(temperature=temperature)
    not_negative(kd_weight=kd_weight)
    batch = rows(student_logits, teacher_logits, labels, mask)
    teacher = batch.teacher
    power_sum = ((teacher / temperature).logsumexp(dim=-1) - teacher.logsumexp(dim=-1) / temperature).exp()
    ce = label_term(
        batch.student, batch.labels, weight=1.0, label_smoothing=label_smoothing, class_weights=class_weights
    )
    return ce + kd_weight * (power_sum * _matching(batch, temperature)).mean()


def _matching(batch: Rows, temperature: float) -> Tensor:
    return divergence(batch.student, batch.teacher, student_temperature=1.0, teacher_temperature=temperature)
