"""When to look at a measurement that goes on, what each look may err, and what it then says."""

from typing import Literal

DESIGNED_ERROR = 0.025
"""Of a wrong pass, and of a wrong fail, each, over all looks together; as a 95 % interval has at each end."""

FIRST_LOOK = 8
"""Cycles."""

Verdict = Literal["pass", "fail", "inconclusive"]


def error_at(look: int, *, designed: float = DESIGNED_ERROR) -> float:
    """The error that look number `look`, from 1, may make at each end: designed / (look * (look + 1)).

    1/2 + 1/6 + 1/12 + ... = 1, so that all looks together, however many follow, err at most `designed`: by the union
    bound, whatever the dependence between looks that share their samples. Spending functions of Lan and DeMets spend
    less, but assume a statistic of independent normal increments and a known variance, which a ratio of medians with an
    estimated spread is not. The looks lie a factor apart, so that the error falls with log(cycles) only.

    Raises:
        ValueError: look < 1, or designed outside (0, 0.5).

    Source: a union bound over geometrically spaced times, as Howard et al. 2021, Ann Stat 49:1055 (their
    stitched boundary), https://arxiv.org/abs/1810.08240; error spending: Lan and DeMets 1983, Biometrika 70:659,
    https://doi.org/10.1093/biomet/70.3.659, Jennison and Turnbull 2000, Group Sequential Methods.
    """
    if look < 1 or not 0 < designed < 0.5:
        raise ValueError(f"look {look}, designed error {designed}; expected a look from 1 on, and 0 < error < 0.5")
    return designed / (look * (look + 1))


def next_look(cycles: int) -> int:
    """The cycles after which the first look comes that is later than `cycles`: 8, 12, 18, 27, 40, 60, 90, 135 ..."""
    at = FIRST_LOOK
    while at <= cycles:
        at = _after(at)
    return at


def look_after(cycles: int) -> int | None:
    """The number, from 1, of the look that falls after so many cycles; None between looks."""
    at, number = FIRST_LOOK, 1
    while at < cycles:
        at, number = _after(at), number + 1
    return number if at == cycles else None


def decide(low: float, high: float, limit: float) -> Verdict:
    """Pass where the whole interval is at or below the limit, fail where it is above, else (or NaN) inconclusive."""
    if low <= high <= limit:
        return "pass"
    return "fail" if limit < low <= high else "inconclusive"


def _after(cycles: int) -> int:
    """Half as many again, downwards."""
    return cycles * 3 // 2
