"""DTKD: temperatures of teacher and student that share out one budget by who is the more confident."""

from torch import Tensor

from edgekd.core.losses.hard import label_term
from edgekd.core.losses.inputs import not_negative, positive, rows
from edgekd.core.losses.kl import divergence
from edgekd.core.temperature import centre

PEAK_FLOOR = 1e-3
"""Below this maximum a centred row is taken for constant, and would have temperature 0."""


def peak(logits: Tensor) -> Tensor:
    """The largest centred logit of each sample, at least 1e-3. logits: (..., K); returns (...) float32."""
    return centre(logits).amax(dim=-1).clamp(min=PEAK_FLOOR)


def dtkd_temperatures(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float) -> tuple[Tensor, Tensor]:
    """(tau_s, tau_t) = 2 T (y, x) / (x + y), x and y the peaks of teacher and student; both attached to the student.

    logits: (..., K); returns (...) float32 each. Their mean is T.
    """
    positive(temperature=temperature)
    x, y = peak(teacher_logits), peak(student_logits)
    share = 2 * temperature / (x + y)
    return y * share, x * share


def dtkd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: float = 4.0,
    kd_weight: float = 3.0,
    fixed_weight: float = 1.0,
    ce_weight: float = 1.0,
    mask: Tensor | None = None,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
) -> Tensor:
    """ce_weight CE + kd_weight mean_i[tau_t,i tau_s,i KL(p_i || q_i)] + fixed_weight T^2 mean_i KL at T.

    "Dynamic Temperature Knowledge Distillation" (arXiv 2404.12711). With x = max z_t and y = max z_s the published
    temperatures are 2 x T / (x + y) and 2 y T / (x + y), so that both scaled maxima are (x + y) / 2 T; they depend on
    the student through y, and gradient flows through both.

    Guarded, and so different from the published form: its x and y are maxima of the raw logits, which may be negative
    or cancel, for a temperature below zero or a division by it, and which a shared offset, that no softmax sees,
    changes. Here the logits are centred first and a peak is at least 1e-3. Equal peaks give tau_t = tau_s = T: plain
    KD.

    logits: (batch, K) or (batch, tokens, K); labels: int64, or class probabilities shaped as the logits; mask: bool
    (batch, tokens). Returns a scalar, float32.

    Raises:
        BadInputError: shapes that do not belong together, no row, T <= 0 or a negative weight.
    """
    not_negative(kd_weight=kd_weight, fixed_weight=fixed_weight)
    batch = rows(student_logits, teacher_logits, labels, mask)
    tau_s, tau_t = dtkd_temperatures(batch.student, batch.teacher, temperature=temperature)
    kl = divergence(batch.student, batch.teacher, student_temperature=tau_s, teacher_temperature=tau_t)
    fixed = divergence(batch.student, batch.teacher, student_temperature=temperature, teacher_temperature=temperature)
    ce = label_term(
        batch.student, batch.labels, weight=ce_weight, label_smoothing=label_smoothing, class_weights=class_weights
    )
    return ce + kd_weight * (tau_t * tau_s * kl).mean() + fixed_weight * temperature**2 * fixed.mean()
