"""The largest of a list of sizes, in ascending cost, that fits a budget: found by few trials. Only computes.

Interpolation within bisection: a trial goes where the trials so far say that the budget is used up (log of its use over
log of the cost, as a straight line), but never so far to one side that bisection could not finish the other in the
trials that are left. So there are never more than ceil(log2 n) + 1, and two or three where the line is right. The idea,
a secant that is safeguarded by bisection, is Dekker's: https://en.wikipedia.org/wiki/Brent%27s_method
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

FIRST_SLOPE = 0.5
"""Of log use over log cost, before two trials say it: a part of every inference does not grow with the network. Between
0.2 and 0.6 was measured with small networks of images, sensor windows and sound on x86 (docs/fit-student.md)."""

Fit = Literal["fits", "misses", "unclear"]
Status = Literal["largest", "none", "open"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a trial says. use: the largest measured number over its limit, below 1 where it fits; None: not known.

    `unclear` counts as not fitting: what may break a limit is never chosen.
    """

    fit: Fit
    use: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """best: the number of the largest size that was tried and fits. status: `largest` where the next size does not fit,
    `none` where the smallest does not, `open` where the trials ended before. above: the smallest size known not to fit,
    the number of sizes where there is none."""

    best: int | None
    above: int
    status: Status


def search(
    costs: Sequence[float],
    trial: Callable[[int], Answer],
    *,
    max_trials: int,
    first: int | None = None,
    ended: Callable[[], bool] = lambda: False,
) -> Found:
    """The largest size that fits; a size is a number in `costs`, which ascend and are above 0.

    first: the size to begin with; None: the middle one. ended: asked before every trial but the first, whether the time
    is over. Where sizes do not fit in the order of their costs, what is found fits nevertheless, and its neighbour does
    not, but a larger one might.
    """
    answers: dict[int, Answer] = {}
    low, high = -1, len(costs)
    guaranteed = most_trials(len(costs))
    while high - low > 1 and len(answers) < max_trials and not (answers and ended()):
        left = min(guaranteed, max_trials) - len(answers)
        index = _next(costs, answers, low=low, high=high, left=left, first=first)
        answers[index] = trial(index)
        if answers[index].fit == "fits":
            low = index
        else:
            high = index
    status: Status = "open" if high - low > 1 else "largest" if low >= 0 else "none"
    return Found(best=low if low >= 0 else None, above=high, status=status)


def most_trials(sizes: int) -> int:
    """Trials that always suffice for so many sizes."""
    return math.ceil(math.log2(sizes)) + 1 if sizes else 0


def _next(
    costs: Sequence[float], answers: Mapping[int, Answer], *, low: int, high: int, left: int, first: int | None
) -> int:
    """The size to try: where the budget seems to end, within what keeps both sides short enough for bisection."""
    # After this trial left - 1 remain, which tell 2 ** (left - 1) - 1 sizes of one side apart.
    side = (1 << (left - 1)) - 1
    lowest, highest = max(low + 1, high - 1 - side), min(high - 1, low + 1 + side)
    if lowest > highest:  # too few trials to be sure of the end
        if first is not None and not answers:
            return first
        # The middle half, so that they bring it near.
        quarter = (high - low - 1) // 4
        lowest, highest = low + 1 + quarter, high - 1 - quarter
    wanted = first if first is not None and not answers else _guess(costs, answers, low=low, high=high)
    return min(max(wanted, lowest), highest)


def _guess(costs: Sequence[float], answers: Mapping[int, Answer], *, low: int, high: int) -> int:
    """The largest size whose use is at most 1 on a straight line through two trials, log use over log cost.

    After one trial the line has the slope FIRST_SLOPE; with none, or where it falls, the middle it is.
    """
    middle = (low + high) // 2
    points = _nearest(costs, answers, low=low, high=high)
    if not points:
        return middle
    (x, y), slope = points[0], FIRST_SLOPE
    if len(points) == 2 and points[1][0] != x:
        slope = (points[1][1] - y) / (points[1][0] - x)
    if slope <= 0:
        return middle
    crossing = x - y / slope
    return max((i for i in range(low + 1, high) if math.log(costs[i]) <= crossing), default=low + 1)


def _nearest(
    costs: Sequence[float], answers: Mapping[int, Answer], *, low: int, high: int
) -> list[tuple[float, float]]:
    """(log cost, log use) of the two trials next to the sizes in question: one from each side where there are."""
    known = {i: answer.use for i, answer in answers.items() if answer.use}
    below = sorted((i for i in known if i <= low), reverse=True)
    above = sorted(i for i in known if i >= high)
    chosen = [*below[:1], *above[:1]] if below and above else [*below, *above][:2]
    return [(math.log(costs[i]), math.log(known[i])) for i in chosen]
