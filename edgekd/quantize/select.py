"""Which variant ships: the fastest of those that fare best at the gate, and why each other one lost."""

from collections.abc import Sequence
from dataclasses import dataclass

RANK = {"pass": 0, "inconclusive": 1, "fail": 2}

TIE = 0.02
"""Medians within 2 % are a tie, which accuracy decides: fresh processes of one file differ by about as much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A measured variant. round_p50_ms: the median of each round, in the order in which all variants took turns.

    quality: top-1, or agreement with fp32 where there are no labels; a fraction.
    """

    name: str
    verdict: str
    p50_ms: float
    round_p50_ms: tuple[float, ...]
    quality: float = 0.0
    failed_checks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The name that ships and a sentence of reason for every candidate."""

    selected: str
    reasons: dict[str, str]


def choose(candidates: Sequence[Candidate], *, baseline: str = "fp32") -> Choice:
    """The fastest candidate of the best verdict; a variant beats the baseline only if it was faster in every round,
    and by more than a tie over all of them.

    The rounds of all variants are interleaved, so round i of one met the machine in about the state of round i of
    another: a single slow phase cannot make a winner. Of those as fast as the fastest, within 2 %, the most accurate
    ships. When nothing beats the baseline, the baseline ships.
    """
    best = min(RANK[c.verdict] for c in candidates)
    fit = sorted((c for c in candidates if RANK[c.verdict] == best), key=lambda c: c.p50_ms)
    base = next((c for c in candidates if c.name == baseline), None)
    if base is not None and RANK[base.verdict] == best:
        fit = [c for c in fit if c is not base and _faster(c, base)] or [base]
    winner = max((c for c in fit if c.p50_ms <= (1 + TIE) * fit[0].p50_ms), key=lambda c: c.quality)
    return Choice(selected=winner.name, reasons={c.name: _reason(c, winner, base, best) for c in candidates})


def _faster(one: Candidate, other: Candidate) -> bool:
    pairs = zip(one.round_p50_ms, other.round_p50_ms, strict=True)
    return (1 + TIE) * one.p50_ms < other.p50_ms and all(a < b for a, b in pairs)


def _reason(candidate: Candidate, winner: Candidate, base: Candidate | None, best: int) -> str:
    if candidate is winner:
        return _why_it_won(candidate, base)
    if RANK[candidate.verdict] > best:
        return f"{candidate.verdict} at the gate: {', '.join(candidate.failed_checks)}"
    rival = base is not None and base is not candidate and RANK[base.verdict] == best
    if base is not None and rival and not _faster(candidate, base):
        return f"{candidate.p50_ms / base.p50_ms:.2f} times {base.name}'s latency: not faster in every round"
    if candidate.p50_ms <= (1 + TIE) * winner.p50_ms and candidate.quality <= winner.quality:
        return f"as fast as {winner.name} within {TIE:.0%}, and no more accurate"
    return f"{candidate.p50_ms / winner.p50_ms:.2f} times the latency of {winner.name}"


def _why_it_won(winner: Candidate, base: Candidate | None) -> str:
    if winner is base:
        return "no other variant fared as well at the gate and was faster in every round"
    if base is None:
        return "fastest of those that fared best at the gate"
    return (
        f"fastest of those that fared best at the gate; {base.p50_ms / winner.p50_ms:.2f} times as fast as {base.name}"
    )
