"""A stored result judged again from its raw samples: nothing that it says of itself is believed."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from edgekd import baseline, budget, counted, versus
from edgekd.errors import BadInputError, nearest
from edgekd.gate import Gate

Judge = Callable[..., tuple[dict[str, float | None], Gate]]

JUDGES: Mapping[tuple[str, str], tuple[Judge, tuple[str, ...]]] = {
    ("compare", "time"): (versus.judge, tuple(versus.QUANTILES)),
    ("latency", "time"): (budget.judge, tuple(budget.LIMITS)),
    ("compare", "instructions"): (counted.judge_both, counted.BOTH),
    ("latency", "instructions"): (counted.judge_one, counted.ONE),
    **{("baseline", metric): found for metric, found in baseline.JUDGES.items()},
}
"""Kind and metric -> who judges it, and the limits that it knows."""


def rejudge(found: Mapping[str, Any], *, limits: Mapping[str, float] | None = None) -> Gate:
    """The gate of a result, from its raw part; arguments and errors as `remeasure`."""
    return remeasure(found, limits=limits)[1]


def remeasure(
    found: Mapping[str, Any], *, limits: Mapping[str, float] | None = None
) -> tuple[dict[str, float | None], Gate]:
    """The measured numbers and the gate of a result, from its raw part.

    found: as `edgekd.result.read` gives it. limits: override the recorded ones of the same name, or add to them.

    Raises:
        BadInputError: a kind that is not known, an unknown limit, a raw part that holds something else than samples, or
            a recorded number or verdict that does not follow from it.
    """
    judge, known = judge_of(found)
    if found["kind"] == "compare":
        known = (*known, *(name for name in (*found["limits"], *(limits or {})) if versus.is_accuracy(name)))
    recorded = {name: number(found["limits"], name, known) for name in found["limits"]}
    sources = {name: str(found["sources"].get(name)) for name in recorded}
    measured, gate = judge(found["raw"], limits=recorded, sources=sources)
    follows(found, measured, gate)
    if not limits:
        return measured, gate
    given = {name: number(limits, name, known) for name in limits}
    sources |= dict.fromkeys(given, "given")
    return judge(found["raw"], limits=recorded | given, sources=sources)


def judge_of(found: Mapping[str, Any]) -> tuple[Judge, tuple[str, ...]]:
    """Who judges a result of that kind, and the limits that it knows."""
    key = (str(found["kind"]), str(found["metric"]))
    if key not in JUDGES:
        raise BadInputError(
            f"the result is of kind '{key[0]}' and metric '{key[1]}', which cannot be judged again; expected one of: "
            + ", ".join(f"{kind} ({metric})" for kind, metric in JUDGES)
        )
    return JUDGES[key]


def number(limits: Mapping[str, Any], name: str, known: tuple[str, ...]) -> float:
    """The limit, once its name is known and it is a number."""
    if name not in known:
        raise BadInputError(f"unknown limit '{name}'{nearest(name, list(known))}; a result of this kind has: {known}")
    limit = limits[name]
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not math.isfinite(limit):
        raise BadInputError(f"limit {name} is {limit!r}; expected a finite number")
    return float(limit)


def follows(found: Mapping[str, Any], measured: Mapping[str, float | None], gate: Gate) -> None:
    """Raise BadInputError unless the numbers and the verdicts that are written down are those that were measured."""
    for name, value in measured.items():
        if not _alike(found["measured"].get(name), value):
            raise BadInputError(
                f"the result says {name} = {found['measured'].get(name)!r}, its samples give {value!r}; was it edited? "
                "Measure again"
            )
    said, made = found["gate"], asdict(gate)
    if said.get("verdict") != made["verdict"] or not _alike(said.get("checks"), list(made["checks"])):
        raise BadInputError(
            f"the result's verdict or checks are not those that its samples give ({made['verdict']}); was it edited? "
            "Measure again"
        )


def _alike(said: Any, made: Any) -> bool:
    """Equal, but for the last digits, in which two versions of a library may differ; and for words, which may too."""
    if isinstance(made, dict):
        return isinstance(said, dict) and all(_alike(said.get(key), made[key]) for key in made if key != "note")
    if isinstance(made, list):
        return (
            isinstance(said, list)
            and len(said) == len(made)
            and all(_alike(a, b) for a, b in zip(said, made, strict=True))
        )
    if isinstance(made, float) and type(said) in (int, float):
        return math.isclose(said, made, rel_tol=1e-6)
    return bool(said == made)
