"""The limits that there are: what each is compared with, and which hold where several parties set some."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edgekd.errors import BadInputError, nearest

Section = Literal["accuracy", "latency", "file", "portability"]
Unit = Literal["ms", "bytes", "fraction", "dB", "x", "instructions", "outputs"]
"""x: a ratio, of new to base; 1 is equal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What a limit is compared with. `interval`: the stem of the keys STEM_low and STEM_high, None when exact."""

    section: Section
    metric: str
    interval: str | None
    unit: Unit
    at_most: bool


RULES: dict[str, Rule] = {
    "max_p50_ms": Rule(section="latency", metric="p50_ms", interval="p50", unit="ms", at_most=True),
    "max_p90_ms": Rule(section="latency", metric="p90_ms", interval="p90", unit="ms", at_most=True),
    "max_p99_ms": Rule(section="latency", metric="p99_ms", interval="p99", unit="ms", at_most=True),
    "max_size_bytes": Rule(section="file", metric="size_bytes", interval=None, unit="bytes", at_most=True),
    "max_peak_rss_bytes": Rule(section="latency", metric="peak_rss_bytes", interval=None, unit="bytes", at_most=True),
    "max_load_ms": Rule(section="latency", metric="load_ms", interval="load", unit="ms", at_most=True),
    "min_top1": Rule(section="accuracy", metric="top1", interval="top1", unit="fraction", at_most=False),
    "min_class_top1": Rule(
        section="accuracy", metric="class_top1", interval="class_top1", unit="fraction", at_most=False
    ),
    "max_top1_drop": Rule(section="accuracy", metric="top1_drop", interval="top1_drop", unit="fraction", at_most=True),
    "min_micro_f1": Rule(section="accuracy", metric="micro_f1", interval="micro_f1", unit="fraction", at_most=False),
    "min_macro_f1": Rule(section="accuracy", metric="macro_f1", interval="macro_f1", unit="fraction", at_most=False),
    "min_map": Rule(section="accuracy", metric="map", interval="map", unit="fraction", at_most=False),
    "max_micro_f1_drop": Rule(
        section="accuracy", metric="micro_f1_drop", interval="micro_f1_drop", unit="fraction", at_most=True
    ),
    "min_agreement": Rule(
        section="accuracy", metric="agreement_teacher", interval="agreement_teacher", unit="fraction", at_most=False
    ),
    "min_isa_agreement": Rule(
        section="portability", metric="top1_agreement", interval=None, unit="fraction", at_most=False
    ),
    "min_sqnr_db": Rule(section="accuracy", metric="sqnr_db", interval=None, unit="dB", at_most=False),
}
# Where no teacher was given, agreement with the fp32 file stands in.
AGREEMENT_FP32 = Rule(
    section="accuracy", metric="agreement_fp32", interval="agreement_fp32", unit="fraction", at_most=False
)
FLOORS = "class_floors"
"""A table of limits, class name -> floor; each entry is a limit of its own, `class_floors.NAME`."""
FLOOR = RULES["min_class_top1"]


def rule_of(name: str) -> Rule:
    """The rule of a known limit; every floor of a class has the same."""
    return FLOOR if floor_class(name) is not None else RULES[name]


def floor_class(name: str) -> str | None:
    """The class that the limit `class_floors.NAME` is for; None for every other limit."""
    return name.removeprefix(f"{FLOORS}.") if name.startswith(f"{FLOORS}.") else None


def flat(limits: Mapping[str, Any]) -> dict[str, Any]:
    """The limits with the table `class_floors` taken apart: {"class_floors": {"a": 0.8}} -> {"class_floors.a": 0.8}.

    None is a limit that is not set, and is left out.

    Raises:
        BadInputError: `class_floors` is no table.
    """
    found: dict[str, Any] = {}
    for name, limit in limits.items():
        if name == FLOORS and limit is not None:
            if not isinstance(limit, Mapping):
                raise BadInputError(
                    f"limit {FLOORS} is {limit!r}; expected a floor for each class, for example "
                    f"{FLOORS}.cat = 0.8 (min_class_top1 is one floor for all)"
                )
            found |= {f"{FLOORS}.{of}": floor for of, floor in limit.items()}
        elif limit is not None:
            found[name] = limit
    return found


def known_limits(limits: Mapping[str, Any]) -> dict[str, float]:
    """The limits, flat, once every name is known and every value a finite number.

    Raises:
        BadInputError: one is not.
    """
    found = flat(limits)
    for name, limit in found.items():
        of = floor_class(name)
        if of is None and name not in RULES:
            known = [*RULES, FLOORS]
            raise BadInputError(f"unknown limit '{name}'{nearest(name, known)}; known: {', '.join(known)}")
        if isinstance(limit, bool) or not isinstance(limit, int | float) or not math.isfinite(limit):
            raise BadInputError(f"limit {name} is {limit!r}; expected a finite number: set one or leave it out")
        if of is not None and not 0 <= limit <= 1:
            raise BadInputError(f"limit {name} is {limit:g}; expected a fraction from 0 to 1, such as 0.8")
    return found


def check_classes(limits: Iterable[str], classes: Iterable[str]) -> None:
    """Refuse a floor for a class that does not exist: better before hours of work than after. limits: names.

    Raises:
        BadInputError: with the nearest class.
    """
    known = list(classes)
    for name in limits:
        of = floor_class(name)
        if of is not None and of not in known:
            shown = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
            raise BadInputError(f"limit {name}: no class '{of}'{nearest(of, known)}; the data has: {shown}")


OF_CLASSES = ("min_top1", "min_class_top1", FLOORS, "max_top1_drop")
OF_LABEL_SETS = ("min_micro_f1", "min_macro_f1", "min_map", "max_micro_f1_drop")
"""Limits that mean something for one of the tasks alone: one class a sample, or several."""


def check_task(limits: Iterable[str], sources: Mapping[str, str], *, multi_label: bool) -> None:
    """Refuse a limit for another task than the data's. limits: names; sources: who set each.

    Raises:
        BadInputError: with the limits that there are instead.
    """
    foreign, instead = (OF_CLASSES, OF_LABEL_SETS) if multi_label else (OF_LABEL_SETS, OF_CLASSES)
    for name in limits:
        if (FLOORS if floor_class(name) is not None else name) in foreign:
            task = "is multi-label" if multi_label else "has one class a sample"
            raise BadInputError(
                f"limit {name} (set by the {sources.get(name, 'recipe')}) does not fit the data, which {task}; "
                f"expected one of: {', '.join((*instead, 'min_agreement', 'min_sqnr_db'))}"
            )


def merge_limits(recipe: Mapping[str, Any], target: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, str]]:
    """The limits that hold, flat, and who set each: the recipe's, else the target's budget. None is a limit not set.

    Raises:
        BadInputError: a limit is unknown or no number.
    """
    limits: dict[str, float] = {}
    sources: dict[str, str] = {}
    for source, values in (("target", target), ("recipe", recipe)):
        for name, limit in known_limits(values).items():
            limits[name], sources[name] = limit, source
    return limits, sources
