"""Multi-label tasks: each class a Bernoulli of its own, and the binary form of each temperature rule.

A class with logit z has the soft label sigmoid(z / tau), which is the softmax of the pair (z, 0) at tau. Its centred
logits are (z / 2, -z / 2): the pair's own mean, not that of the K classes, because 0 is where a class is decided and
no offset is shared. Everything below follows from this pair; docs/multi-label.md derives it step by step.

One temperature a sample, not a class. A pair has one number, |z|: a temperature of each class's own that gives it a
wanted entropy leaves nothing but the sign of z (`class_temperatures`), which is the teacher's decision with a smoothed
label. One temperature for the K pairs of a sample keeps how sure the teacher is of one class beside another.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekd.core.losses.inputs import not_negative, positive
from edgekd.core.solver import find_root
from edgekd.errors import BadInputError

UNKNOWN = -1
"""The label of a class of which nobody said whether the sample has it: the label term leaves it out."""

LN2 = math.log(2.0)

TOLERANCE_NATS = 1e-6
"""|mean entropy - target| at which a sample's temperature is accepted; computed in float64."""


def binary_divergence(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    student_temperature: Tensor | float,
    teacher_temperature: Tensor | float,
) -> Tensor:
    """The mean over the classes of KL(p || q) in nats, p = sigmoid(z_t / tau_t), q = sigmoid(z_s / tau_s).

    logits: (..., K), K of at least 1; temperatures: (...), or one number. Returns (...) float32. All four probabilities
    stay logarithms: ln(1 - sigmoid(z)) is ln sigmoid(-z).
    """
    s, t = _tempered(student_logits, student_temperature), _tempered(teacher_logits, teacher_temperature)
    yes = F.logsigmoid(t).exp() * (F.logsigmoid(t) - F.logsigmoid(s))
    no = F.logsigmoid(-t).exp() * (F.logsigmoid(-t) - F.logsigmoid(-s))
    return (yes + no).mean(dim=-1)


def binary_entropy(logits: Tensor, temperature: Tensor | float = 1.0) -> Tensor:
    """The mean over the classes of the entropy of sigmoid(z / tau), nats. logits: (..., K); returns (...) float32."""
    z = _tempered(logits, temperature)
    return -(F.logsigmoid(z).exp() * F.logsigmoid(z) + F.logsigmoid(-z).exp() * F.logsigmoid(-z)).mean(dim=-1)


def binary_max_logit_temperatures(logits: Tensor, rho: float) -> Tensor:
    """CIST's rule, tau = max(1, max_k |z_k| / (2 rho)). logits: (..., K); returns (...) float32, detached.

    max |z_k| / 2 is the largest centred logit of the sample's pairs: where the floor does not clip, the surest class
    gets the soft label sigmoid(2 rho) or sigmoid(-2 rho), and the others keep their proportion to it. `auto_rho(2)` is
    the rho of a wanted entropy of that class.
    """
    positive(rho=rho)
    return (logits.detach().float().abs().amax(dim=-1) / (2.0 * rho)).clamp(min=1.0)


def binary_entropy_temperatures(logits: Tensor, target_nats: float) -> Tensor:
    """The tau of each sample at which the mean entropy of its K classes is target_nats; 1 where there is none.

    logits: (..., K); target_nats: inside (0, ln 2). Returns (...) float32, detached. With beta = 1 / tau the mean
    entropy falls in beta, dH / d beta = -beta mean_k[z_k^2 p_k (1 - p_k)], from ln 2 at beta = 0 to m / K ln 2 at
    infinity, m the classes with z = 0. So there is one root where target > m / K ln 2, and none elsewhere (all logits
    0, or most).

    Bracket, from H(sigmoid(x)) falling in |x|: were all |z_k| equal to the largest, a, the root would lie at x(h) / a,
    x(h) = logit(p) with H(p) = h (`bernoulli_logit`), and they are at most a: so beta >= x(h) / a. Were the K - m
    others equal to the smallest that is not 0, b, they would have to bring the whole: beta <= x(h K' ) / b, h' =
    (h - m / K ln 2) K / (K - m).

    Raises:
        BadInputError: a target outside (0, ln 2).
    """
    if not 0.0 < target_nats < LN2:
        raise BadInputError(
            f"target entropy is {target_nats} nats a class; expected a number between 0 and ln 2 = {LN2:.4f}, such as "
            f"{0.925 * LN2:.3f}"
        )
    rows = logits.detach().reshape(-1, logits.shape[-1]).double().abs()
    nonzero = rows > 0
    share = nonzero.double().mean(dim=-1)
    rest = (target_nats - (1.0 - share) * LN2) / share.clamp(min=1e-300)
    solvable = (rest > 0) & (share > 0) & rows.isfinite().all(dim=-1)
    largest = torch.where(solvable, rows.amax(dim=-1), 1.0)
    smallest = torch.where(solvable, rows.masked_fill(~nonzero, math.inf).amin(dim=-1), 1.0)
    low = (bernoulli_logit(torch.full_like(rest, target_nats)) / largest).log()
    high = (bernoulli_logit(torch.where(solvable, rest, target_nats).clamp(max=LN2)) / smallest).log()
    z = rows / largest.unsqueeze(-1)  # the bracket's width is then that of the logits' own spread, whatever their size
    scale = largest.log()

    def look(x: Tensor) -> tuple[Tensor, Tensor]:
        a = z * (x + scale).exp().unsqueeze(-1)
        p_no = torch.sigmoid(-a)
        h = (F.softplus(-a) + a * p_no).mean(dim=-1)
        slope = -(a.square() * p_no * torch.sigmoid(a)).mean(dim=-1)  # dH / dx, x = ln beta
        # Newton on the log odds of the entropy, which bend little: as `core.exact_entropy` does for a softmax.
        odds = ((LN2 - h) / h).log() - math.log((LN2 - target_nats) / target_nats)
        return h - target_nats, x + odds * h * (LN2 - h) / (slope * LN2)

    margin = 1e-9  # a bracket of no width: all |z_k| alike, where both ends are the root itself
    root = find_root(
        look,
        low=torch.where(solvable, low - margin, math.nan),
        high=torch.where(solvable, high + margin, math.nan),
        tolerance=TOLERANCE_NATS,
    )
    temperature = torch.where(root.converged, (-root.value).exp(), 1.0)
    return temperature.float().reshape(logits.shape[:-1])


