"""Two measurements made at different times: intervals that hold what differs between sessions, too.

Nothing pairs the samples of the two, so a ratio between them has two errors: of sampling, which shrinks with the number
of samples, and of the session (another process, another mood of the machine), which stays, however long one measures.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekd.statistics import CONFIDENCE, NS_PER_MS, Interval, Ratio, wilson

SESSION_FLOOR = 0.029
"""How far the medians of two equal sessions lie apart on an idle machine, at most, one after the other (measured on a
shared 2-core machine; 9.2 % beside a load on both cores, which the spread within the sessions shows)."""

NORMALISED_FLOOR = 0.017
"""The same after division by a workload whose blocks were interleaved: at most 0.6 to 1.7 % (same machine)."""

OTHER_MACHINE_FLOOR = 0.10
"""Between two CPUs of one instruction set a model and the reference do not slow down alike, by their share of memory
traffic for example. An assumption on the safe side: it was not measured."""

FLOORS = (SESSION_FLOOR, NORMALISED_FLOOR, OTHER_MACHINE_FLOOR)

MOST_SECTIONS, FEWEST_SECTIONS = 10, 3
"""Schmeiser 1982, Operations Research 30:556: 10 to 30 batches are enough, and short ones are not independent."""

Rounds = Sequence[Sequence[int]]
"""Nanoseconds of every inference, a list a round (a process or a cycle), in the order in which they ran."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One measurement. reference: of another workload, its rounds interleaved with the model's, None without."""

    model: Rounds
    reference: Rounds | None = None

    def alone(self) -> "Session":
        """Without the reference."""
        return Session(model=self.model)

    def quantile_ms(self, q: float) -> float:
        """The q-quantile of all samples of the model, milliseconds."""
        return _pooled(self.model, q) / NS_PER_MS


def ratio_of_sessions(new: Session, base: Session, q: float, *, floor: float, confidence: float = CONFIDENCE) -> Ratio:
    """The q-quantile of `new` over that of `base`, of the model over the reference's where both have one.

    The logarithm of the ratio, plus or minus the root of the sum of two squares:

    - sampling: Welch's t over the sections of each session, spread around the quantile of all samples ("sectioning",
      Asmussen and Glynn 2007, Stochastic Simulation, section III.5; sections are long, so that samples that hang
      together fall into one);
    - session: the larger of `floor` and what two single sections would differ by, because a machine that changes
      within a session changes no less from one session to the next.

    One section bounds nothing: then the interval is 0 to infinity.

    Args:
        floor: by how much, as a fraction, equal sessions differ on a quiet machine.

    Raises:
        ValueError: a session without samples, a floor below 0, or q or confidence outside (0, 1).
    """
    from scipy.stats import t

    if floor < 0 or not 0 < q < 1 or not 0 < confidence < 1:
        raise ValueError(f"floor {floor}, q {q}, confidence {confidence}; expected floor >= 0, the others in (0, 1)")
    (log_new, variance_new, n_new), (log_base, variance_base, n_base) = _summary(new, q), _summary(base, q)
    value = math.exp(log_new - log_base)
    if min(n_new, n_base) < 2:
        return Ratio(value=value, low=0.0, high=math.inf)
    parts = variance_new / n_new, variance_base / n_base
    squares = parts[0] ** 2 / (n_new - 1) + parts[1] ** 2 / (n_base - 1)
    freedom = sum(parts) ** 2 / squares if squares > 0 else n_new + n_base - 2.0
    z = float(t.ppf((1 + confidence) / 2, freedom))
    session = max(math.log1p(floor), z * math.sqrt(variance_new + variance_base))
    half = math.hypot(z * math.sqrt(sum(parts)), session)
    return Ratio(value=value, low=value * math.exp(-half), high=value * math.exp(half))


def drift(new: Session, base: Session) -> float | None:
    """The reference's median in `new` over that in `base`, less 1: how much slower the machine was. None without."""
    if new.reference is None or base.reference is None:
        return None
    return _pooled(new.reference, 0.5) / _pooled(base.reference, 0.5) - 1


def newcombe_unpaired(
    successes_a: int, n_a: int, successes_b: int, n_b: int, confidence: float = CONFIDENCE
) -> Interval:
    """The interval of p_a - p_b, two proportions of different samples, or of the same ones with the pairs unknown.

    Of the same samples it is too wide rather than too narrow: two networks that are right on mostly the same samples
    differ by less than two draws would.

    Raises:
        ValueError: n < 1, successes outside 0..n, or confidence outside (0, 1).

    Source: Newcombe 1998, Stat Med 17:873, method 10,
    https://doi.org/10.1002/(SICI)1097-0258(19980430)17:8%3C873::AID-SIM779%3E3.0.CO;2-I
    """
    a, b = wilson(successes_a, n_a, confidence), wilson(successes_b, n_b, confidence)
    p_a, p_b = successes_a / n_a, successes_b / n_b
    difference = p_a - p_b
    return Interval(
        low=max(-1.0, difference - math.hypot(p_a - a.low, b.high - p_b)),
        high=min(1.0, difference + math.hypot(a.high - p_a, p_b - b.low)),
    )


def _summary(session: Session, q: float) -> tuple[float, float, int]:
    """Log of the quantile, the variance of one section's around it, and how many sections there are."""
    model = _sections(session.model)
    logs, centre = _logs(model, q), math.log(_pooled(session.model, q))
    if session.reference is not None:
        reference = _sections(session.reference, count=len(model))
        if len(reference) != len(model):
            raise ValueError(f"{len(model)} sections of the model, {len(reference)} of the reference; expected as many")
        logs = logs - _logs(reference, q)
        centre -= math.log(_pooled(session.reference, q))
    n = len(logs)
    return centre, float(((logs - centre) ** 2).sum() / max(1, n - 1)), n


def _sections(rounds: Rounds, *, count: int | None = None) -> list[npt.NDArray[np.float64]]:
    """The samples in as many pieces as there are rounds, at least 3 and at most 10, in the order of time."""
    if count is None:
        count = min(MOST_SECTIONS, max(FEWEST_SECTIONS, len(rounds)))
    if len(rounds) >= count:
        groups = np.array_split(np.arange(len(rounds)), count)
        return [_joined([rounds[index] for index in group]) for group in groups]
    samples = _joined(rounds)
    return [piece for piece in np.array_split(samples, min(count, len(samples))) if len(piece)]


def _logs(sections: Sequence[npt.NDArray[np.float64]], q: float) -> npt.NDArray[np.float64]:
    return np.log([float(np.quantile(section, q)) for section in sections])


def _pooled(rounds: Rounds, q: float) -> float:
    return float(np.quantile(_joined(rounds), q))


def _joined(rounds: Rounds) -> npt.NDArray[np.float64]:
    if not rounds or not all(len(samples) for samples in rounds):
        raise ValueError("no samples in a round; expected at least one in each")
    return np.concatenate([np.asarray(samples, dtype=np.float64) for samples in rounds])
