"""Which classes the shipped variant takes for which: a shaded table for few classes, the worst pairs for many."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgekd.report.wording import DASH, percent

MOST_CLASSES = 20
MOST_PAIRS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A count, and its share of the true class, 0..1, as shade."""

    count: int
    share: float
    right: bool
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """`rows` is empty beyond 20 classes; `pairs` is then (true, predicted, count, share of the true class)."""

    classes: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell]]]
    pairs: Sequence[tuple[str, str, str, str]]


def confusion(accuracy: Mapping[str, Any] | None) -> Confusion | None:
    """The confusion of one variant's accuracy; None where there are no labels."""
    if not accuracy or not accuracy["confusion"] or not accuracy["per_class"]:
        return None
    names = [entry["name"] for entry in accuracy["per_class"]]
    counts = accuracy["confusion"]
    if len(names) > MOST_CLASSES:
        return Confusion(classes=names, rows=(), pairs=_pairs(names, counts))
    rows = [(name, _cells(index, names, row)) for index, (name, row) in enumerate(zip(names, counts, strict=True))]
    return Confusion(classes=names, rows=rows, pairs=())


def class_rows(accuracy: Mapping[str, Any] | None) -> list[tuple[str, str, str, str, str]]:
    """(name, n, recall, precision, F1) of each class."""
    return [
        (entry["name"], f"{entry['n']:,}", *(percent(entry[key]) for key in ("recall", "precision", "f1")))
        for entry in (accuracy or {}).get("per_class") or ()
    ]


def _cells(true: int, names: Sequence[str], row: Sequence[int]) -> list[Cell]:
    total = sum(row)
    return [
        Cell(
            count=count,
            share=round(count / total, 3) if total else 0.0,
            right=index == true,
            hint=f"{names[true]} taken for {names[index]}: {count} of {total}",
        )
        for index, count in enumerate(row)
    ]


def _pairs(names: Sequence[str], counts: Sequence[Sequence[int]]) -> list[tuple[str, str, str, str]]:
    wrong = [
        (count, true, taken) for true, row in enumerate(counts) for taken, count in enumerate(row) if taken != true
    ]
    worst = sorted(wrong, key=lambda entry: (-entry[0], entry[1], entry[2]))[:MOST_PAIRS]
    return [
        (names[true], names[taken], f"{count:,}", percent(count / sum(counts[true])) if count else DASH)
        for count, true, taken in worst
        if count
    ]
