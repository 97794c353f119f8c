"""Labelled texts from a CSV, TSV or JSON Lines file, read a line at a time; every fault is named by file and line."""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd.data.label_sets import UNKNOWN
from edgekd.data.text_file import TextFile
from edgekd.errors import BadInputError, nearest

SUFFIXES = {".csv": ",", ".tsv": "\t", ".jsonl": None}
"""File name ending -> what stands between two columns; None: a JSON object a line."""

KEYS = {
    "text": "data.text.column",
    "label": "data.text.label_column",
    "id": "data.text.id_column",
    "group": "data.text.group_column",
}
"""Part of a record -> the recipe's key that names its column."""

RECORD_BYTES = 1_000_000
"""A longer record is an error: no classifier reads so much, and a quote that is never closed swallows the file."""

BYTE_ORDER_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"\x00\x00\xfe\xff": "UTF-32"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Where a record has its parts. id, group: None for columns of these names, where there are such.

    several: the label may be a list, of a multi-label task; one that is missing or null reads as `?`, not known.
    """

    text: str = "text"
    label: str = "label"
    id: str | None = None
    group: str | None = None
    several: bool = False

    def among(self, found: Sequence[str]) -> dict[str, str]:
        """Part -> column, of those that every record must have. found: the columns that there are."""
        parts = {"text": self.text, "label": self.label}
        for part, column in (("id", self.id), ("group", self.group)):
            if column is not None or part in found:
                parts[part] = column or part
        return parts


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """What a file holds, all lists of one length.

    lines: where each record starts. texts: all that `read_texts` was given to add to. labels: None where a record has
    none. ids, groups: None without such a column.
    """

    lines: list[int]
    texts: list[str] | TextFile
    labels: list[str | None]
    ids: list[str] | None
    groups: list[str] | None


def is_text_file(path: Path, columns: Columns) -> bool:
    """Whether the file's first record has the text column; False for what is no CSV, TSV or JSON Lines file at all.

    Raises:
        BadInputError: its first line cannot be read.
    """
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        return False
    delimiter = SUFFIXES[path.suffix.lower()]
    number, line = next(_lines(path), (0, ""))
    if delimiter is None:
        return columns.text in _object(path, number, line) if line.strip() else False
    return columns.text in next(csv.reader([line], delimiter=delimiter), [])


def read_texts(path: Path, columns: Columns, *, texts: list[str] | TextFile | None = None) -> Texts:
    """All records of a file, in its order.

    One record is in memory at a time, beside what is kept of those before it: text, label, id and group. texts: what to
    add the texts to; None: a list of their own.

    Raises:
        BadInputError: missing or empty file, another ending, text that is not UTF-8, a record that is too long or has
            no text, a column that is missing, an id that stands twice: with file and line.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise BadInputError(f"{path}: ends in '{path.suffix}'; expected {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise BadInputError(f"{path}: no such file; expected a {path.suffix} file of texts and labels")
    delimiter = SUFFIXES[path.suffix.lower()]
    records = _objects(path, columns) if delimiter is None else _rows(path, delimiter, columns)
    lines: list[int] = []
    texts = [] if texts is None else texts
    labels: list[str | None] = []
    ids: dict[str, int] = {}
    groups: list[str] = []
    for number, record in records:
        if not record["text"].strip():
            raise BadInputError(
                f"{path}:{number}: column '{columns.text}' is empty; expected a text: remove the record"
            )
        lines.append(number)
        texts.append(record["text"])
        labels.append(record["label"].strip() or None)
        if "id" in record and ids.setdefault(record["id"], number) != number:
            raise BadInputError(
                f"{path}:{number}: id '{record['id']}' stands in line {ids[record['id']]} too; expected each once"
            )
        if "group" in record:
            groups.append(_group(path, number, record["group"]))
    if not lines:
        raise BadInputError(f"{path}: holds no records; expected texts with labels")
    return Texts(
        lines=lines,
        texts=texts,
        labels=labels,
        ids=list(ids) or None,
        groups=groups or None,
    )


def _group(path: Path, number: int, group: str) -> str:
    if not group.strip():
        raise BadInputError(f"{path}:{number}: has no group; expected one, as splits keep groups whole")
    return group


def _rows(path: Path, delimiter: str, columns: Columns) -> Iterator[tuple[int, dict[str, str]]]:
    """(line of its start, part -> cell) of each record below the header of a CSV or TSV file."""
    lines = _Records(path)
    csv.field_size_limit(max(RECORD_BYTES, csv.field_size_limit()))  # else 128 KiB, with another message
    # A tab-separated file has no quotes in most tools; a quote at the start of a cell is read as one all the same.
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    places: dict[str, int] = {}
    while True:
        lines.start_record()
        try:
            cells = next(reader, None)
        except csv.Error as err:
            raise BadInputError(
                f"{path}:{lines.first}: {err}; expected {'tabs' if delimiter == chr(9) else 'commas'} between columns "
                "and quotes that are closed"
            ) from err
        if cells is None:
            return
        if not cells:
            continue  # an empty line
        if header is None:
            header = [cell.strip() for cell in cells]
            places = _places(path, lines.first, header, columns)
            continue
        if len(cells) != len(header):
            raise BadInputError(
                f"{path}:{lines.first}: {len(cells)} columns; expected {len(header)}, as the header has: put quotes "
                "around a text that holds the separator"
            )
        yield lines.first, {part: cells[place] for part, place in places.items()}


def _places(path: Path, number: int, header: list[str], columns: Columns) -> dict[str, int]:
    parts = columns.among(header)
    for part, column in parts.items():
        if header.count(column) != 1:
            found = "stands twice" if column in header else "is missing"
            raise BadInputError(
                f"{path}:{number}: column '{column}' {found} (found: {', '.join(header)}){nearest(column, header)}; "
                f"name it in the header, or set {KEYS[part]}"
            )
    return {part: header.index(column) for part, column in parts.items()}


def _objects(path: Path, columns: Columns) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, part -> value) of each line of a JSON Lines file that is not empty."""
    parts: dict[str, str] = {}
    for number, line in _lines(path):
        if line.strip():
            values = _object(path, number, line)
            parts = parts or columns.among(list(values))
            yield number, {part: _value(path, number, values, part, key, columns) for part, key in parts.items()}


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as err:
        raise BadInputError(f"{path}:{number}: no JSON ({err}); expected an object a line") from err
    if not isinstance(values, dict):
        raise BadInputError(f"{path}:{number}: found {type(values).__name__}; expected an object a line")
    return values


def _value(path: Path, number: int, values: dict[str, Any], part: str, key: str, columns: Columns) -> str:
    """A string, or a whole number as one; no label is the same as null or an empty one."""
    value = values.get(key)
    if part == "label" and value is None:
        return UNKNOWN if columns.several else ""
    if part == "label" and isinstance(value, list):
        if not columns.several:
            raise BadInputError(
                f"{path}:{number}: '{key}' is a list; expected one class: set data.task = 'multi-label' if a text may "
                "have several"
            )
        return json.dumps(value, ensure_ascii=False)
    if key not in values:
        known = list(map(str, values))
        raise BadInputError(
            f"{path}:{number}: '{key}' is missing (found: {', '.join(known) or 'none'}){nearest(key, known)}; "
            f"expected it in every line, or set {KEYS[part]}"
        )
    if isinstance(value, int) and not isinstance(value, bool) and part != "text":
        return str(value)
    if not isinstance(value, str):
        raise BadInputError(f"{path}:{number}: '{key}' is {json.dumps(value)[:40]}; expected a string")
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise BadInputError(f"{path}:{number}: '{key}' holds half of a surrogate pair; expected whole letters")
    return value


class _Records:
    """Lines for `csv.reader`, which counts those of a record that goes over several."""

    def __init__(self, path: Path) -> None:
        self.path, self.source = path, _lines(path)
        self.first = self.bytes = 0

    def __iter__(self) -> "_Records":
        return self

    def __next__(self) -> str:
        number, line = next(self.source)
        self.first = self.first or number
        self.bytes += len(line.encode())
        if self.bytes > RECORD_BYTES:
            raise _too_long(self.path, self.first)
        return line

    def start_record(self) -> None:
        """What comes next is a new record."""
        self.first = self.bytes = 0


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, text) of each line, its end included."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(RECORD_BYTES + 1):
            number += 1
            if number == 1:
                line = _without_mark(path, line)
            if len(line) > RECORD_BYTES:
                raise _too_long(path, number)
            try:
                yield number, line.decode("utf-8")
            except UnicodeDecodeError as err:
                raise BadInputError(
                    f"{path}:{number}: byte {err.start + 1} of the line is 0x{line[err.start]:02x}, which is not "
                    "UTF-8; convert the file, for example: iconv -f latin1 -t utf-8"
                ) from err


def _without_mark(path: Path, line: bytes) -> bytes:
    for mark, name in BYTE_ORDER_MARKS.items():
        if line.startswith(mark):
            raise BadInputError(f"{path}:1: is {name}; expected UTF-8: iconv -f {name} -t utf-8")
    return line.removeprefix(b"\xef\xbb\xbf")


def _too_long(path: Path, number: int) -> BadInputError:
    return BadInputError(
        f"{path}:{number}: the record that starts here is longer than {RECORD_BYTES:,} bytes; expected one text with "
        "its label: is a quote not closed? Cut a text that is really so long"
    )
