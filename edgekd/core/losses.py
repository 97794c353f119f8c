"""Distillation losses: pure functions of student logits, teacher logits, labels and temperatures.

Each returns a `Loss` whose `total` is what to minimise and whose `kl` is the plain, unweighted Kullback-Leibler
divergence, logged apart because the weighted terms are semi-gradients: their value is not what training lowers.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekd.core.temperature import centre, max_logit_temperature


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """total: scalar float32 with gradient. cross_entropy, kl: scalars, detached, nats.

    teacher_temperature: (batch,) float32, or None where no teacher was used.
    """

    total: Tensor
    cross_entropy: Tensor
    kl: Tensor | None = None
    teacher_temperature: Tensor | None = None


def cross_entropy(student_logits: Tensor, labels: Tensor) -> Loss:
    """Plain cross-entropy, no teacher. student_logits: (batch, K); labels: (batch,) int64."""
    ce = F.cross_entropy(student_logits.float(), labels)
    return Loss(total=ce, cross_entropy=ce.detach())


def divergence(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    student_temperature: Tensor,
    teacher_temperature: Tensor,
) -> Tensor:
    """KL(softmax(z_t / tau_t) || softmax(z_s / tau_s)) of each sample, in nats.

    logits: (batch, K); temperatures: (batch,). Returns (batch,) float32; centring changes no softmax, it keeps
    large shared offsets from costing float32 digits.
    """
    log_q = F.log_softmax(centre(student_logits) / student_temperature.unsqueeze(-1), dim=-1)
    log_p = F.log_softmax(centre(teacher_logits) / teacher_temperature.unsqueeze(-1), dim=-1)
    return (log_p.exp() * (log_p - log_q)).sum(dim=-1)


def kd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: float = 4.0,
    kd_weight: float = 0.9,
    ce_weight: float = 0.1,
) -> Loss:
    """Hinton, Vinyals, Dean 2015 (arXiv 1503.02531): ce_weight CE + kd_weight T^2 KL at one fixed T.

    logits: (batch, K); labels: (batch,) int64.
    """
    tau = student_logits.new_full(student_logits.shape[:-1], temperature, dtype=torch.float32)
    ce = F.cross_entropy(student_logits.float(), labels)
    kl = divergence(student_logits, teacher_logits, student_temperature=tau, teacher_temperature=tau)
    total = ce_weight * ce + kd_weight * temperature**2 * kl.mean()
    return Loss(total=total, cross_entropy=ce.detach(), kl=kl.mean().detach(), teacher_temperature=tau)


def cist(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    rho: float = 3.0,
    kd_weight: float = 8.0,
) -> Loss:
    """CIST: CE + kd_weight mean_i[tau_t tau_s KL(p || q)], tau = max(1, max centred logit / rho) for each network.

    CIST as in the first author's public research code; the paper's own equations were not available
    (arXiv 2605.20357). tau_s is detached: d KL-term / d z_s = kd_weight tau_t (q - p) / batch, so tau_s only
    shapes q. The factor tau_t tau_s is our reading of "reweights according to teacher confidence and student
    learning difficulty". logits: (batch, K); labels: (batch,) int64.
    """
    tau_t = max_logit_temperature(teacher_logits, rho).detach()
    tau_s = max_logit_temperature(student_logits, rho).detach()
    ce = F.cross_entropy(student_logits.float(), labels)
    kl = divergence(student_logits, teacher_logits, student_temperature=tau_s, teacher_temperature=tau_t)
    total = ce + kd_weight * (tau_t * tau_s * kl).mean()
    return Loss(total=total, cross_entropy=ce.detach(), kl=kl.mean().detach(), teacher_temperature=tau_t)
