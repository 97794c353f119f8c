"""Every loss once more, in float64 numpy from its formula: what values and finite differences are compared with.

Each reference takes the student's logits at which the loss is asked for and `held`, the student's logits that detached
temperatures come from: with both moving together it is the loss's value, with `held` at rest its semi-gradient.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

Array = npt.NDArray[np.float64]
Reference = Callable[[Array, Array, Array, Array], float]


def softmax(z: Array) -> Array:
    e: Array = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def hard(z: Array, y: Array) -> float:
    return float(-np.log(softmax(z)[np.arange(len(y)), y.astype(int)]).mean())


def kl(p: Array, q: Array) -> Array:
    return (p * np.log(p / q)).sum(-1)


def at(z: Array, tau: Array | float) -> Array:
    return softmax(z / (tau[:, None] if isinstance(tau, np.ndarray) else tau))


def ratio(z: Array, rho: float) -> Array:
    return np.maximum(1.0, (z.max(-1) - z.mean(-1)) / rho)


def solved(z: Array, nats: float) -> Array:
    def gap(beta: float, row: Array) -> float:
        p = softmax(beta * row)
        return float(-(p * np.log(p + 1e-300)).sum() - nats)

    return np.array([1.0 / brentq(gap, 1e-6, 1e3, args=(row,), xtol=1e-14) for row in z])


def sigma(z: Array) -> Array:
    return np.sqrt(z.var(-1, ddof=1) + 1e-6)


def peak(z: Array) -> Array:
    return np.maximum(1e-3, z.max(-1) - z.mean(-1))


def kd(s: Array, t: Array, y: Array, held: Array, temperature: float = 2.5) -> float:
    return 0.1 * hard(s, y) + 0.9 * temperature**2 * float(kl(at(t, temperature), at(s, temperature)).mean())


def cist(s: Array, t: Array, y: Array, held: Array) -> float:
    tau_t, tau_s = ratio(t, 1.3), ratio(held, 1.3)
    return hard(s, y) + 8.0 * float((tau_t * tau_s * kl(at(t, tau_t), at(s, tau_s))).mean())


def entropy_kd(s: Array, t: Array, y: Array, held: Array) -> float:
    tau_t, tau_s = solved(t, 1.1), solved(held, 1.1)
    return hard(s, y) + 8.0 * float((tau_t * tau_s * kl(at(t, tau_t), at(s, tau_s))).mean())


def halves(s: Array, t: Array, y: Array, tau_s: Array, tau_t: Array) -> tuple[Array, Array]:
    """TCKD and NCKD from probabilities, the true class deleted."""
    tckd, nckd = [], []
    for row_s, row_t, label, a, b in zip(s, t, y.astype(int), tau_s, tau_t, strict=True):
        p, q = softmax(row_t / b), softmax(row_s / a)
        tckd.append(kl(np.array([p[label], 1 - p[label]]), np.array([q[label], 1 - q[label]])))
        nckd.append(kl(softmax(np.delete(row_t, label) / b), softmax(np.delete(row_s, label) / a)))
    return np.array(tckd), np.array(nckd)


def dkd(s: Array, t: Array, y: Array, held: Array) -> float:
    tau = np.full(len(s), 2.5)
    tckd, nckd = halves(s, t, y, tau, tau)
    return hard(s, y) + 2.5**2 * float((1.0 * tckd + 8.0 * nckd).mean())


def dkd_cist(s: Array, t: Array, y: Array, held: Array) -> float:
    tau_t, tau_s = ratio(t, 1.3), ratio(held, 1.3)
    tckd, nckd = halves(s, t, y, tau_s, tau_t)
    return hard(s, y) + float((tau_t * tau_s * (1.0 * tckd + 2.0 * 8.0 * nckd)).mean())


def z_score(z: Array) -> Array:
    return (z - z.mean(-1, keepdims=True)) / sigma(z)[:, None]


def lskd(s: Array, t: Array, y: Array, held: Array) -> float:
    return 0.1 * hard(s, y) + 9.0 * 4.0 * float(kl(softmax(z_score(t) / 2), softmax(z_score(s) / 2)).mean())


def norm_kd(s: Array, t: Array, y: Array, held: Array) -> float:
    tau_t, tau_s = 2 * sigma(t), 2 * sigma(s)
    return 0.1 * hard(s, y) + 0.9 * float((tau_t**2 * kl(at(t, tau_t), at(s, tau_s))).mean())


def dtkd(s: Array, t: Array, y: Array, held: Array) -> float:
    x, m = peak(t), peak(s)
    tau_t, tau_s = 2 * x * 2.5 / (x + m), 2 * m * 2.5 / (x + m)
    moving = float((tau_t * tau_s * kl(at(t, tau_t), at(s, tau_s))).mean())
    return hard(s, y) + 3.0 * moving + 2.5**2 * float(kl(at(t, 2.5), at(s, 2.5)).mean())


THETA = -1.5


def learned(theta: float) -> float:
    return float(1 + 20 / (1 + np.exp(-theta)))


def ctkd(s: Array, t: Array, y: Array, held: Array) -> float:
    return kd(s, t, y, held, temperature=learned(THETA))


def ats(s: Array, t: Array, y: Array, held: Array) -> float:
    tau = np.where(np.arange(s.shape[1]) == y[:, None], 4.0, 2.0)
    p = softmax((t - t.mean(-1, keepdims=True)) / tau)
    return 0.5 * hard(s, y) - 0.5 * float((p * np.log(softmax(s))).sum(-1).mean())


def ttm(s: Array, t: Array, y: Array, held: Array) -> float:
    power = softmax(t) ** 0.1
    return hard(s, y) + 100.0 * float(kl(power / power.sum(-1, keepdims=True), softmax(s)).mean())


def wttm(s: Array, t: Array, y: Array, held: Array) -> float:
    power = softmax(t) ** 0.1
    total = power.sum(-1)
    return hard(s, y) + 3.0 * float((total * kl(power / total[:, None], softmax(s))).mean())


def dist(s: Array, t: Array, y: Array, held: Array) -> float:
    p, q = at(t, 2.5), at(s, 2.5)
    over_classes = [1 - np.corrcoef(a, b)[0, 1] for a, b in zip(p, q, strict=True)]
    over_samples = [1 - np.corrcoef(a, b)[0, 1] for a, b in zip(p.T, q.T, strict=True)]
    return hard(s, y) + 2.0 * 2.5**2 * float(np.mean(over_classes) + np.mean(over_samples))


def mse(s: Array, t: Array, y: Array, held: Array) -> float:
    return 0.3 * hard(s, y) + float(((s - t) ** 2).mean())


def spherical(s: Array, t: Array, y: Array, held: Array) -> float:
    return kd(s * (sigma(t) / sigma(s))[:, None], t, y, held)


def ce(s: Array, t: Array, y: Array, held: Array) -> float:
    return hard(s, y)


def slopes(reference: Reference, s: Array, t: Array, y: Array) -> Array:
    """Central differences in every student logit, detached temperatures held where they are."""
    found = np.zeros_like(s)
    for index in np.ndindex(s.shape):
        step = np.zeros_like(s)
        step[index] = 1e-5
        found[index] = (reference(s + step, t, y, s) - reference(s - step, t, y, s)) / 2e-5
    return found
