"""The temperature at which each sample's soft label has a given entropy: the equation and its numerical solution.

Why it can be solved. With beta = 1 / tau, p = softmax(beta z) and Z its normaliser, H = ln Z - beta E_p[z], and
dH / d beta = -beta Var_p[z] <= 0: the entropy falls from ln K (beta = 0, all classes alike) to ln m (beta = infinity,
the m largest logits share everything). A target between the two has one root, and only one.

How it is solved. Newton's method wants a nearly straight line. The odds (ln K - H) / H grow like beta^2 at first and
exponentially later, so their logarithm against x = ln beta bends little where it matters: from the first guess a
median of two to five looks at the entropy, for K from 2 to 50,000. `find_root` keeps each step inside a bracket that
is known in closed form (`bracket`).
"""

import math
from enum import IntEnum
from functools import cache

import torch
from torch import Tensor

from edgekd.core.solver import Look, find_root

TOLERANCE_NATS = 1e-5
"""|H - h| at which a temperature is accepted; float32 sums over 50,000 classes are good to a few 1e-6."""

SMALLEST_GAP = 1e-36
"""Gap between the two largest logits, as a share of the range, below which float32 would overflow."""


class Status(IntEnum):
    """How the solve of one sample ended; only CONVERGED has a temperature, the others get 1.0."""

    CONVERGED = 0
    TIED = 1
    """The target is at or below ln(number of maxima): the coldest soft label already has more entropy."""
    CONSTANT = 2
    """All logits are equal: any temperature gives ln K."""
    NOT_FINITE = 3
    """A logit is NaN or infinite, or the range of the logits overflows float32."""
    UNCONVERGED = 4
    """The evaluations ran out, or the temperature does not fit float32."""


def solve(z: Tensor, target: float, *, max_evaluations: int) -> tuple[Tensor, Tensor, Tensor]:
    """temperature, status, evaluations, each (n,), of logits (n, K) float32.

    Works on d = (z - max z) / range in [-1, 0], so that no size of logits overflows; beta is in units of 1 / range.
    """
    d = z - z.amax(dim=-1, keepdim=True)
    width = d.amin(dim=-1).neg_()
    d.div_(width.unsqueeze(-1)).add_(0.0)  # + 0 turns a distance of -0.0 into 0.0, whose reciprocal is +infinity
    maxima = d.sign().sum(dim=-1).double().add_(d.shape[-1])
    gap = d.reciprocal().amin(dim=-1).double().reciprocal_().neg_()
    low, high = bracket(d.shape[-1], target, maxima=maxima, gap=gap)
    root = find_root(
        entropy_look(d, target),
        low=low,
        high=high,
        start=first_guess(d, target),
        tolerance=TOLERANCE_NATS,
        max_evaluations=max_evaluations,
        check_every=1 if z.device.type == "cpu" else 4,
    )
    temperature = (width / root.value.exp()).float()
    solved = root.converged & (temperature > 0) & (temperature < math.inf)
    status = solved.logical_not().to(torch.int8).mul_(int(Status.UNCONVERGED))
    if solved.all():
        return temperature, status, root.evaluations
    status.masked_fill_(maxima.log() >= target, Status.TIED)
    status.masked_fill_(width == 0, Status.CONSTANT).masked_fill_(~width.isfinite(), Status.NOT_FINITE)
    return temperature.masked_fill_(status != Status.CONVERGED, 1.0), status, root.evaluations