def bernoulli_logit(nats: Tensor) -> Tensor:
    """The x >= 0 with H(sigmoid(x)) = nats, float64, to 1e-12 of the entropy. nats: (...) inside (0, ln 2].

    The inverse of the binary entropy has no closed form in elementary functions; it is one number a target, and
    everything that needs it is a division. Found by bisection-safeguarded Newton between 0 and 2 ln(2 / h) + 2, where
    H(sigmoid(x)) <= e^-x (1 + x) is below h.
    """
    h = nats.double().reshape(-1)

    def look(x: Tensor) -> tuple[Tensor, Tensor]:
        p_no = torch.sigmoid(-x)
        found = F.softplus(-x) + x * p_no
        return found - h, x + (found - h) / (x * p_no * torch.sigmoid(x)).clamp(min=1e-300)

    high = 2.0 * (2.0 / h).log() + 2.0
    root = find_root(look, low=torch.zeros_like(h), high=high, tolerance=1e-12, max_evaluations=200)
    return torch.where(h >= LN2, 0.0, root.value).reshape(nats.shape)


def class_temperatures(logits: Tensor, target_nats: float) -> Tensor:
    """The tau of each class by itself at which its soft label has entropy target_nats: |z| / x(target), (..., K).

    In closed form but for the one number x (`bernoulli_logit`). No loss uses it: z / tau is then sign(z) x for every
    class, so the teacher's sureness is gone and what is left is its decision with a smoothed label. A class with z = 0
    has no such temperature and gets 1.
    """
    x = bernoulli_logit(torch.tensor(target_nats, dtype=torch.float64)).item()
    tau = logits.detach().double().abs() / x
    return torch.where(tau > 0, tau, 1.0).float()


def binary_cross_entropy(
    student_logits: Tensor,
    labels: Tensor,
    *,
    class_weights: Tensor | None = None,
    positive_weights: Tensor | None = None,
) -> Tensor:
    """-mean over samples and classes of w_k [p_k y ln q + (1 - y) ln(1 - q)], q = sigmoid(z_s); float32, nats.

    student_logits: (batch, K); labels: (batch, K), 0 or 1, a share between (mixed samples), or -1 where it is not
    known: such an element adds nothing and counts in the mean, as in `cross_entropy`. class_weights: w, (K,), of all of
    a class; positive_weights: p, (K,), of the samples that have it, where they are rare. Returns a scalar.

    Raises:
        BadInputError: shapes that do not belong together, or an empty batch.
    """
    _check(student_logits, labels)
    known = labels >= 0
    each = F.binary_cross_entropy_with_logits(
        student_logits.float(),
        labels.float().clamp(min=0.0),
        weight=class_weights,
        pos_weight=positive_weights,
        reduction="none",
    )
    return (each * known).mean()


def binary_kd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: float = 4.0,
    kd_weight: float = 0.9,
    ce_weight: float = 0.1,
    class_weights: Tensor | None = None,
    positive_weights: Tensor | None = None,
) -> Tensor:
    """ce_weight BCE + kd_weight T^2 mean KL(p || q), both sigmoids at one fixed T: Hinton's KD of K pairs.

    d KD-term / d z_s = kd_weight T (q - p) / (batch K). logits: (batch, K); labels as `binary_cross_entropy`. Returns a
    scalar, float32.

    Raises:
        BadInputError: shapes that do not belong together, T <= 0 or a negative weight.
    """
    positive(temperature=temperature)
    tau = _ones(teacher_logits) * temperature
    return _loss(
        student_logits,
        teacher_logits,
        labels,
        tau,
        tau,
        kd_weight=kd_weight,
        ce_weight=ce_weight,
        weights=(class_weights, positive_weights),
    )


