"""The folder of one decoded source: what it says of itself, its lock, and what can be done with it from outside."""

import errno
import json
import os
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from weakref import WeakSet, finalize

from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.files import write_atomic

FORMAT = 1
FULL = (errno.ENOSPC, errno.EDQUOT)
DATA, ABOUT, LOCK = "rows.bin", "about.json", ".lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What an entry says of itself.

    slot: the hash of source and settings without the files' state; entries of one slot are older and newer states.
    row: shape of a sample; done: samples that are safe on disk; complete: whether those are all.
    """

    key: str
    slot: str
    source: str
    row: tuple[int, ...]
    dtype: str
    done: int
    complete: bool

    @property
    def data_bytes(self) -> int:
        """Of the samples that are safe."""
        import numpy as np

        return self.done * int(np.prod(self.row, dtype=np.int64)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a cache folder holds under one key. last_used: in UTC."""

    key: str
    folder: Path
    source: str
    size_bytes: int
    complete: bool
    last_used: datetime


def read(place: Path) -> About | None:
    """What the entry says of itself; None where it is not there, damaged, of another format, or lacks samples."""
    try:
        found = json.loads((place / ABOUT).read_text(encoding="utf-8"))
        if found.pop("format") != FORMAT:
            return None
        about = About(**found | {"row": tuple(found["row"])})
        size = (place / DATA).stat().st_size
        return about if size >= about.data_bytes and (size == about.data_bytes or not about.complete) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write(place: Path, about: About) -> None:
    """Say it; what it says of the data must be safe on the disk already."""
    write_atomic(place / ABOUT, json.dumps({"format": FORMAT} | asdict(about)))


def entries(folder: Path) -> tuple[Entry, ...]:
    """All entries of a folder, the one used last first; none where there is no such folder."""
    found = [_entry(place) for place in _places(folder)]
    return tuple(sorted(found, key=lambda entry: entry.last_used, reverse=True))


def clear(folder: Path) -> tuple[Entry, ...]:
    """Remove every entry of a folder, and nothing else; returns what was removed.

    Raises:
        BadInputError: entries are in use; the others are gone.
        EnvironmentFault: a file cannot be removed.
    """
    removed: list[Entry] = []
    used: list[Entry] = []
    for place in _places(folder):
        entry = _entry(place)
        (removed if remove(place) else used).append(entry)
    if used:
        places = ", ".join(str(entry.folder) for entry in used)
        raise BadInputError(f"in use by another edgekd process and kept: {places}; wait for it and clear again")
    return tuple(removed)


def remove_others(place: Path, about: About) -> None:
    """Remove older states of what this entry holds; one that is in use stays."""
    for other in _places(place.parent):
        found = read(other)
        if other != place and found is not None and found.slot == about.slot:
            remove(other)


def remove(place: Path) -> bool:
    """Remove an entry; False where another process uses it."""
    lock = Lock(place)
    if not lock.try_alone():
        lock.close()
        return False
    try:
        discard(place)
        lock.path.unlink(missing_ok=True)
    except OSError as err:
        raise EnvironmentFault(f"cannot remove {place}: {err.strerror}; remove it by hand") from err
    finally:
        lock.close()
    return True


def discard(place: Path) -> None:
    """Remove what an entry holds, under the caller's lock."""
    for name in (ABOUT, DATA):
        (place / name).unlink(missing_ok=True)
    if place.is_dir():
        shutil.rmtree(place)


class Lock:
    """The lock of an entry, held until it is closed or nobody refers to it. Raises EnvironmentFault."""

    def __init__(self, place: Path) -> None:
        self.path = place.with_name(place.name + LOCK)
        self._open()

    def try_alone(self) -> bool:
        """Hold it alone, if nobody else has it."""
        return self._lock(alone=True, wait=False)

    def try_shared(self) -> bool:
        """Share it, if nobody has it alone."""
        return self._lock(alone=False, wait=False)

    def share(self) -> None:
        """Share it, as soon as nobody has it alone."""
        self._lock(alone=False, wait=True)

    def close(self) -> None:
        """Let it go."""
        self.closer()

    def _open(self) -> None:
        _forget_locks_in_children()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as err:
            raise cannot_write(self.path.parent, err) from err
        self.closer = finalize(self, os.close, self.file)
        _locks.add(self)

    def _lock(self, *, alone: bool, wait: bool) -> bool:
        import fcntl

        mode = (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB)
        while True:
            try:
                fcntl.flock(self.file, mode)
            except BlockingIOError:
                return False
            except OSError as err:
                raise EnvironmentFault(
                    f"cannot lock {self.path}: {err.strerror}; set EDGEKD_CACHE to a disk that knows file locks"
                ) from err
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(self.file), self.path.stat()):
                    return True
            self.close()  # `remove` was faster: the file that we locked is nobody's now
            self._open()


def cannot_write(place: Path, err: OSError) -> EnvironmentFault:
    """The error for a cache folder that takes no files, or no more of them."""
    full = "the disk is full: " if err.errno in FULL else ""
    return EnvironmentFault(
        f"{full}cannot write decoded samples to {place}: {err.strerror}; set EDGEKD_CACHE to a folder that can be "
        "written, on a disk with room, or data.storage = 'memory' if they fit"
    )


_locks: WeakSet[Lock] = WeakSet()


@cache
def _forget_locks_in_children() -> None:
    """A lock lives until every copy of its file is closed: a worker that outlives a killed parent must hold none."""
    os.register_at_fork(after_in_child=_forget_locks)


def _forget_locks() -> None:
    for lock in list(_locks):
        lock.close()


def _places(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if (p / ABOUT).is_file() or (p / DATA).is_file())


def _entry(place: Path) -> Entry:
    about = read(place)
    stats = [(place / name).stat() for name in (DATA, ABOUT) if (place / name).is_file()]
    return Entry(
        key=place.name if about is None else about.key,
        folder=place,
        source="" if about is None else about.source,
        size_bytes=sum(stat.st_size for stat in stats),
        complete=about is not None and about.complete,
        last_used=datetime.fromtimestamp(max((stat.st_mtime for stat in stats), default=0.0), UTC),
    )
