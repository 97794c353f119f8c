"""A table of image files: one row a picture, with its label, split, group and id. CSV, TSV or Parquet."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.data import label_sets
from edgekd.data.dataset import UNLABELLED, Pool, Samples
from edgekd.data.parquet import import_parquet
from edgekd.data.pictures import stack
from edgekd.data.read_picture import Resize
from edgekd.data.sample_file import SampleFile, of_path
from edgekd.decoded import MEMORY, Storage
from edgekd.errors import BadInputError, nearest

COLUMNS = ("path", "label", "split", "group", "id")
SUFFIXES = (".csv", ".tsv", ".parquet")

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
"""What a split column may say -> the split."""

SHOWN = 5
"""Rows that one message names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One picture. where: `line 7` of a text file, `row 6` of a Parquet file. Empty cells are None."""

    where: str
    path: str
    label: str | None
    split: str | None
    group: str | None
    id: str | None


def is_manifest(path: Path) -> bool:
    """Whether a file is a table of pictures: by its suffix, and a column named `path`."""
    return path.suffix.lower() in SUFFIXES and path.is_file() and "path" in columns(path)


def columns(path: Path) -> tuple[str, ...]:
    """The names of a table's columns, as they stand in its first line or its schema.

    Raises:
        BadInputError: the file cannot be read.
        EnvironmentFault: Parquet without pyarrow.
    """
    if path.suffix.lower() == ".parquet":
        return tuple(read_parquet(path).column_names)
    lines = _text_rows(path)
    return tuple(name.strip() for name in lines[0][1]) if lines else ()


def read_manifest(
    path: Path,
    *,
    resize: Resize | None,
    channels: int | None,
    classes: tuple[str, ...] | None,
    separator: str | None = None,
    storage: Storage = MEMORY,
) -> Pool:
    """The pictures that a table lists: `path`, and where they are there `label`, `split`, `group` and `id`.

    Paths are relative to the table. A row without a label is an unlabelled sample. Classes: those given, else the
    labels that occur, sorted (as numbers where all are). split: train, validation or test; without the column all is
    split as the recipe says. group: whom a picture comes from. id: its name elsewhere (a table of scores); the path
    without. separator: what stands between the labels of a multi-label task, None for one class a picture; a cell may
    also be a list, of JSON or of Parquet, an empty one says that no class holds, and `?`, or nothing in Parquet, that
    it is not known. Other columns are the user's own, and are not read.

    Raises:
        BadInputError: naming the line: a missing file, a label that is no class, a picture that stands there twice, an
            unknown split, an empty group; or an unreadable table.
        EnvironmentFault: Parquet without pyarrow, or no pillow.
    """
    rows = read_rows(path, unknown="" if separator is None else label_sets.UNKNOWN)
    _check_files(path, rows)
    _check_repeats(path, rows)
    if separator is None:
        names, labels = _one_class(path, rows, classes)
    else:
        names, labels = _label_sets(path, rows, classes, separator)
    samples = _samples(path, rows, labels, resize=resize, channels=channels, storage=storage)
    original = partial(_original, path.parent, {row.id or row.path: row.path for row in rows})
    if rows[0].split is None:
        return Pool(classes=names, train=samples, original=original)
    splits = np.array([row.split for row in rows])
    parts = {split: samples.take(np.flatnonzero(splits == split)) for split in np.unique(splits).tolist()}
    if "train" not in parts:
        raise BadInputError(f"{path}: no row is of split 'train'; expected pictures to train on")
    validation, test = parts.get("validation"), parts.get("test")
    return Pool(classes=names, train=parts["train"], validation=validation, test=test, original=original)


def _original(folder: Path, files: Mapping[str, str], name: str) -> SampleFile:
    """The picture behind a sample. name: its id."""
    return of_path(folder / files[name], files[name])


def read_rows(path: Path, *, unknown: str = "") -> tuple[Row, ...]:
    """The table's rows, their cells stripped. unknown: what stands for a label of Parquet's that is null.

    Raises:
        BadInputError: no `path` column, one whose name is nearly that of a known one, or a row of another length.
    """
    table = _parquet_rows(path, unknown) if path.suffix.lower() == ".parquet" else _text_rows(path)
    if not table:
        raise BadInputError(f"{path}: empty; expected a header such as path,label and one row a picture")
    header = [name.strip() for name in table[0][1]]
    _check_header(path, header)
    places = {name: header.index(name) for name in COLUMNS if name in header}
    rows = []
    for where, cells in table[1:]:
        if len(cells) != len(header):
            raise BadInputError(
                f"{path}, {where}: found {len(cells)} cells; expected {len(header)}, as the header has: quote a cell "
                "that holds the separator"
            )
        found = {name: cells[place].strip() or None for name, place in places.items()}
        rows.append(_row(path, where, found))
    if not rows:
        raise BadInputError(f"{path}: has a header and no rows; expected one row a picture")
    return tuple(rows)


def _row(path: Path, where: str, found: dict[str, str | None]) -> Row:
    if found["path"] is None:
        raise BadInputError(f"{path}, {where}: 'path' is empty; expected an image file, relative to the table")
    split = found.get("split")
    if "split" in found and (split is None or split.lower() not in SPLIT_NAMES):
        raise BadInputError(
            f"{path}, {where}: split is '{split or ''}'; expected train, validation or test in every row, or no split "
            "column"
        )
    if "group" in found and found["group"] is None:
        raise BadInputError(f"{path}, {where}: 'group' is empty; expected a name in every row, or no group column")
    return Row(
        where=where,
        path=found["path"],
        label=found.get("label"),
        split=None if split is None else SPLIT_NAMES[split.lower()],
        group=found.get("group"),
        id=found.get("id"),
    )


def _check_header(path: Path, header: Sequence[str]) -> None:
    twice = [name for name in COLUMNS if header.count(name) > 1]
    if twice:
        raise BadInputError(f"{path}: two columns are called '{twice[0]}'; expected one")
    if "path" not in header:
        raise BadInputError(f"{path}: has the columns {', '.join(header)}; expected path, and label where it is known")
    for name in header:
        hint = nearest(name.lower(), [known for known in COLUMNS if known not in header])
        if name not in COLUMNS and hint:  # left unread it would change what is trained, and nobody would know
            raise BadInputError(f"{path}: unknown column '{name}'{hint} Rename it, as one of: {', '.join(COLUMNS)}")


def _text_rows(path: Path) -> list[tuple[str, list[str]]]:
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=separator, strict=True)
            return [(f"line {reader.line_num}", cells) for cells in reader if cells]
    except UnicodeDecodeError as err:
        raise BadInputError(f"{path}: not UTF-8 ({err}); save the table as UTF-8") from err
    except (OSError, csv.Error) as err:
        raise BadInputError(f"{path}: not a readable table ({err}); expected CSV with a header line") from err


def _parquet_rows(path: Path, unknown: str) -> list[tuple[str, list[str]]]:
    table = read_parquet(path)
    wanted = [name for name in table.column_names if name in COLUMNS]
    header = list(table.column_names)
    values = {name: table.column(name).to_pylist() for name in wanted}
    body = [
        (
            f"row {number}",
            [
                "" if name not in values else _cell(values[name][number]) or (unknown if name == "label" else "")
                for name in header
            ],
        )
        for number in range(table.num_rows)
    ]
    return [("schema", header), *body]


def _cell(value: object) -> str:
    """A label may be a number; 3.0, as pandas writes a column of integers with gaps, is 3. A list is one of labels."""
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    if value is None or (isinstance(value, float) and math.isnan(value)):  # NaN: pandas' own "nothing here"
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def read_parquet(path: Path) -> Any:
    """The Arrow table in a Parquet file. Raises BadInputError, or EnvironmentFault without pyarrow."""
    pyarrow, parquet = import_parquet(path)
    try:
        return parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as err:
        raise BadInputError(f"{path}: not a readable Parquet file ({err}); write it again") from err


def _check_files(path: Path, rows: Sequence[Row]) -> None:
    missing = [row for row in rows if not (path.parent / row.path).is_file()]
    if missing:
        named = "; ".join(f"{row.where}: {row.path}" for row in missing[:SHOWN])
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        raise BadInputError(
            f"{path}: {len(missing)} of {len(rows)} files are not there ({named}{more}); expected paths relative to "
            f"the table, from {path.parent}"
        )


def _check_repeats(path: Path, rows: Sequence[Row]) -> None:
    seen: dict[str, Row] = {}
    ids: dict[str, Row] = {}
    for row in rows:
        key = str((path.parent / row.path).resolve())
        first = seen.setdefault(key, row)
        if first is not row:
            why = ""
            if first.label != row.label:
                why = f" with label '{row.label or ''}', there with '{first.label or ''}'"
            elif first.split != row.split:
                why = f" in split '{row.split}', there in '{first.split}'"
            raise BadInputError(
                f"{path}, {row.where}: {row.path} stands in {first.where} too{why}; list a picture once"
            )
        if row.id is not None and ids.setdefault(row.id, row) is not row:
            raise BadInputError(
                f"{path}, {row.where}: id '{row.id}' stands in {ids[row.id].where} too; expected one each"
            )


def _one_class(
    path: Path, rows: Sequence[Row], classes: tuple[str, ...] | None
) -> tuple[tuple[str, ...], npt.NDArray[Any]]:
    names = classes or _names(path, rows)
    numbers = {name: number for number, name in enumerate(names)}
    _check_labels(path, rows, numbers)
    labels = [UNLABELLED if row.label is None else numbers[row.label] for row in rows]
    return names, np.array(labels, dtype=np.int64)


def _label_sets(
    path: Path, rows: Sequence[Row], classes: tuple[str, ...] | None, separator: str
) -> tuple[tuple[str, ...], npt.NDArray[Any]]:
    bare = all(row.label is None for row in rows)  # a table of empty cells, or without the column, has no labels
    sets = [
        None if bare else label_sets.parse(row.label or "", separator, where=f"{path}, {row.where}") for row in rows
    ]
    names = classes or label_sets.class_names(sets, source=str(path))
    return names, label_sets.indicator(sets, names, where=lambda row: f"{path}, {rows[row].where}")


def _names(path: Path, rows: Sequence[Row]) -> tuple[str, ...]:
    found = {row.label for row in rows if row.label is not None}
    if not found:
        raise BadInputError(
            f"{path}: no row has a label, so nothing says which classes there are; set data.classes = [...] to what "
            "the teacher tells apart, in its order"
        )
    if all(_is_number(name) for name in found):
        return tuple(sorted(found, key=int))
    return tuple(sorted(found))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _check_labels(path: Path, rows: Sequence[Row], numbers: dict[str, int]) -> None:
    for row in rows:
        if row.label is not None and row.label not in numbers:
            raise BadInputError(
                f"{path}, {row.where}: label '{row.label}' is none of the classes{nearest(row.label, list(numbers))} "
                f"(data.classes: {', '.join(numbers)})"
            )


def _samples(
    path: Path,
    rows: Sequence[Row],
    labels: npt.NDArray[Any],
    *,
    resize: Resize | None,
    channels: int | None,
    storage: Storage,
) -> Samples:
    named = [(f"{path}, {row.where}: {path.parent / row.path}", path.parent / row.path) for row in rows]
    files = [(row.path, path.parent / row.path) for row in rows]
    return Samples(
        inputs=stack(named, resize=resize, channels=channels, storage=storage, source=path, files=files),
        labels=labels,
        ids=np.array([row.id or row.path for row in rows]),
        groups=None if rows[0].group is None else np.array([row.group for row in rows]),
    )