def entropy_look(d: Tensor, target: float) -> Look:
    """H(softmax(e^x d)) - target and Newton's next x, for x (n,) float64: three sums over the classes a look."""
    log_k = math.log(d.shape[-1])
    log_odds = math.log((log_k - target) / target)
    a, weight = torch.empty_like(d), torch.empty_like(d)
    moments = d.new_empty(3, len(d))  # the sums of weight, weight * a, weight * a^2

    def look(x: Tensor) -> tuple[Tensor, Tensor]:
        torch.mul(d, x.exp().float().unsqueeze(-1), out=a)
        torch.exp(a, out=weight)
        torch.sum(weight, dim=-1, out=moments[0])
        torch.sum(weight.mul_(a), dim=-1, out=moments[1])
        torch.sum(weight.mul_(a), dim=-1, out=moments[2])
        z, first, second = moments.double().unbind()
        mean = first / z
        variance = (second / z).addcmul_(mean, mean, value=-1.0)
        h = z.log() - mean
        below = log_k - h
        # dH / dx = -variance, so d ln(odds) / dx = variance * log_k / (h * below)
        step = (below / h).log_().neg_().add_(log_odds).mul_(h).mul_(below).div_(variance.mul_(log_k))
        return h.sub_(target), step.add_(x)

    return look


def bracket(classes: int, target: float, *, maxima: Tensor, gap: Tensor) -> tuple[Tensor, Tensor]:
    """The ends of ln beta between which H = target, (n,) float64, from what is known without an evaluation.

    maxima: m, how many logits equal the largest. gap: from there to the next, as a share of the range. NaN where the
    target is not above ln m.

    Low end: the variance of numbers within a range of 1 is at most 1/4, so ln K - H <= beta^2 / 8.
    High end: K - m logits at least `gap` below the maximum have at most the entropy of K - m at exactly `gap`. With
    r = (K - m)/m * exp(-beta gap) <= (K - 1) exp(-beta gap) that is H - ln m <= r (1 + beta gap), and the right side
    is below h - ln m at beta gap = B + 2 ln(2 (1 + B) / (h - ln m)), B = ln(K - 1).
    """
    low = torch.full_like(gap, 0.5 * math.log(8 * (math.log(classes) - target)))
    b = math.log(classes - 1)
    excess = target - maxima.log()
    coldest = b + 2 * math.log(2 * (1 + b)) - 2 * excess.log()
    high = (coldest / gap.clamp(min=SMALLEST_GAP)).log_()
    return low, torch.where(excess > 0, high, math.nan)


def first_guess(d: Tensor, target: float) -> Tensor:
    """ln beta, (n,) float64: the warmer of two guesses, each right for one shape of logits.

    A bell curve: ln K - H = beta^2 sigma^2 / 2, nearly true of many classes without a favourite.
    One favourite, the rest alike: the max-logit rule beta = rho / max_k u_k, with the rho of this target.
    """
    classes = d.shape[-1]
    mean = d.mean(dim=-1).double()
    norm = torch.linalg.vector_norm(d, dim=-1).double()
    sigma = (norm * norm / classes - mean * mean).clamp_(min=0.0).sqrt_()
    bell = math.sqrt(2 * (math.log(classes) - target)) / sigma
    return torch.minimum(bell, favourite_rho(classes, target) / -mean).log_()


@cache
def favourite_rho(classes: int, target: float) -> float:
    """The rho of `temperature.auto_rho` for a target in nats; infinity where float64 cannot tell it.

    One class a distance t = rho K / (K - 1) above the K - 1 others: the same equation as a sample's, in closed form.
    """
    log_k, others = math.log(classes), classes - 1
    odds = (log_k - target) / target
    if not 0.0 < odds < math.inf:
        return math.inf

    def look(x: Tensor) -> tuple[Tensor, Tensor]:
        t = x.exp()
        rest = others * (-t).exp()
        q = rest / (1 + rest)  # the others' share
        h = torch.log1p(rest) + t * q
        below = -torch.log1p(others * torch.expm1(-t) / classes) - t * q  # ln K - H, without its cancellation
        error = math.log(odds) - (below / h).log()
        return error, x + error * h * below / (t * t * q * (1 - q) * log_k)

    one = torch.ones(1, dtype=torch.float64, device="cpu")
    low, high = bracket(classes, target, maxima=one, gap=one)
    root = find_root(look, low=low, high=high, tolerance=1e-10)
    return float(root.value.exp()) * others / classes if root.converged.item() else math.inf
