"""Windows of sensor readings cut out of a CSV, one row a reading."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekd.data.dataset import Pool, Samples
from edgekd.data.series import class_names, numbered, pool
from edgekd.errors import BadInputError, nearest

SPLIT = "split"
"""The column that says which split a row belongs to, where there is one: train, validation or test."""

PARTS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """How windows are cut out of a table.

    window, stride: rows a window, and from one to the next; stride None: `window`, so that they share no rows. id: the
    column whose value is the same in all rows of a window, instead of these. columns: the channels, in the order in
    which the device feeds them; None: all that have no other use. label, group: columns; None: those of that name,
    where there are such.
    """

    window: int | None = None
    stride: int | None = None
    id: str | None = None
    columns: tuple[str, ...] | None = None
    label: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """Rows that follow one another under the same id, label, group and split: [start, stop) of the table."""

    start: int
    stop: int
    id: str
    label: str | None
    group: str | None
    split: str


def read_series_csv(path: Path, windows: Windows, *, classes: tuple[str, ...] | None) -> Pool:
    """The windows of a table; none of them reaches over a change of label, group or split.

    Windows that share rows are kept together: without a group column, each run of rows is a group of its own.

    Raises:
        BadInputError: not a table, a column that is not there, a cell that is no finite number, or no window at all.
    """
    header, rows, lines = read_table(path)
    windows = replace(
        windows,
        label=windows.label or _usual("label", header, windows),
        group=windows.group or _usual("group", header, windows),
    )
    if windows.id is None and windows.window is None:
        raise BadInputError(
            f"{path}: nothing says where a window of readings begins; set data.series.window to so many rows, or "
            "data.series.id to a column that names each row's window"
        )
    channels = _channels(path, header, windows)
    readings = _readings(path, header, rows, lines, channels)
    runs = list(_runs(path, header, rows, lines, windows))
    cut = [(run, start) for run in runs for start in _starts(run, windows)]
    length = _length(path, runs, windows)
    if not cut:
        longest = max((run.stop - run.start for run in runs), default=0)
        raise BadInputError(
            f"{path}: no window of {length} rows fits into the longest run of rows with one label and group, "
            f"{longest} rows; lower data.series.window"
        )
    labels = [run.label for run, _ in cut]
    names = classes or class_names(path, labels)
    numbers = numbered(path, labels, names, where="window")
    places = np.array([start for _, start in cut])
    whole = np.ascontiguousarray(readings[places[:, None] + np.arange(length)])
    groups = _groups(cut, windows)
    ids = np.array([_id(run, start, lines, windows) for run, start in cut], dtype=np.str_)
    splits = np.array([run.split for run, _ in cut], dtype=np.str_)
    parts = {
        part: Samples(inputs=whole[chosen], labels=numbers[chosen], ids=ids[chosen], groups=_at(groups, chosen))
        for part in PARTS
        if len(chosen := np.flatnonzero(splits == part))
    }
    if "train" not in parts:
        raise BadInputError(f"{path}: no row's split is 'train'; expected windows to train on")
    return pool(path, parts, classes=names, channels=channels)


def read_table(path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """Header, rows, and the line of the file that each row stands in.

    Raises:
        BadInputError: not a table with a header and rows of as many cells.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
            numbered_rows = [(reader.line_num, cells) for cells in reader if cells]
    except UnicodeDecodeError as err:
        raise BadInputError(f"{path}: not UTF-8 ({err}); save the table as UTF-8") from err
    except (OSError, csv.Error) as err:
        raise BadInputError(f"{path}: not a readable table ({err}); expected CSV with a header line") from err
    if len(numbered_rows) < 2:
        raise BadInputError(f"{path}: empty; expected a header line and one row a reading")
    header = [name.strip() for name in numbered_rows[0][1]]
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise BadInputError(f"{path}: two columns are called '{twice}'; expected a name for each")
    for line, cells in numbered_rows[1:]:
        if len(cells) != len(header):
            raise BadInputError(f"{path}, line {line}: {len(cells)} cells; expected {len(header)}, as the header has")
    return header, [cells for _, cells in numbered_rows[1:]], [line for line, _ in numbered_rows[1:]]


def _usual(name: str, header: Sequence[str], windows: Windows) -> str | None:
    """The column of that name, where there is one that is no channel."""
    return name if name in header and name not in (windows.columns or ()) else None


