"""One temperature a sample and network, found from its own logits: CIST, and entropy made exact.

Both weigh each sample's divergence with tau_t tau_s, and hold the student's temperature fixed in the gradient.
"""

import torch
from torch import Tensor

from edgekd.core.losses.hard import label_term
from edgekd.core.losses.inputs import Rows, not_negative, rows
from edgekd.core.losses.kl import divergence
from edgekd.core.temperature import entropy_temperature, max_logit_temperature


def cist_temperatures(student_logits: Tensor, teacher_logits: Tensor, *, rho: float) -> tuple[Tensor, Tensor]:
    """(tau_s, tau_t), each max(1, max_k u_k / rho), u the centred logits of that network; detached.

    logits: (..., K); returns (...) float32 each.
    """
    return max_logit_temperature(student_logits.detach(), rho), max_logit_temperature(teacher_logits.detach(), rho)


def cist(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    rho: float = 3.0,
    kd_weight: float = 8.0,
    mask: Tensor | None = None,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
) -> Tensor:
    """CE + kd_weight mean_i[tau_t,i tau_s,i KL(p_i || q_i)], tau = max(1, max centred logit / rho) for each network.

    "Consistently Informative Soft-Label Temperature for Knowledge Distillation" (arXiv 2605.20357): CIST as in the
    first author's public research code; the paper's own equations were not available. That the factor tau_t tau_s is
    its reweighting "according to teacher confidence and student learning difficulty" is our reading.

    Detached: tau_s. So d KD-term / d z_s = kd_weight tau_t (q - p) / rows: tau_s cancels from the scale and only
    shapes q, and the update is a semi-gradient, the loss's value is not what training lowers: watch the plain
    divergence. Where the floor does not clip, the largest scaled centred logit is rho, which is what holds the entropy
    of p together. The right rho depends on K: see `auto_rho`. Constant logits give tau = 1.

    logits: (batch, K) or (batch, tokens, K); labels: int64, or class probabilities shaped as the logits; mask: bool
    (batch, tokens). Returns a scalar, float32.

    Raises:
        BadInputError: shapes that do not belong together, no row, rho <= 0 or a negative weight.
    """
    not_negative(kd_weight=kd_weight)
    batch = rows(student_logits, teacher_logits, labels, mask)
    tau_s, tau_t = cist_temperatures(batch.student, batch.teacher, rho=rho)
    ce = label_term(
        batch.student, batch.labels, weight=1.0, label_smoothing=label_smoothing, class_weights=class_weights
    )
    return ce + kd_weight * _reweighted(batch, tau_s, tau_t)


def entropy_temperatures(
    student_logits: Tensor, teacher_logits: Tensor, *, target_nats: float, student_floor: float = 1.0
) -> tuple[Tensor, Tensor]:
    """(tau_s, tau_t) at which every soft label has entropy target_nats, tau_s not below the floor; detached.

    logits: (..., K); returns (...) float32 each. Where no such temperature exists (constant rows, ties) it is 1.
    """
    not_negative(student_floor=student_floor)
    # One solve of both networks' rows: at small K the number of operations is its cost, not their size.
    both = torch.stack((student_logits.detach(), teacher_logits.detach()))
    student, teacher = entropy_temperature(both, target_nats).temperature
    return student.clamp(min=student_floor), teacher


def entropy_kd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    target_nats: float,
    kd_weight: float = 8.0,
    student_floor: float = 1.0,
    mask: Tensor | None = None,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
) -> Tensor:
    """CE + kd_weight mean_i[tau_t,i tau_s,i KL(p_i || q_i)], tau solved so that H(p_i) = H(q_i) = target_nats.

    Ours: CIST's loss with the entropy that its ratio rule only approaches. With target_nats the mean entropy that a
    fixed T gives on the teacher (`fixed_entropy`) it smooths as much as T on average, without the spread: the fairest
    test of the claim that the spread is what hurts.

    Detached: tau_s, as in CIST, so d KD-term / d z_s = kd_weight tau_t (q - p) / rows. The teacher's tau has no floor:
    logits softer than the target are sharpened. The student has one, 1 as in CIST. Without it (student_floor = 0) q is
    the same for z and c z, so the loss says nothing of the student's scale, while its gradient does not shrink with z:
    training lets the logits fade until noise decides (docs/study-cifar10.md). A row without a solution (constant, or a
    tie for the maximum that already holds more entropy than the target) is trained at tau = 1; `entropy_temperature`
    says which rows those are.

    logits: (batch, K) or (batch, tokens, K); labels: int64, or class probabilities shaped as the logits; mask: bool
    (batch, tokens); target_nats: inside (0, ln K). Returns a scalar, float32.

    Raises:
        BadInputError: shapes that do not belong together, no row, a target outside (0, ln K) or a negative weight.
    """
    not_negative(kd_weight=kd_weight)
    batch = rows(student_logits, teacher_logits, labels, mask)
    tau_s, tau_t = entropy_temperatures(
        batch.student, batch.teacher, target_nats=target_nats, student_floor=student_floor
    )
    ce = label_term(
        batch.student, batch.labels, weight=1.0, label_smoothing=label_smoothing, class_weights=class_weights
    )
    return ce + kd_weight * _reweighted(batch, tau_s, tau_t)


def _reweighted(batch: Rows, tau_s: Tensor, tau_t: Tensor) -> Tensor:
    kl = divergence(batch.student, batch.teacher, student_temperature=tau_s, teacher_temperature=tau_t)
    return (tau_t * tau_s * kl).mean()
