"""One pass over a table of sensor readings: the numbers, a block at a time, and runs of rows that belong together."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from edgekd.data.read_window import as_numbers
from edgekd.data.series_table import BATCH_ROWS, Cells, Table
from edgekd.errors import BadInputError

SPLIT = "split"
"""The column that says which split a row belongs to, where there is one: train, validation or test."""

PARTS = ("train", "validation", "test")

Block = list[tuple[int, Cells]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Rows that follow one another under the same id, label, group and split: [start, stop) of the table."""

    start: int
    stop: int
    id: str
    label: str | None
    group: str | None
    split: str


class Scan:
    """What a pass finds. channels: the columns of numbers. id, label, group: columns, None for none; split: as SPLIT.

    runs: all, once `whole` says that the pass came to the end.
    """

    def __init__(
        self,
        table: Table,
        *,
        channels: Sequence[str],
        id: str | None,  # noqa: A002  as the recipe's key
        label: str | None,
        group: str | None,
        split: bool,
    ) -> None:
        self.table, self.channels, self.id, self.group = table, tuple(channels), id, group
        self.runs: list[Run] = []
        self.whole = False
        header = table.header
        self._places = [None if name is None else header.index(name) for name in (id, label, group)]
        self._split = header.index(SPLIT) if split else None
        self._columns = [header.index(name) for name in channels]
        self._count = self._start = 0
        self._told: tuple[str, str | None, str | None, str] | None = None
        self._numbered: tuple[list[int], list[int]] = [], []
        self._seen: dict[str, int] = {}
        self._bad: dict[int, tuple[int, str, int]] = {}

    def readings(self) -> Iterator[npt.NDArray[np.float32]]:
        """The numbers of all rows, (m, channels) at a time.

        Raises:
            BadInputError: as the table's rows do; an empty id or group, a window that comes again, an unknown split; at
                the end, cells that are no finite numbers.
        """
        for block in self._blocks():
            yield self._numbers(block)
        if self._bad:
            raise self._not_numbers()

    def walk(self) -> None:
        """The runs alone, of a table whose numbers are known."""
        for _ in self._blocks():
            pass

    def where(self, row: int) -> str:
        """Where a row stands in the file: `line 7`."""
        rows, numbers = self._numbered
        known = bisect_right(rows, row) - 1
        return f"{self.table.unit} {numbers[known] + row - rows[known]}"

    def _blocks(self) -> Iterator[Block]:
        rows = self.table.rows()
        while block := list(islice(rows, BATCH_ROWS)):
            for number, cells in block:
                self._note(number, cells)
            yield block
        self._close()
        self.whole = True

    def _note(self, number: int, cells: Cells) -> None:
        rows, numbers = self._numbered
        if not rows or numbers[-1] + self._count - rows[-1] != number:  # empty lines, or cells of several lines
            rows.append(self._count)
            numbers.append(number)
        id_, label, group = (None if place is None else cells[place].strip() for place in self._places)
        told = (id_ or "", label or None, group, self._part(number, cells))
        if told != self._told:
            self._close()
            self._check_start(number, id_ or "", group)
            self._start, self._told = self._count, told
        self._count += 1

    def _close(self) -> None:
        """The run that has been open is whole."""
        if self._told is not None:
            id_, label, group, split = self._told
            self.runs.append(Run(start=self._start, stop=self._count, id=id_, label=label, group=group, split=split))

    def _check_start(self, number: int, id_: str, group: str | None) -> None:
        path, unit = self.table.path, self.table.unit
        if self.group is not None and not group:
            raise BadInputError(f"{path}, {unit} {number}: '{self.group}' is empty; expected a name in every row")
        if self.id is None:
            return
        if not id_:
            raise BadInputError(f"{path}, {unit} {number}: '{self.id}' is empty; expected a window's name in every row")
        if id_ in self._seen:
            raise BadInputError(
                f"{path}, {unit} {number}: window '{id_}' comes again (first in {unit} {self._seen[id_]}), or changes "
                "its label, group or split; expected the rows of a window together, under one of each"
            )
        self._seen[id_] = number

    def _part(self, number: int, cells: Cells) -> str:
        if self._split is None:
            return "train"
        name = cells[self._split].strip().lower()
        if name not in PARTS:
            raise BadInputError(
                f"{self.table.path}, {self.table.unit} {number}: split is '{cells[self._split]}'; expected train, "
                "validation or test"
            )
        return name

    def _numbers(self, block: Block) -> npt.NDArray[np.float32]:
        columns = []
        for channel, place in enumerate(self._columns):
            column = _as_numbers([cells[place] for _, cells in block])
            bad = np.flatnonzero(~np.isfinite(column))
            if len(bad):
                number, cells = block[int(bad[0])]
                first, cell, count = self._bad.get(channel, (number, cells[place], 0))
                self._bad[channel] = first, cell, count + len(bad)
            columns.append(column)
        return np.stack(columns, axis=1)

    def _not_numbers(self) -> BadInputError:
        channel = min(self._bad)
        number, cell, count = self._bad[channel]
        return BadInputError(
            f"{self.table.path}, {self.table.unit} {number}, column '{self.channels[channel]}': found '{cell}' "
            f"({count} such cells in the column); expected finite float32 numbers: fill them in, drop those rows, or "
            "name the channels in data.series.columns"
        )


def _as_numbers(cells: list[str]) -> npt.NDArray[np.float32]:
    """NaN for what is no number, so that it is named."""
    column: npt.NDArray[np.float32]
    try:
        column = as_numbers(cells)
    except ValueError:
        column = np.array([_number(cell) for cell in cells], dtype=np.float32)
    return column


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")
