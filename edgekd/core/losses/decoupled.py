"""KD taken apart into the true class against the rest (TCKD) and the rest among themselves (NCKD)."""

import torch
from torch import Tensor

from edgekd.core.losses.adaptive import cist_temperatures
from edgekd.core.losses.hard import label_term
from edgekd.core.losses.inputs import not_negative, one_class, positive, rows
from edgekd.core.losses.kl import tempered

LEFT_OUT = -1e30
"""A logit whose softmax is 0. Finite: minus infinity would make NaN of 0 (inf - inf) in the divergence."""


def decoupled(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    student_temperature: Tensor | float,
    teacher_temperature: Tensor | float,
) -> tuple[Tensor, Tensor]:
    """(TCKD, NCKD) of each sample in nats; KL(p || q) = TCKD + (1 - p_y) NCKD.

    TCKD = KL(b_t || b_s), b = (p_y, 1 - p_y); NCKD = KL of the softmaxes without class y. logits: (rows, K) float32;
    labels: (rows,) int64; temperatures: (rows,), or one number for all. Returns (rows,) float32 each.
    """
    true = torch.zeros_like(student_logits, dtype=torch.bool).scatter_(-1, labels.unsqueeze(-1), True)
    p_true, p_rest, p_others = _parts(tempered(teacher_logits, teacher_temperature), true, labels)
    q_true, q_rest, q_others = _parts(tempered(student_logits, student_temperature), true, labels)
    tckd = p_true.exp() * (p_true - q_true) + p_rest.exp() * (p_rest - q_rest)
    return tckd, (p_others.exp() * (p_others - q_others)).sum(dim=-1)


def _parts(scaled: Tensor, true: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """ln p_y, ln(1 - p_y), and the log-softmax without class y, all from logits: 1 - p_y itself would round to 0."""
    others = scaled.masked_fill(true, LEFT_OUT)
    whole, rest = scaled.logsumexp(dim=-1), others.logsumexp(dim=-1)
    at_label = scaled.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    return at_label - whole, rest - whole, others - rest.unsqueeze(-1)


def dkd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: float = 4.0,
    tckd_weight: float = 1.0,
    nckd_weight: float = 8.0,
    kd_weight: float = 1.0,
    ce_weight: float = 1.0,
    mask: Tensor | None = None,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
) -> Tensor:
    """ce_weight CE + kd_weight T^2 mean_i[tckd_weight TCKD_i + nckd_weight NCKD_i].

    Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022 (arXiv 2203.08679): plain KD weighs NCKD with 1 - p_y,
    and so mutes it where the teacher is sure. Its authors ramp kd_weight over 20 of 240 epochs (the objective's
    `warmup_epochs`) and take nckd_weight 6 for some pairs. Guarded: everything stays a logarithm, where their code
    takes the logarithm of probabilities that can be 0, and leaves the true class out by subtracting 1,000 from its
    logit.

    logits: (batch, K) or (batch, tokens, K); labels: int64, one true class; mask: bool (batch, tokens). Returns a
    scalar, float32.

    Raises:
        BadInputError: shapes that do not belong together, no row, mixed labels, T <= 0 or a negative weight.
    """
    positive(temperature=temperature)
    not_negative(tckd_weight=tckd_weight, nckd_weight=nckd_weight, kd_weight=kd_weight)
    one_class(labels)
    batch = rows(student_logits, teacher_logits, labels, mask)
    tckd, nckd = decoupled(
        batch.student,
        batch.teacher,
        batch.labels,
        student_temperature=temperature,
        teacher_temperature=temperature,
    )
    ce = label_term(
        batch.student, batch.labels, weight=ce_weight, label_smoothing=label_smoothing, class_weights=class_weights
    )
    return ce + kd_weight * temperature**2 * (tckd_weight * tckd.mean() + nckd_weight * nckd.mean())


def dkd_cist(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    rho: float = 3.0,
    tckd_weight: float = 1.0,
    nckd_weight: float = 2.0,
    kd_weight: float = 8.0,
    mask: Tensor | None = None,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
) -> Tensor:
    """CE + mean_i[tau_t,i tau_s,i (tckd_weight TCKD_i + nckd_weight kd_weight NCKD_i)] at CIST's temperatures.

    As in the public research code of CIST's first author (see `cist`): kd_weight multiplies NCKD alone. Detached:
    tau_s. The centred maximum behind tau is that of all classes, the true one included. Guarded as `dkd`.

    logits: (batch, K) or (batch, tokens, K); labels: int64, one true class; mask: bool (batch, tokens). Returns a
    scalar, float32.

    Raises:
        BadInputError: shapes that do not belong together, no row, mixed labels, rho <= 0 or a negative weight.
    """
    not_negative(tckd_weight=tckd_weight, nckd_weight=nckd_weight, kd_weight=kd_weight)
    one_class(labels)
    batch = rows(student_logits, teacher_logits, labels, mask)
    tau_s, tau_t = cist_temperatures(batch.student, batch.teacher, rho=rho)
    tckd, nckd = decoupled(
        batch.student, batch.teacher, batch.labels, student_temperature=tau_s, teacher_temperature=tau_t
    )
    ce = label_term(
        batch.student, batch.labels, weight=1.0, label_smoothing=label_smoothing, class_weights=class_weights
    )
    return ce + (tau_t * tau_s * (tckd_weight * tckd + nckd_weight * kd_weight * nckd)).mean()
