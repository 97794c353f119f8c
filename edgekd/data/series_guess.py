"""What a table of sensor readings probably means, from the names of its columns; for a recipe to start from."""

from collections.abc import Sequence
from itertools import groupby, islice
from pathlib import Path

from edgekd.data.series_csv import Windows
from edgekd.data.series_scan import SPLIT
from edgekd.data.series_table import SUFFIXES, open_table

LABELS = ("label", "class", "activity", "target", "y")
GROUPS = ("group", "subject", "user", "participant", "person", "machine", "device")
IDS = ("window", "window_id", "segment", "id")
TIMES = ("time", "timestamp", "t", "seconds", "index")
"""Usual names of columns, in lower case; the first that is there is taken."""

LOOKED_AT = 500_000
"""Rows from which the table is guessed at: their cells are all in memory."""

LONGEST = 128
"""Rows a window where nothing says more: two and a half seconds at 50 Hz, as in the UCI HAR data set."""


def guess_windows(path: Path) -> Windows | None:
    """How to cut the table; None where it holds no readings: no column of labels, or none of numbers.

    Raises:
        BadInputError: the file is no table.
    """
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        return None
    table = open_table(path)
    header, rows = table.header, [cells for _, cells in islice(table.rows(), LOOKED_AT)]
    label, group, window_id = (_first(header, names) for names in (LABELS, GROUPS, IDS))
    others = {label, group, window_id, SPLIT, *(name for name in header if name.lower() in TIMES)}
    columns = tuple(name for place, name in enumerate(header) if name not in others and _is_number(rows[0][place]))
    if label is None or not columns:
        return None
    window = None if window_id is not None else _window(header, rows, label, group)
    return Windows(window=window, id=window_id, columns=columns, label=label, group=group)


def _first(header: Sequence[str], names: Sequence[str]) -> str | None:
    lowered = {name.lower(): name for name in reversed(header)}
    return next((lowered[name] for name in names if name in lowered), None)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _window(header: Sequence[str], rows: Sequence[Sequence[str]], label: str, group: str | None) -> int:
    """Rows that fit into three of four runs under one label and group, at most LONGEST."""
    places = [header.index(name) for name in (label, group) if name is not None]
    runs = sorted(len(list(run)) for _, run in groupby(rows, key=lambda row: [row[place] for place in places]))
    return max(1, min(LONGEST, runs[len(runs) // 4]))
