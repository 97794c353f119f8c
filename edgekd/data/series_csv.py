"""Windows of sensor readings cut out of a table (CSV, TSV or Parquet), one row a reading."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from io import StringIO
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekd.data.dataset import Pool, Samples
from edgekd.data.sample_file import SampleFile
from edgekd.data.series import class_names, numbered, pool
from edgekd.data.series_scan import PARTS, SPLIT, Run, Scan
from edgekd.data.series_table import SUFFIXES, Table, open_table, read_rows
from edgekd.decoded import MEMORY, Storage
from edgekd.errors import BadInputError, nearest
from edgekd.rows import Inputs, Rows, take

__all__ = ["SPLIT", "SUFFIXES", "Windows", "read_series_csv"]


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


def read_series_csv(
    path: Path, windows: Windows, *, classes: tuple[str, ...] | None, storage: Storage = MEMORY
) -> Pool:
    """The windows of a table; none of them reaches over a change of label, group or split.

    Windows that share rows are kept together: without a group column, each run of rows is a group of its own.

    Raises:
        BadInputError: not a table, a column that is not there, a cell that is no finite number, or no window at all.
    """
    table = open_table(path)
    header = table.header
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
    split = SPLIT in header and SPLIT not in (windows.columns or ())
    scan = Scan(table, channels=channels, id=windows.id, label=windows.label, group=windows.group, split=split)
    readings = _readings(table, scan, windows, storage)
    cut = [(run, start) for run in scan.runs for start in _starts(run, windows)]
    length = _length(path, scan.runs, windows)
    if not cut:
        longest = max((run.stop - run.start for run in scan.runs), default=0)
        raise BadInputError(
            f"{path}: no window of {length} rows fits into the longest run of rows with one label and group, "
            f"{longest} rows; lower data.series.window"
        )
    labels = [run.label for run, _ in cut]
    names = classes or class_names(path, labels)
    numbers = numbered(path, labels, names, where="window")
    places = np.array([start for _, start in cut], dtype=np.int64)
    whole = _cut(readings, places, length)
    groups = _groups(cut, windows)
    ids = np.array([_id(run, start, scan, windows) for run, start in cut], dtype=np.str_)
    splits = np.array([run.split for run, _ in cut], dtype=np.str_)
    parts = {
        part: Samples(inputs=take(whole, chosen), labels=numbers[chosen], ids=ids[chosen], groups=_at(groups, chosen))
        for part in PARTS
        if len(chosen := np.flatnonzero(splits == part))
    }
    if "train" not in parts:
        raise BadInputError(f"{path}: no row's split is 'train'; expected windows to train on")
    starts = dict(zip(ids.tolist(), places.tolist(), strict=True))
    rows = partial(_original, table, starts, length, [header.index(name) for name in channels])
    return replace(pool(path, parts, classes=names, channels=channels), original=rows)


def _original(table: Table, starts: Mapping[str, int], length: int, columns: Sequence[int], name: str) -> SampleFile:
    """The rows of a window as a table of their own, channels alone. name: its id."""
    text = StringIO(newline="")
    header = [table.header[place] for place in columns]
    rows = read_rows(table, start=starts[name], count=length, columns=columns)
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return SampleFile(suffix=".csv", content=text.getvalue().encode(), origin=f"{table.path.name}, {name}")


def _readings(table: Table, scan: Scan, windows: Windows, storage: Storage) -> Inputs:
    """(rows, channels) float32 of the whole table, and the scan at its end."""
    shared = 1.0 if windows.window is None else windows.window / (windows.stride or windows.window)
    row_bytes = 4 * len(scan.channels) * max(1.0, shared)  # in memory every window has readings of its own
    if storage.mode == "memory" or not storage.on_disk(table.about() * row_bytes):
        return np.concatenate(list(scan.readings()))
    kept = storage.keep(
        source=table.path,
        files=[(table.path.name, table.path)],
        settings={"kind": "readings", "columns": list(scan.channels)},
        row=(len(scan.channels),),
        dtype=np.float32,
        count=None,
        read=lambda _: scan.readings(),
    )
    if not scan.whole:  # the numbers are there already
        scan.walk()
    return kept


def _cut(readings: Inputs, places: npt.NDArray[np.int64], length: int) -> Inputs:
    """(n, length, channels) from the rows that begin at `places`; in a file, windows share what they hold."""
    if isinstance(readings, Rows):
        return Rows(readings.stored.overlapping(length), places)
    return np.ascontiguousarray(readings[places[:, None] + np.arange(length)])


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


def _starts(run: Run, windows: Windows) -> range:
    if windows.window is None:
        return range(run.start, run.start + 1)
    return range(run.start, run.stop - windows.window + 1, windows.stride or windows.window)


def _length(path: Path, runs: Sequence[Run], windows: Windows) -> int:
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


def _groups(cut: Sequence[tuple[Run, int]], windows: Windows) -> npt.NDArray[np.str_] | None:
    if windows.group is not None:
        return np.array([run.group for run, _ in cut], dtype=np.str_)
    if windows.window is not None and windows.stride is not None and windows.stride < windows.window:
        return np.array([f"run from row {run.start}" for run, _ in cut], dtype=np.str_)
    return None


def _id(run: Run, start: int, scan: Scan, windows: Windows) -> str:
    return run.id if windows.id is not None else scan.where(start)


def _at(groups: npt.NDArray[np.str_] | None, chosen: npt.NDArray[np.intp]) -> npt.NDArray[np.str_] | None:
    return None if groups is None else groups[chosen]
