"""Floors of single classes: the verdict on the worst of many must not be one of chance.

Looking at K classes, one of them is easily low by chance. So a class counts as below its floor only where its Wilson
interval at 1 - alpha / K is (Bonferroni, which is also the first step of Holm 1979, Scand J Stat 6:65): then the chance
that any sound class fails is at most alpha. A pass needs no such correction: it says that *every* class is at its
floor, and if one is not, the pass would have to be wrong for that very class (the intersection-union test, Berger 1982,
Technometrics 24:295, https://doi.org/10.1080/00401706.1982.10487790). The interval of a class therefore has its low end
at 95 % and its high end at 1 - 5 % / K.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgekd.errors import BadInputError
from edgekd.gate.check import WORST_FIRST, Check, judged
from edgekd.gate.rules import FLOOR, check_classes, floor_class
from edgekd.statistics import CONFIDENCE, wilson


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassCount:
    """How many of a class's n samples the file got right."""

    name: str
    right: int
    n: int


def class_counts(accuracy: Mapping[str, Any] | None) -> list[ClassCount]:
    """The classes in the order of the confusion matrix; empty without labels, and where a sample may have several.

    Raises:
        BadInputError: the names of `per_class` are not as many as the rows of the confusion matrix.
    """
    rows = (accuracy or {}).get("confusion") or ()
    names = [str(entry.get("name")) for entry in (accuracy or {}).get("per_class") or ()]
    if not rows:
        return []
    if len(names) != len(rows):
        raise BadInputError(f"per_class names {len(names)} classes, confusion has {len(rows)}; measure again")
    return [
        ClassCount(name=name, right=row[k], n=sum(row)) for k, (name, row) in enumerate(zip(names, rows, strict=True))
    ]


def floor_for_all(name: str, accuracy: Mapping[str, Any] | None, *, limit: float, source: str, constant: bool) -> Check:
    """One floor for every class as one check: the verdict, value and interval of the class that stands worst."""
    counts = class_counts(accuracy)
    checks = [
        _check(name, one, accuracy, limit=limit, source=source, of=len(counts), constant=constant) for one in counts
    ]
    if not checks:
        return judged(name, FLOOR, _unknown(accuracy), limit=limit, source=source, constant=constant)
    return min(
        checks, key=lambda check: (WORST_FIRST.index(check.verdict), 1.0 if check.value is None else check.value)
    )


def floors(
    limits: Mapping[str, float], accuracy: Mapping[str, Any] | None, *, sources: Mapping[str, str], constant: bool
) -> list[Check]:
    """A check for every limit `class_floors.NAME`. limits: all limits; K is the number of floors among them.

    Raises:
        BadInputError: a floor for a class that does not exist.
    """
    named = {name: of for name in limits if (of := floor_class(name)) is not None}
    counts = {one.name: one for one in class_counts(accuracy)}
    if counts:
        check_classes(named, counts)
    return [
        _check(
            name,
            counts.get(of),
            accuracy,
            limit=limits[name],
            source=sources[name],
            of=len(named),
            constant=constant,
        )
        for name, of in named.items()
    ]


def _check(
    name: str,
    one: ClassCount | None,
    accuracy: Mapping[str, Any] | None,
    *,
    limit: float,
    source: str,
    of: int,
    constant: bool,
) -> Check:
    if one is None:
        return judged(name, FLOOR, _unknown(accuracy), limit=limit, source=source, constant=constant)
    if one.n == 0:
        about = f"class '{one.name}' has no sample"
        return judged(name, FLOOR, {}, limit=limit, source=source, constant=constant, about=about)
    corrected = 1 - (1 - CONFIDENCE) / of
    numbers = {
        "class_top1": one.right / one.n,
        "class_top1_low": wilson(one.right, one.n).low,
        "class_top1_high": wilson(one.right, one.n, corrected).high,
        "confidence_below": corrected,
        "n": one.n,
    }
    looked = f", of {of} looked at" if of > 1 else ""
    about = f"class '{one.name}'{looked}: {one.right:,} of {one.n:,} right"
    return judged(name, FLOOR, numbers, limit=limit, source=source, constant=constant, about=about)


def _unknown(accuracy: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """What there is of the accuracy, for the note to say what is missing."""
    return None if accuracy is None else {"labelled": accuracy.get("labelled", False)}
