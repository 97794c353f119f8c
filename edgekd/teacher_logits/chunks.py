"""The chunks of a cache on disk: which are whole, written one by one, in space that was taken before."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

import numpy as np

from edgekd.errors import EnvironmentFault
from edgekd.files import write_atomic
from edgekd.teacher_logits.entry import ABOUT, DATA, DIGESTS, readable
from edgekd.teacher_logits.layout import Chunk, Layout, digest


class Chunks:
    """The files of one entry, open. Who writes holds the lock exclusively."""

    def __init__(self, place: Path, layout: Layout, *, data: FileIO, digests: FileIO) -> None:
        self.place, self.layout, self.data, self.digests = place, layout, data, digests
        self._seed = layout.seed()
        self.size_bytes = layout.data_bytes + layout.digest_bytes

    @classmethod
    @contextmanager
    def opened(cls, place: Path, layout: Layout) -> Iterator["Chunks"]:
        """The files in `place`, made where there are none. Raises EnvironmentFault where they cannot be."""
        try:
            data, digests = (_open(place / name) for name in (DATA, DIGESTS))
        except OSError as err:
            raise EnvironmentFault(
                f"cannot write to {err.filename}: {err.strerror}; choose another distill.cache_folder"
            ) from err
        with data, digests:
            yield cls(place, layout, data=data, digests=digests)

    def missing(self) -> list[Chunk]:
        """The chunks that are not on disk with the digest that they must have. Reads everything that is there."""
        # Read, not mapped: a file that is cut or a bad sector gives an error, where a map gives SIGBUS.
        raw = os.pread(self.digests.fileno(), self.layout.digest_bytes, 0)
        told = np.frombuffer(raw.ljust(self.layout.digest_bytes, b"\0"), "<u8").tolist()
        return [chunk for chunk in self.layout.chunks() if not self._intact(chunk, told[chunk.number])]

    def tidy(self) -> bool:
        """Whether the .json file says what it must and the others have their sizes."""
        try:
            about = (self.place / ABOUT).read_bytes()
        except FileNotFoundError:
            return False
        sizes = [os.fstat(file.fileno()).st_size for file in (self.data, self.digests)]
        return about == self.layout.description() and sizes == [self.layout.data_bytes, self.layout.digest_bytes]

    def reserve(self) -> None:
        """Take all of the space before hours of work, and give back what was taken where it is not enough.

        Raises:
            EnvironmentFault: the disk is too full, or a file may not be so large.
        """
        before = os.fstat(self.data.fileno())
        free = shutil.disk_usage(self.place).free
        if self.layout.data_bytes - 512 * before.st_blocks > free:
            raise EnvironmentFault(f"{self._need()}, and {readable(free)} is free there; {WAYS_OUT}")
        with self._writing():
            try:
                _allocate(self.data, self.layout.data_bytes)
                _allocate(self.digests, self.layout.digest_bytes)
            except OSError:
                os.truncate(self.data.fileno(), min(before.st_size, self.layout.data_bytes))
                raise
            write_atomic(self.place / ABOUT, self.layout.description())

    def write(self, chunk: Chunk, raw: bytes) -> None:
        """Put a chunk's bytes on disk, and then its digest.

        Raises:
            EnvironmentFault: the disk is full, or fails.
        """
        told = digest(raw, chunk, self._seed).to_bytes(8, "little")
        with self._writing():
            _write(self.data, raw, chunk.offset)
            _write(self.digests, told, 8 * chunk.number)

    def _intact(self, chunk: Chunk, told: int) -> bool:
        if told == 0:
            return False
        try:
            raw = os.pread(self.data.fileno(), chunk.size, chunk.offset)
        except OSError as err:
            raise EnvironmentFault(f"cannot read {self.place / DATA}: {err.strerror}; remove the folder") from err
        return told == digest(raw, chunk, self._seed)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as err:
            raise EnvironmentFault(f"{self._need()}: {err.strerror}; {WAYS_OUT}") from err

    def _need(self) -> str:
        return f"the teacher's logits need {readable(self.size_bytes)} of disk in {self.place}"


WAYS_OUT = (
    "free some space, choose another distill.cache_folder, or make them fewer with a smaller distill.n_views or "
    "distill.teacher_cache = 'top-k'"
)


def _open(path: Path) -> FileIO:
    path.touch()
    return FileIO(path, "r+")


def _write(file: FileIO, raw: bytes, offset: int) -> None:
    while raw:
        written = os.pwrite(file.fileno(), raw, offset)
        raw, offset = raw[written:], offset + written


def _allocate(file: FileIO, size: int) -> None:
    """Give a file its size, and its blocks where the system can, so that no later write finds the disk full."""
    os.truncate(file.fileno(), size)
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except OSError as err:
        if err.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # a file system without; `write` tells when it is full
            raise