def _channels(path: Path, header: Sequence[str], windows: Windows) -> tuple[str, ...]:
    used = {"id": windows.id, "label": windows.label, "group": windows.group}
    for key, name in (*used.items(), *(("columns", column) for column in windows.columns or ())):
        if name is not None and name not in header:
            hint = nearest(name, list(header))
            raise BadInputError(
                f"{path}: has no column '{name}' (data.series.{key}){hint}; it has: {', '.join(header)}"
            )
    others = {*used.values(), SPLIT}
    channels = windows.columns or tuple(name for name in header if name not in others)
    if not channels:
        raise BadInputError(f"{path}: no column is left for readings; name them in data.series.columns")
    return channels


def _readings(
    path: Path, header: Sequence[str], rows: Sequence[Sequence[str]], lines: Sequence[int], channels: Sequence[str]
) -> npt.NDArray[np.float32]:
    """(rows, channels) float32."""
    columns = []
    for name in channels:
        place = header.index(name)
        cells = [row[place] for row in rows]
        try:
            with np.errstate(over="ignore"):
                column = np.array(cells, dtype=np.float64).astype(np.float32)
        except ValueError:
            column = np.array([_number(cell) for cell in cells], dtype=np.float32)
        bad = np.flatnonzero(~np.isfinite(column))
        if len(bad):
            row = int(bad[0])
            raise BadInputError(
                f"{path}, line {lines[row]}, column '{name}': found '{cells[row]}' ({len(bad)} such cells in the "
                "column); expected finite float32 numbers: fill them in, drop those rows, or name the channels in "
                "data.series.columns"
            )
        columns.append(column)
    return np.stack(columns, axis=1)


def _number(cell: str) -> float:
    """NaN for what is no number, so that it is named."""
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def _runs(
    path: Path, header: Sequence[str], rows: Sequence[Sequence[str]], lines: Sequence[int], windows: Windows
) -> Iterator[_Run]:
    places = [None if name is None else header.index(name) for name in (windows.id, windows.label, windows.group)]
    split = header.index(SPLIT) if SPLIT in header and SPLIT not in (windows.columns or ()) else None

    def told(number: int) -> tuple[str | None, ...]:
        cells = rows[number]
        return (
            *(None if place is None else cells[place].strip() for place in places),
            _split(path, cells, split, lines[number]),
        )

    seen: dict[str, int] = {}
    for (id_, label, group, part), members in groupby(range(len(rows)), key=told):
        block = list(members)
        line = lines[block[0]]
        if windows.group is not None and not group:
            raise BadInputError(f"{path}, line {line}: '{windows.group}' is empty; expected a name in every row")
        if windows.id is not None:
            if not id_:
                raise BadInputError(
                    f"{path}, line {line}: '{windows.id}' is empty; expected a window's name in every row"
                )
            if id_ in seen:
                raise BadInputError(
                    f"{path}, line {line}: window '{id_}' comes again (first in line {seen[id_]}), or changes its "
                    "label, group or split; expected the rows of a window together, under one of each"
                )
            seen[id_] = line
        yield _Run(
            start=block[0], stop=block[-1] + 1, id=id_ or "", label=label or None, group=group, split=part or "train"
        )


def _split(path: Path, cells: Sequence[str], place: int | None, line: int) -> str:
    if place is None:
        return "train"
    name = cells[place].strip().lower()
    if name not in PARTS:
        raise BadInputError(f"{path}, line {line}: split is '{cells[place]}'; expected train, validation or test")
    return name


def _starts(run: _Run, windows: Windows) -> range:
    if windows.window is None:
        return range(run.start, run.start + 1)
    return range(run.start, run.stop - windows.window + 1, windows.stride or windows.window)


def _length(path: Path, runs: Sequence[_Run], windows: Windows) -> int:
    """Rows a window."""
    if windows.window is not None:
        return windows.window
    first = runs[0]
    length = first.stop - first.start
    other = next((run for run in runs if run.stop - run.start != length), None)
    if other is not None:
        raise BadInputError(
            f"{path}: window '{other.id}' has {other.stop - other.start} rows, '{first.id}' {length}; expected one "
            "length: pad or cut them, or set data.series.window instead of data.series.id"
        )
    return length


def _groups(cut: Sequence[tuple[_Run, int]], windows: Windows) -> npt.NDArray[np.str_] | None:
    if windows.group is not None:
        return np.array([run.group for run, _ in cut], dtype=np.str_)
    if windows.window is not None and windows.stride is not None and windows.stride < windows.window:
        return np.array([f"run from row {run.start}" for run, _ in cut], dtype=np.str_)
    return None


def _id(run: _Run, start: int, lines: Sequence[int], windows: Windows) -> str:
    return run.id if windows.id is not None else f"line {lines[start]}"


def _at(groups: npt.NDArray[np.str_] | None, chosen: npt.NDArray[np.intp]) -> npt.NDArray[np.str_] | None:
    return None if groups is None else groups[chosen]
