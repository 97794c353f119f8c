"""The trials in their order, under a number and a time, and what they come to."""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from edgekd.errors import ExitCode
from edgekd.fit.search import Answer, Found, most_trials, search
from edgekd.fit.sizes import Size
from edgekd.fit.trial import Conditions, Limits, Trial, attempt
from edgekd.progress import Listener, Progress, silent

LEAST_SECONDS = 2.0
"""Of timing in a trial: less is seldom clear."""

BYTES = {"fp32": 4.0, "fp16": 2.0, "int4-weight-only": 0.5}
"""Of a weight in the file; in every other variant it is one."""

Status = Literal["largest", "none", "open", "interrupted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What was found. sizes: of the family; too_large: those of them whose weights alone are over the limit of size.

    best: the largest that was tried and fits. status: `largest` where the next one does not fit, or there is none;
    `none` where the smallest does not; `open` where trials or time were over before; `interrupted` by Ctrl-C. trials:
    in their order. next_larger: the size above the best one, None where that is the family's largest.
    """

    sizes: int
    too_large: int
    best: Trial | None
    status: Status
    trials: tuple[Trial, ...]
    next_larger: Size | None
    seconds: float

    @property
    def exit_code(self) -> ExitCode:
        """0: a size fits; 1: none of the family does; 3: time or trials were over before, or it is too close."""
        if self.status == "interrupted":
            return ExitCode.INTERRUPTED
        if self.best is not None:
            return ExitCode.PASS
        smallest = min(self.trials, key=lambda trial: trial.size.macs)
        sure = self.status == "none" and smallest.fit == "misses"
        return ExitCode.GATE_FAILED if sure else ExitCode.INCONCLUSIVE

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain values for JSON."""
        return asdict(self)


def fit(
    sizes: Sequence[Size],
    here: Conditions,
    limits: Limits,
    *,
    first: int | None,
    max_trials: int,
    max_seconds: float,
    listener: Listener = silent,
    clock: Callable[[], float] = time.monotonic,
) -> Fitted:
    """The largest of the sizes, in ascending cost, that meets the limits.

    first: the size to begin with, such as the recipe's own. max_seconds: no trial begins after it; the last one may
    take longer by what it takes.

    Raises:
        EdgekdError: as `attempt`.
    """
    started = clock()
    possible = _possible(sizes, here.variant, limits)
    total = min(max_trials, most_trials(len(possible)))
    trials: list[Trial] = []

    def left() -> float:
        return max_seconds - (clock() - started)

    def tried(index: int) -> Answer:
        size = possible[index]
        listener(Progress(stage="fit", done=len(trials), total=total, note=said(size)))
        seconds = max(LEAST_SECONDS, min(left(), max_seconds / max_trials))
        with tempfile.TemporaryDirectory(prefix="edgekd-fit-") as folder:
            trials.append(attempt(size, here, limits, folder=Path(folder), seconds=seconds))
        return trials[-1].answer()

    costs = [1.0 + size.macs for size in possible]
    status: Status
    found: Found | None = None
    try:
        found = search(
            costs,
            tried,
            max_trials=max_trials,
            first=None if first is None else min(first, len(possible) - 1),
            ended=lambda: left() <= 0,
        )
        status = found.status
    except KeyboardInterrupt:
        status = "interrupted"
    listener(Progress(stage="fit", done=total, total=total))
    fitting = [trial for trial in trials if trial.fit == "fits"]
    best = max(fitting, key=lambda trial: possible.index(trial.size), default=None)
    above = 0 if best is None else sizes.index(best.size) + 1
    return Fitted(
        sizes=len(sizes),
        too_large=len(sizes) - len(possible),
        best=best,
        status=status,
        trials=tuple(trials),
        next_larger=sizes[above] if above < len(sizes) else None,
        seconds=clock() - started,
    )


def _possible(sizes: Sequence[Size], variant: str, limits: Limits) -> Sequence[Size]:
    """Those whose weights alone are not over the limit of size; at least the smallest, to say what it misses."""
    most = limits.fitted.get("max_size_bytes")
    if most is None:
        return sizes
    return [size for size in sizes if size.weights * BYTES.get(variant, 1.0) <= most] or sizes[:1]


def said(size: Size) -> str:
    """The options of a size in words."""
    return ", ".join(f"{name} = {value}" for name, value in size.options.items())
