"""An array of an .npz file as rows that are read where they are needed: from the file itself, or decoded beside it."""

import math
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.decoded import Storage
from edgekd.errors import BadInputError
from edgekd.rows import CHUNK_BYTES, Array, Rows, Stored

Check = Callable[[Iterator[Array]], Iterator[Array]]
"""The chunks of an array -> the same, while they are looked at; raises for what is wrong in them."""

BROKEN = (OSError, EOFError, zipfile.BadZipFile, zlib.error, KeyError, RuntimeError, ValueError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a member says of its array. start: bytes of the member before the first number."""

    member: zipfile.ZipInfo
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    start: int

    @property
    def nbytes(self) -> int:
        """Of the array."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_headers(path: Path) -> dict[str, Header]:
    """Shape and type of each array of an .npz file by its name, without the arrays; what is none is left out.

    Nothing is said of a file that is not whole: reading the arrays is.
    """
    found = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                header = _header(archive, info)
                if header is not None:
                    found[info.filename.removesuffix(".npy")] = header
    except BROKEN:
        return {}
    return found


def _header(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Header | None:
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    with archive.open(info) as file:
        try:
            reader = readers.get(np.lib.format.read_magic(file))
            shape, fortran, dtype = reader(file) if reader is not None else ((), False, np.dtype(object))
        except ValueError:
            return None
        start = file.tell()
    if reader is None or dtype.hasobject:
        return None
    return Header(member=info, shape=shape, dtype=dtype, fortran=fortran, start=start)


def stored_rows(
    path: Path,
    name: str,
    header: Header,
    *,
    row: tuple[int, ...],
    dtype: npt.DTypeLike,
    storage: Storage,
    check: Check = lambda chunks: chunks,
) -> Rows:
    """The array `name` as rows of shape `row` and type `dtype`, checked chunk by chunk.

    Where it lies in the file as it is wanted (numpy.savez, not savez_compressed) it is read from there, and the file
    must stay as it is while it is in use.

    Raises:
        BadInputError: the file is corrupt or changes, `check` finds something, or a compressed array is in Fortran
            order.
        EnvironmentFault: the disk is full.
    """
    plain = header.member.compress_type == zipfile.ZIP_STORED
    if plain and not header.fortran and header.dtype == dtype:
        rows = Rows(Stored(path, row=row, dtype=dtype, count=header.shape[0], offset=_offset(path, header)))
        for _ in check(_converted(path, header, row, dtype)):  # to the end: there zipfile compares the sum
            pass
        return rows
    if header.fortran:
        raise BadInputError(
            f"{path}: '{name}' is in Fortran order, and too large to be turned in memory; save it again as "
            "numpy.ascontiguousarray of it"
        )
    return storage.keep(
        source=path,
        files=[(path.name, path)],
        settings={"kind": "npz", "name": name},
        row=row,
        dtype=dtype,
        count=header.shape[0],
        read=lambda start: _from(check(_converted(path, header, row, dtype)), start),
    )


def _from(chunks: Iterator[Array], start: int) -> Iterator[Array]:
    """What comes after `start` rows: a compressed array has no middle to begin at."""
    seen = 0
    for chunk in chunks:
        if seen + len(chunk) > start:
            yield chunk[max(0, start - seen) :]
        seen += len(chunk)


def _converted(path: Path, header: Header, row: tuple[int, ...], dtype: npt.DTypeLike) -> Iterator[Array]:
    shape = header.shape[1:]
    row_bytes = max(1, math.prod(shape) * header.dtype.itemsize)
    step = max(1, CHUNK_BYTES // row_bytes)
    try:
        with zipfile.ZipFile(path) as archive, archive.open(header.member) as file:
            file.read(header.start)
            for start in range(0, header.shape[0], step):
                count = min(step, header.shape[0] - start)
                raw = file.read(count * row_bytes)
                if len(raw) != count * row_bytes:
                    raise EOFError(f"it ends after {start} rows and some")
                with np.errstate(over="ignore"):  # what the type cannot hold becomes infinite, and is found
                    yield np.frombuffer(raw, header.dtype).reshape(count, *row).astype(dtype, copy=False)
            while file.read(CHUNK_BYTES):
                pass
    except BROKEN as err:
        raise BadInputError(f"{path}: corrupt or truncated ({err}); write the file again with numpy.savez") from err


def _offset(path: Path, header: Header) -> int:
    """Bytes of the file before the array's first number, of a member that is stored as it is."""
    with path.open("rb") as file:
        file.seek(header.member.header_offset + 26)
        # APPNOTE.TXT 4.3.7: two lengths, after which name, extra field and data come
        start = header.member.header_offset + 30 + sum(struct.unpack("<HH", file.read(4))) + header.start
        if start + header.nbytes > file.seek(0, os.SEEK_END):
            raise BadInputError(f"{path}: truncated; write the file again with numpy.savez")
    return int(start)
