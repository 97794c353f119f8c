"""ATS: the teacher's true class is softened more than the others, so that the others are not flattened with it."""

import torch.nn.functional as F
from torch import Tensor

from edgekd.core.losses.hard import label_term
from edgekd.core.losses.inputs import not_negative, one_class, positive, rows
from edgekd.core.temperature import centre


def ats(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: float = 4.0,
    other_temperature: float = 2.0,
    kd_weight: float = 0.5,
    ce_weight: float = 0.5,
    mask: Tensor | None = None,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
) -> Tensor:
    """ce_weight CE - kd_weight mean_i sum_k p_ik ln q_ik, q the student's plain softmax.

    p = softmax_k(u_k / tau_k), tau_k = temperature at the true class and other_temperature elsewhere. Li et al.,
    "Asymmetric Temperature Scaling Makes Larger Networks Teach Well Again", NeurIPS 2022 (arXiv 2210.04427): a sure
    teacher's wrong classes look alike once the temperature that tames its true class is put on them too. As in their
    code a cross-entropy to soft labels, not a divergence, at student temperature 1, without a factor: the value at q =
    p is the entropy of p, the gradient kd_weight (q - p) / rows.

    Differs: the teacher's logits are centred first. With two temperatures a shared offset, which no single softmax
    sees, would otherwise move probability to or from the true class.

    logits: (batch, K) or (batch, tokens, K); labels: int64, one true class; mask: bool (batch, tokens). Returns a
    scalar, float32.

    Raises:
        BadInputError: shapes that do not belong together, no row, mixed labels, a temperature <= 0, a negative weight.
    """
    positive(temperature=temperature, other_temperature=other_temperature)
    not_negative(kd_weight=kd_weight)
    one_class(labels)
    batch = rows(student_logits, teacher_logits, labels, mask)
    tau = batch.teacher.new_full(batch.teacher.shape, other_temperature)
    tau = tau.scatter_(-1, batch.labels.unsqueeze(-1), temperature)
    soft = -(F.softmax(centre(batch.teacher) / tau, dim=-1) * F.log_softmax(batch.student, dim=-1)).sum(dim=-1)
    ce = label_term(
        batch.student, batch.labels, weight=ce_weight, label_smoothing=label_smoothing, class_weights=class_weights
    )
    return ce + kd_weight * soft.mean()
