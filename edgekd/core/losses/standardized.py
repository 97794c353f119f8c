"""Logits measured in their own standard deviation: LSKD, NormKD and Spherical KD.

sigma is the standard deviation over the classes with K - 1 in the denominator, as in the authors' code. Each method's
temperatures are a multiple of it, with the student's attached: gradient flows through sigma_s, the update cannot change
the student's scale, and only cross-entropy holds it.
"""

import torch
from torch import Tensor

from edgekd.core.losses.hard import label_term
from edgekd.core.losses.inputs import not_negative, positive, rows
from edgekd.core.losses.kl import divergence

SPREAD_FLOOR = 1e-3
"""Below this spread a row is taken for constant. Authors add 1e-7 (LSKD) or nothing: a constant row gives NaN there."""


def spread(logits: Tensor) -> Tensor:
    """sigma = sqrt(var_k z + 1e-6) of each sample, smooth at constants too. logits: (..., K) float32; returns (...)."""
    return (logits.var(dim=-1) + SPREAD_FLOOR**2).sqrt()


def standard_temperatures(
    student_logits: Tensor, teacher_logits: Tensor, *, temperature: float
) -> tuple[Tensor, Tensor]:
    """(tau_s, tau_t) = temperature (sigma_s, sigma_t); tau_s attached. logits: (..., K); returns (...) float32 each."""
    positive(temperature=temperature)
    return temperature * spread(student_logits.float()), temperature * spread(teacher_logits.float())


def lskd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: float = 2.0,
    kd_weight: float = 9.0,
    ce_weight: float = 0.1,
    mask: Tensor | None = None,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
) -> Tensor:
    """ce_weight CE + kd_weight T^2 mean_i KL(p_i || q_i), softmaxes of the z-scores (z - mean) / sigma at T.

    Sun et al., "Logit Standardization in Knowledge Distillation", CVPR 2024 (arXiv 2403.01427). A z-score at T is the
    logit at tau = T sigma, which is how it is computed here. Attached: sigma_s. Guarded: sigma has a floor, theirs is
    sigma + 1e-7, with a NaN gradient at constant logits. Their KD weight 9 stands for 0.9 times 10.

    The loss does not see the scale of either network, so the student's is free: watch its logits before INT8.

    logits: (batch, K) or (batch, tokens, K); labels: int64, or class probabilities shaped as the logits; mask: bool
    (batch, tokens). Returns a scalar, float32.

    Raises:
        BadInputError: shapes that do not belong together, no row, T <= 0 or a negative weight.
    """
    not_negative(kd_weight=kd_weight)
    batch = rows(student_logits, teacher_logits, labels, mask)
    tau_s, tau_t = standard_temperatures(batch.student, batch.teacher, temperature=temperature)
    kl = divergence(batch.student, batch.teacher, student_temperature=tau_s, teacher_temperature=tau_t)
    ce = label_term(
        batch.student, batch.labels, weight=ce_weight, label_smoothing=label_smoothing, class_weights=class_weights
    )
    return ce + kd_weight * temperature**2 * kl.mean()


def norm_kd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: float = 2.0,
    kd_weight: float = 0.9,
    ce_weight: float = 0.1,
    mask: Tensor | None = None,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
) -> Tensor:
    """ce_weight CE + kd_weight mean_i[tau_t,i^2 KL(p_i || q_i)], tau = temperature sigma for each network.

    Chi et al., "NormKD: Normalized Logits for Knowledge Distillation" (arXiv 2308.00520). The soft labels are those of
    `lskd`; only the factor differs, tau_t^2 for T^2, so that a wide teacher row counts more. Attached: sigma_s.
    Guarded: sigma has a floor, theirs none.

    logits: (batch, K) or (batch, tokens, K); labels: int64, or class probabilities shaped as the logits; mask: bool
    (batch, tokens). Returns a scalar, float32.

    Raises:
        BadInputError: shapes that do not belong together, no row, temperature <= 0 or a negative weight.
    """
    not_negative(kd_weight=kd_weight)
    batch = rows(student_logits, teacher_logits, labels, mask)
    tau_s, tau_t = standard_temperatures(batch.student, batch.teacher, temperature=temperature)
    kl = divergence(batch.student, batch.teacher, student_temperature=tau_s, teacher_temperature=tau_t)
    ce = label_term(
        batch.student, batch.labels, weight=ce_weight, label_smoothing=label_smoothing, class_weights=class_weights
    )
    return ce + kd_weight * (tau_t.square() * kl).mean()


def spherical_temperatures(
    student_logits: Tensor, teacher_logits: Tensor, *, temperature: float
) -> tuple[Tensor, Tensor]:
    """(tau_s, tau_t) = (T sigma_s / sigma_t, T); tau_s attached. logits: (..., K); returns (...) float32 each."""
    positive(temperature=temperature)
    sigma_s, sigma_t = spread(student_logits.float()), spread(teacher_logits.float())
    return temperature * sigma_s / sigma_t, torch.full_like(sigma_t, temperature)


def spherical_kd(
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
    """ce_weight CE + kd_weight T^2 mean_i KL(p_i || q_i), all on the student's logits times sigma_t / sigma_s.

    Guo et al., "Reducing the Teacher-Student Gap via Spherical Knowledge Distillation" (arXiv 2010.07485). CE too sees
    the rescaled logits. Attached: sigma_s. Guarded: sigma has a floor. Differs: their public code gives both networks
    one fixed spread of 2 to 3; here each row takes the spread of the teacher's row.

    Nothing in this loss sees the student's own scale, so its confidence as deployed is trained by no term.

    logits: (batch, K) or (batch, tokens, K); labels: int64, or class probabilities shaped as the logits; mask: bool
    (batch, tokens). Returns a scalar, float32.

    Raises:
        BadInputError: shapes that do not belong together, no row, T <= 0 or a negative weight.
    """
    positive(temperature=temperature)
    not_negative(kd_weight=kd_weight)
    batch = rows(student_logits, teacher_logits, labels, mask)
    rescaled = batch.student * (spread(batch.teacher) / spread(batch.student)).unsqueeze(-1)
    kl = divergence(rescaled, batch.teacher, student_temperature=temperature, teacher_temperature=temperature)
    ce = label_term(
        rescaled, batch.labels, weight=ce_weight, label_smoothing=label_smoothing, class_weights=class_weights
    )
    return ce + kd_weight * temperature**2 * kl.mean()
