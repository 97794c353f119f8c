"""Verdicts on counted instructions, from the raw totals alone, so that a stored result can be judged again."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from edgekd.cycles import constant_output
from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.gate import Check, Gate, Rule, compare, conclude
from edgekd.instructions import Instructions, compare_counts
from edgekd.instructions.count import difference
from edgekd.versus.accuracy import judge_accuracy

BOTH, ONE = ("max_regression",), ("max_instructions",)
"""The limits of two files, and of one."""

Measured = dict[str, float | None]


def judge_both(
    raw: Mapping[str, Any], *, limits: Mapping[str, float], sources: Mapping[str, str]
) -> tuple[Measured, Gate]:
    """A new file's count against a base's. raw: `new` and `base`, each an `Instructions` as a mapping.

    Raises:
        BadInputError: a count that is not whole, or two that were not counted alike.
    """
    new, base = recounted(raw.get("new")), recounted(raw.get("base"))
    ratio = compare_counts(new, base)
    measured: Measured = {
        "new_instructions": new.per_inference,
        "base_instructions": base.per_inference,
        "ratio_instructions": ratio.value,
        "ratio_instructions_low": ratio.low,
        "ratio_instructions_high": ratio.high,
    }
    rule = Rule(section="latency", metric="ratio_instructions", interval="ratio_instructions", unit="x", at_most=True)
    most = {name: 1 + limit for name, limit in limits.items() if name in BOTH}
    scored, more = judge_accuracy(raw, limits=limits, sources=sources)
    return measured | scored, _gate(rule, measured, most, sources, raw, more)


def judge_one(
    raw: Mapping[str, Any], *, limits: Mapping[str, float], sources: Mapping[str, str]
) -> tuple[Measured, Gate]:
    """One file's count against a number. raw: `new`. Raises as `judge_both`."""
    found = recounted(raw.get("new"))
    measured: Measured = {
        "instructions": found.per_inference,
        "instructions_low": found.low,
        "instructions_high": found.high,
    }
    rule = Rule(section="latency", metric="instructions", interval="instructions", unit="instructions", at_most=True)
    return measured, _gate(rule, measured, limits, sources, raw)


def recounted(found: Any) -> Instructions:
    """A stored count, its mean and its spread computed again from the totals of each repeat.

    Raises:
        BadInputError: it is not whole.
    """
    try:
        runs, counts = tuple(map(int, found["runs"])), tuple((int(once), int(twice)) for once, twice in found["counts"])
        each = [difference(pair, runs[0]) for pair in counts]
        mean = statistics.fmean(each)
        spread = (max(each) - min(each)) / mean
        return Instructions(**{**found, "runs": runs, "counts": counts, "per_inference": mean, "spread": spread})
    except (KeyError, TypeError, ValueError, ArithmeticError, EnvironmentFault) as err:
        raise BadInputError(f"the count of instructions is not whole ({err}); was it edited? Count again") from err


def _gate(
    rule: Rule,
    measured: Measured,
    limits: Mapping[str, float],
    sources: Mapping[str, str],
    raw: Mapping[str, Any],
    others: Sequence[Check] = (),
) -> Gate:
    value, low, high = (measured[key] for key in (rule.metric, f"{rule.metric}_low", f"{rule.metric}_high"))
    assert value is not None
    checks = []
    for name, limit in limits.items():
        verdict, note = compare(rule, value, low, high, limit)
        more = (
            "; a repeat may differ by so much: only a change of the file decides" if verdict == "inconclusive" else ""
        )
        checks.append(
            Check(name=name, metric=rule.metric, value=value, low=low, high=high, limit=limit, unit=rule.unit,
                  verdict=verdict, source=sources[name], note=note + more)
        )  # fmt: skip
    return conclude([*checks, *others, *constant_output(raw, "new")])
