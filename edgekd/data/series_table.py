"""A table (CSV, TSV or Parquet) read some rows at a time: it may be larger than memory."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from edgekd.data.parquet import import_parquet
from edgekd.errors import BadInputError

SUFFIXES = (".csv", ".tsv", ".parquet")

BATCH_ROWS = 8192

Cells = list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """header: names of the columns, stripped. unit: what numbers the rows of the file, `line` or, from 0, `row`."""

    path: Path
    header: Cells
    unit: str

    def rows(self) -> Iterator[tuple[int, Cells]]:
        """The rows in order, each with its number; a missing value of Parquet's is an empty cell.

        Raises:
            BadInputError: not a table with rows of as many cells as the header has, or no rows.
        """
        read = _parquet_rows if self.unit == "row" else _text_rows
        found = islice(read(self.path), 0 if self.unit == "row" else 1, None)
        empty = True
        for number, cells in found:
            if len(cells) != len(self.header):
                raise BadInputError(
                    f"{self.path}, {self.unit} {number}: {len(cells)} cells; expected {len(self.header)}, as the "
                    "header has"
                )
            empty = False
            yield number, cells
        if empty:
            raise BadInputError(f"{self.path}: empty; expected a header line and one row a reading")

    def about(self) -> float:
        """How many rows there are, about: by the size of the file and of its first rows."""
        if self.unit == "row":
            return float(_parquet(self.path).metadata.num_rows)
        first = list(islice(self.rows(), BATCH_ROWS))
        mean = sum(len(cell) + 1 for _, cells in first for cell in cells) / len(first)
        return self.path.stat().st_size / mean


def open_table(path: Path) -> Table:
    """The table in a file, of which the header is read.

    Raises:
        BadInputError: not a table, or two columns of one name.
        EnvironmentFault: Parquet without pyarrow.
    """
    parquet = path.suffix.lower() == ".parquet"
    names = _parquet(path).schema_arrow.names if parquet else next(_text_rows(path), (0, []))[1]
    if not names:
        raise BadInputError(f"{path}: empty; expected a header line and one row a reading")
    header = [name.strip() for name in names]
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise BadInputError(f"{path}: two columns are called '{twice}'; expected a name for each")
    return Table(path=path, header=header, unit="row" if parquet else "line")


def read_rows(table: Table, *, start: int, count: int, columns: Sequence[int]) -> list[Cells]:
    """Some rows of a table, of some of its columns, by reading it up to there."""
    return [[cells[place] for place in columns] for _, cells in islice(table.rows(), start, start + count)]


def _text_rows(path: Path) -> Iterator[tuple[int, Cells]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
            for cells in reader:
                if cells:
                    yield reader.line_num, cells
    except UnicodeDecodeError as err:
        raise BadInputError(f"{path}: not UTF-8 ({err}); save the table as UTF-8") from err
    except (OSError, csv.Error) as err:
        raise BadInputError(f"{path}: not a readable table ({err}); expected CSV with a header line") from err


def _parquet(path: Path) -> Any:
    pyarrow, parquet = import_parquet(path)
    try:
        return parquet.ParquetFile(path)
    except (OSError, pyarrow.ArrowException) as err:
        raise BadInputError(f"{path}: not a readable Parquet file ({err}); write it again") from err


def _parquet_rows(path: Path) -> Iterator[tuple[int, Cells]]:
    """A number becomes the shortest text that means it."""
    pyarrow, _ = import_parquet(path)
    number = 0
    try:
        with _parquet(path) as file:
            for batch in file.iter_batches(BATCH_ROWS):
                columns = [["" if value is None else str(value) for value in c.to_pylist()] for c in batch.columns]
                for cells in zip(*columns, strict=True):
                    yield number, list(cells)
                    number += 1
    except (OSError, pyarrow.ArrowException) as err:
        raise BadInputError(f"{path}: not a readable Parquet file ({err}); write it again") from err
