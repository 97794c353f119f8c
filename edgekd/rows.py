"""Rows of an array that lies in a file: taken apart without reading them, read where they are needed.

Read with pread(2) and not through a memory map: a map's pages count as the process's memory until the system wants them
back, and a file that became shorter kills the process that looks at one. A child process shares the open file.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol
from weakref import finalize

import numpy as np
import numpy.typing as npt

from edgekd.errors import EnvironmentFault

Array = npt.NDArray[Any]

CHUNK_BYTES = 1 << 24
"""How much of the inputs is looked at in one go: 16 MiB."""


class Stored:
    """An open file in which row i, in C order, lies at `offset + i * stride` bytes.

    stride: bytes from one row to the next; less than a row has where rows share what they hold, as windows of a series
    do. held: kept as long as the rows are, such as the lock of their file.
    """

    def __init__(
        self,
        path: Path,
        *,
        row: Sequence[int],
        dtype: npt.DTypeLike,
        count: int,
        offset: int = 0,
        stride: int | None = None,
        held: object = None,
    ) -> None:
        self.path, self.row, self.dtype, self.count = path, tuple(row), np.dtype(dtype), count
        self.row_bytes = int(np.prod(self.row, dtype=np.int64)) * self.dtype.itemsize
        self.offset, self.stride, self.held = offset, self.row_bytes if stride is None else stride, held
        try:
            self.file = os.open(path, os.O_RDONLY)
        except OSError as err:
            raise EnvironmentFault(f"{path}: cannot be opened ({err.strerror}); run again, it is made again") from err
        finalize(self, os.close, self.file)

    def read(self, index: npt.NDArray[np.int64]) -> Array:
        """The rows at `index`, (len(index), *row), as an array of its own; rows that follow one another in one read.

        Raises:
            EnvironmentFault: the file became shorter, or the disk fails.
        """
        found = np.empty((len(index), *self.row), self.dtype)
        if not found.nbytes:
            return found
        raw = found.reshape(-1).view(np.uint8).data
        near = np.diff(index) == 1 if self.stride == self.row_bytes else np.zeros(len(index) - 1, bool)
        starts = [0, *(np.flatnonzero(~near) + 1).tolist()]
        for start, stop in zip(starts, [*starts[1:], len(index)], strict=True):
            place = self.offset + int(index[start]) * self.stride
            self._fill(raw[start * self.row_bytes : stop * self.row_bytes], place)
        return found

    def overlapping(self, length: int) -> "Stored":
        """Rows (length, *row) that each begin one row later: windows, which share what they hold."""
        return Stored(
            self.path,
            row=(length, *self.row),
            dtype=self.dtype,
            count=max(0, self.count - length + 1),
            offset=self.offset,
            stride=self.stride,
            held=self.held,
        )

    def _fill(self, buffer: memoryview, place: int) -> None:
        done = 0
        while done < len(buffer):
            try:
                got = os.preadv(self.file, [buffer[done:]], place + done)
            except OSError as err:
                raise EnvironmentFault(f"{self.path}: cannot be read ({err.strerror}); is its disk sound?") from err
            if not got:
                raise EnvironmentFault(
                    f"{self.path}: ends at byte {place + done}, in the middle of the samples; something made it "
                    "shorter while it was in use: run again"
                )
            done += got


class Rows:
    """(n, ...) as an array has it, of which `[...]` reads rows and `take` reads nothing.

    index: (n,) which rows of the file, in which order; None: all. axes: how the axes of a row are arranged anew, as
    numpy.transpose takes them, the rows' own axis 0 first; None: as in the file.
    """

    def __init__(
        self, stored: Stored, index: npt.NDArray[np.int64] | None = None, axes: tuple[int, ...] | None = None
    ) -> None:
        self.stored, self.axes = stored, axes
        self.index = np.arange(stored.count, dtype=np.int64) if index is None else index

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, ...) as of an array."""
        full = (len(self.index), *self.stored.row)
        return full if self.axes is None else tuple(full[axis] for axis in self.axes)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the numbers."""
        return self.stored.dtype

    @property
    def ndim(self) -> int:
        """Axes, that of the rows counted."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """What they would take in memory."""
        return len(self) * self.stored.row_bytes

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, key: Any) -> Array:
        """The rows of an integer, slice, index array or mask, read: an array of its own. As numpy along axis 0."""
        chosen = self.index[key]
        if chosen.ndim == 0:
            one: Array = self[np.asarray(key)[None]][0]
            return one
        if chosen.ndim > 1:
            raise IndexError(f"an index of {chosen.ndim} axes into rows of a file; expected one")
        found = self.stored.read(chosen)
        return found if self.axes is None else np.ascontiguousarray(found.transpose(self.axes))

    def __iter__(self) -> Iterator[Array]:
        for chunk in chunks(self):
            yield from chunk

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("rows of a file have no array in memory to share; expected copy=None or True")
        return self[:] if dtype is None else self[:].astype(dtype, copy=False)

    def take(self, index: npt.NDArray[np.int64] | npt.NDArray[np.bool_] | slice) -> "Rows":
        """The rows at `index`, in its order; nothing is read."""
        return Rows(self.stored, self.index[index], self.axes)

    def transpose(self, *axes: int) -> "Rows":
        """The same rows with their axes arranged anew; axis 0 stays. Nothing is read."""
        if self.axes is not None or axes[0] != 0:
            raise ValueError(f"axes {axes} of rows of a file; expected 0 first, and once")
        return Rows(self.stored, self.index, axes)


Inputs = Array | Rows
"""Samples (n, ...): in memory, or in a file."""


class _Sliced(Protocol):
    """Whatever numpy indexes along its first axis."""

    def __len__(self) -> int: ...

    @property
    def nbytes(self) -> int: ...

    def __getitem__(self, key: slice, /) -> Any: ...


def take(inputs: Inputs, index: npt.NDArray[np.int64] | npt.NDArray[np.bool_] | slice) -> Inputs:
    """The samples at `index`: a copy of an array, as numpy makes it, or rows that are not read yet."""
    return inputs.take(index) if isinstance(inputs, Rows) else inputs[index]


def places(inputs: _Sliced, *, chunk_bytes: int | None = None, multiple: int = 1) -> Iterator[slice]:
    """Slices over all samples in order, of about `chunk_bytes` each and a whole multiple of `multiple` samples."""
    chunk_bytes = CHUNK_BYTES if chunk_bytes is None else chunk_bytes
    per_sample = max(1, inputs.nbytes // max(1, len(inputs)))
    step = max(1, chunk_bytes // per_sample // multiple) * multiple
    for start in range(0, len(inputs), step):
        yield slice(start, min(start + step, len(inputs)))


def chunks(inputs: Inputs, *, chunk_bytes: int | None = None) -> Iterator[Array]:
    """All samples in order, some at a time, as arrays."""
    for place in places(inputs, chunk_bytes=chunk_bytes):
        yield inputs[place]
