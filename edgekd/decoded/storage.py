"""Where a source's samples stay while they are used: in memory, or decoded into a file."""

import math
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgekd import __version__, machine
from edgekd.decoded import entry
from edgekd.decoded.entry import DATA, About, Lock
from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.progress import Listener, Progress, silent
from edgekd.rows import Array, Rows, Stored
from edgekd.store import cache_home, key_of

Mode = Literal["auto", "memory", "disk"]

MEMORY_SHARE = 0.25
"""Share of the available memory that decoded samples may take: each split is a copy of its part, and networks,
activations and the sources' own names want theirs."""

SAFE_BYTES = 1 << 26
"""After so many bytes, 64 MiB, they are made safe on the disk, from where a killed decoder goes on."""

WAIT_SECONDS = 0.05

File = tuple[str, Path]
"""A file of a source: its name in it, and where it lies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """Where decoded samples stay.

    mode: `memory`, `disk`, or `auto`: on disk what takes more than `limit_bytes`. folder: of the files. limit_bytes:
    None for a quarter of the memory that is available now.
    """

    mode: Mode = "auto"
    folder: Path = field(default_factory=lambda: cache_home() / "decoded")
    limit_bytes: int | None = None
    listener: Listener = silent

    def on_disk(self, size_bytes: float) -> bool:
        """Whether samples that take so much belong into a file."""
        return size_bytes > self.most_bytes()

    def most_bytes(self) -> float:
        """Bytes up to which samples stay in memory."""
        if self.mode != "auto":
            return math.inf if self.mode == "memory" else -1.0
        if self.limit_bytes is not None:
            return self.limit_bytes
        membership, root = machine.read_if_there(Path("/proc/self/cgroup")), Path("/sys/fs/cgroup")
        _, available = machine.memory_bytes(limit=machine.cgroup_memory(membership, root=root))
        return MEMORY_SHARE * available

    def keep(
        self,
        *,
        source: Path,
        files: Iterable[File],
        settings: Mapping[str, Any],
        row: Sequence[int],
        dtype: npt.DTypeLike,
        count: int | None,
        read: Callable[[int], Iterator[Array]],
    ) -> Rows:
        """The samples in a file: that of an earlier run where nothing has changed, else decoded now.

        Args:
            source: for messages and lists.
            files: all that the samples come from.
            settings: JSON-ready; all else that decides their bytes.
            row: shape of a sample. dtype: of its numbers. count: how many there are; None: seen at the end.
            read: read(start) gives the samples from `start` on, some at a time, (m, *row); with an unknown count, or
                where it cannot begin later, it is called with 0.

        Raises:
            BadInputError: a file changed while it was decoded, or what `read` raises.
            EnvironmentFault: the disk is full, or the folder cannot be written.
        """
        listed = list(files)
        state = _state(source, listed)
        decides = [__version__, dict(settings), list(row), np.dtype(dtype).str]
        key = key_of("decoded", entry.FORMAT, decides, state)
        about = About(
            key=key,
            slot=key_of(str(source.absolute()), decides),
            source=str(source),
            row=tuple(row),
            dtype=np.dtype(dtype).str,
            done=0,
            complete=False,
        )
        place = self.folder / key[:32]
        lock = Lock(place)
        try:
            self._hold(lock, place)
            found = entry.read(place)
            if found is None or not found.complete:
                found = self._decode(place, about, count, read)
                if _state(source, listed) != state:
                    entry.discard(place)
                    raise BadInputError(
                        f"{source}: its files changed while they were decoded; run again when they are whole"
                    )
                entry.write(place, found)
                entry.remove_others(place, found)
            with suppress(OSError):  # when it was last used is for lists alone
                os.utime(place / entry.ABOUT)
            stored = Stored(place / DATA, row=row, dtype=dtype, count=found.done, held=lock)
            lock.share()
        except BaseException:
            lock.close()
            raise
        return Rows(stored)

    def _hold(self, lock: Lock, place: Path) -> None:
        """Lock alone what has to be decoded, and shared what another process has decoded."""
        said = False
        while not lock.try_alone():
            if lock.try_shared():
                found = entry.read(place)
                if found is not None and found.complete:
                    return
            if not said:
                self.listener(Progress(stage="decode", done=0, total=1, note="another process decodes it; waiting"))
                said = True
            time.sleep(WAIT_SECONDS)

    def _decode(self, place: Path, about: About, count: int | None, read: Callable[[int], Iterator[Array]]) -> About:
        """Write what is missing; what it says of itself when all is written, not yet said on disk."""
        before = entry.read(place)
        same = before is not None and (before.key, before.row, before.dtype) == (about.key, about.row, about.dtype)
        start = replace(about, done=before.done if before is not None and same and count is not None else 0)
        whole = None if count is None else replace(about, done=count).data_bytes
        try:
            place.mkdir(parents=True, exist_ok=True)
            if whole is not None:
                _check_room(place, whole, have=start.data_bytes)
            with (place / DATA).open("r+b" if start.done else "wb") as file:
                file.truncate(start.data_bytes)
                file.seek(start.data_bytes)
                if not start.done:
                    entry.write(place, start)
                return self._written(place, file, start, count, read(start.done))
        except OSError as err:
            if err.errno in entry.FULL:
                have = shutil.disk_usage(place).free + (place / DATA).stat().st_size
                entry.discard(place)  # the rest of the machine needs the room
                raise _no_room(place, whole, have) from err
            raise entry.cannot_write(place, err) from err

    def _written(self, place: Path, file: Any, about: About, count: int | None, pieces: Iterator[Array]) -> About:
        safe = about.data_bytes
        note = f"{about.source} → {place}"
        self._say(about.done, count, note)
        for piece in pieces:
            if piece.shape[1:] != about.row or piece.dtype.str != about.dtype:
                raise TypeError(f"a piece of {piece.dtype} {piece.shape[1:]}; expected {about.dtype} {about.row}")
            file.write(np.ascontiguousarray(piece).data if piece.size else b"")
            about = replace(about, done=about.done + len(piece))
            if about.data_bytes - safe >= SAFE_BYTES:
                file.flush()
                os.fdatasync(file.fileno())
                entry.write(place, about)
                safe = about.data_bytes
                self._say(about.done, count, note)
        if count is not None and about.done != count:
            raise TypeError(f"{about.done} samples of {about.source}; expected {count}")
        file.flush()
        os.fsync(file.fileno())
        self._say(about.done, about.done, note)
        return replace(about, complete=True)

    def _say(self, done: int, count: int | None, note: str) -> None:
        self.listener(Progress(stage="decode", done=done, total=max(1, count or done + 1), note=note))


MEMORY = Storage(mode="memory")
"""Nothing goes to a disk."""


def _state(source: Path, files: Sequence[File]) -> list[tuple[str, int, int, int]]:
    """Name, size and times of each file. The time of change (ctime) cannot be set back as that of modification can."""
    found = []
    for name, path in files:
        try:
            stat = path.stat()
        except OSError as err:
            raise BadInputError(f"{path}: cannot be read ({err.strerror}); expected a file of {source}") from err
        found.append((name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
    return found


def _check_room(place: Path, whole: int, *, have: int) -> None:
    free = shutil.disk_usage(place).free + have
    if free < whole:
        raise _no_room(place, whole, free)


def _no_room(place: Path, whole: int | None, free: int) -> EnvironmentFault:
    need = "" if whole is None else f" need {whole / 1e6:,.1f} MB"
    return EnvironmentFault(
        f"the disk is full: decoded samples{need}, and {place} has room for {free / 1e6:,.1f} MB; free some (`edgekd "
        "cache --clear` removes those of earlier data), or set EDGEKD_CACHE to a folder on a larger disk"
    )