def binary_cist(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    rho: float,
    kd_weight: float = 8.0,
    class_weights: Tensor | None = None,
    positive_weights: Tensor | None = None,
) -> Tensor:
    """BCE + kd_weight mean_i[tau_t,i tau_s,i KL(p_i || q_i)], tau = max(1, max_k |z_k| / (2 rho)) for each network.

    CIST (`cist`) of the pairs (z_k, 0). Detached: tau_s, so d KD-term / d z_s = kd_weight tau_t (q - p) / (batch K).
    logits: (batch, K); labels as `binary_cross_entropy`. Returns a scalar, float32.

    Raises:
        BadInputError: shapes that do not belong together, rho <= 0 or a negative weight.
    """
    tau_s, tau_t = binary_cist_temperatures(student_logits, teacher_logits, rho=rho)
    return _loss(
        student_logits,
        teacher_logits,
        labels,
        tau_s,
        tau_t,
        kd_weight=kd_weight,
        ce_weight=1.0,
        weights=(class_weights, positive_weights),
    )


def binary_cist_temperatures(student_logits: Tensor, teacher_logits: Tensor, *, rho: float) -> tuple[Tensor, Tensor]:
    """(tau_s, tau_t) of each sample, as `binary_cist` has them: (batch,) float32."""
    return binary_max_logit_temperatures(student_logits, rho), binary_max_logit_temperatures(teacher_logits, rho)


def binary_entropy_kd_temperatures(
    student_logits: Tensor, teacher_logits: Tensor, *, target_nats: float, student_floor: float
) -> tuple[Tensor, Tensor]:
    """(tau_s, tau_t) of each sample, as `binary_entropy_kd` has them: (batch,) float32."""
    tau_s = binary_entropy_temperatures(student_logits, target_nats).clamp(min=student_floor)
    return tau_s, binary_entropy_temperatures(teacher_logits, target_nats)


def binary_entropy_kd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    target_nats: float,
    kd_weight: float = 8.0,
    student_floor: float = 1.0,
    class_weights: Tensor | None = None,
    positive_weights: Tensor | None = None,
) -> Tensor:
    """BCE + kd_weight mean_i[tau_t,i tau_s,i KL(p_i || q_i)], tau solved so that each mean entropy is target_nats.

    `entropy_kd` of the pairs (z_k, 0), with its floor under the student's temperature and for the same reason.
    target_nats: a class, inside (0, ln 2). logits: (batch, K); labels as `binary_cross_entropy`. Returns a scalar.

    Raises:
        BadInputError: shapes that do not belong together, a target outside (0, ln 2) or a negative weight.
    """
    not_negative(student_floor=student_floor)
    tau_s, tau_t = binary_entropy_kd_temperatures(
        student_logits, teacher_logits, target_nats=target_nats, student_floor=student_floor
    )
    return _loss(
        student_logits,
        teacher_logits,
        labels,
        tau_s,
        tau_t,
        kd_weight=kd_weight,
        ce_weight=1.0,
        weights=(class_weights, positive_weights),
    )


def _loss(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    tau_s: Tensor,
    tau_t: Tensor,
    *,
    kd_weight: float,
    ce_weight: float,
    weights: tuple[Tensor | None, Tensor | None],
) -> Tensor:
    not_negative(kd_weight=kd_weight, ce_weight=ce_weight)
    if student.shape != teacher.shape:
        raise BadInputError(
            f"the student's logits are {tuple(student.shape)}, the teacher's {tuple(teacher.shape)}; expected the same "
            "batch and classes. Give both networks the same classes in the same order"
        )
    kl = binary_divergence(student, teacher.detach(), student_temperature=tau_s, teacher_temperature=tau_t)
    hard = binary_cross_entropy(student, labels, class_weights=weights[0], positive_weights=weights[1])
    return ce_weight * hard + kd_weight * (tau_t * tau_s * kl).mean()


def _check(logits: Tensor, labels: Tensor) -> None:
    if logits.ndim != 2 or labels.shape != logits.shape or logits.numel() == 0:
        raise BadInputError(
            f"labels are {tuple(labels.shape)} beside logits {tuple(logits.shape)}; expected both (batch, K): 0, 1 or "
            "-1 for each class of each sample"
        )


def _tempered(logits: Tensor, temperature: Tensor | float) -> Tensor:
    return logits.float() / (temperature.unsqueeze(-1) if isinstance(temperature, Tensor) else temperature)


def _ones(logits: Tensor) -> Tensor:
    return logits.new_ones(logits.shape[:-1], dtype=torch.float32)
