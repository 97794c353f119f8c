"""The folder of one cache: its files, its lock, and what can be said of it and done with it from outside."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from io import FileIO
from pathlib import Path
from weakref import WeakSet

import numpy as np

from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.teacher_logits.layout import Layout, described

DATA, DIGESTS, ABOUT, LOCK = "teacher-logits.bin", "teacher-logits.digests", "teacher-logits.json", "lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a cache folder holds under one key.

    complete: every chunk was written; whether they are intact is seen when the entry is opened. last_used: in UTC.
    """

    key: str
    folder: Path
    size_bytes: int
    complete: bool
    last_used: datetime


def entries(folder: Path) -> tuple[Entry, ...]:
    """All entries of a cache folder, the one used last first; none where there is no such folder."""
    found = [_entry(place) for place in _places(folder)]
    return tuple(sorted(found, key=lambda entry: entry.last_used, reverse=True))


def clear(folder: Path) -> tuple[Entry, ...]:
    """Remove every entry of a cache folder, and nothing else; returns what was removed.

    Raises:
        BadInputError: entries are in use; the others are gone.
        EnvironmentFault: a file cannot be removed.
    """
    removed, used = [], []
    for place in _places(folder):
        try:
            with held(place, exclusive=True):
                removed.append(_entry(place))
                _remove(place)
        except BadInputError:
            used.append(str(place))
    if used:
        raise BadInputError(
            f"in use by another edgekd process and kept: {', '.join(used)}; wait for it and clear again"
        )
    return tuple(removed)


def readable(size_bytes: float) -> str:
    """A size for people: `4.8 MB`."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes:.0f} bytes"


@contextmanager
def held(place: Path, *, exclusive: bool = False, wait: bool = False) -> Iterator[FileIO]:
    """The lock file of an entry, which is made where there is none, locked.

    Raises:
        BadInputError: another process holds it, and `wait` is false.
        EnvironmentFault: the folder cannot be written.
    """
    file = _open_lock(place)
    try:
        lock(file, exclusive=exclusive, wait=wait)
        while not _same(file, place / LOCK):  # `clear` removed it before it was locked
            file.close()
            file = _open_lock(place)
            lock(file, exclusive=exclusive, wait=wait)
        yield file
    finally:
        file.close()


def lock(file: FileIO, *, exclusive: bool, wait: bool) -> None:
    """Lock, or change between shared and exclusive. Raises BadInputError where another process is in the way."""
    import fcntl

    mode = (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB)
    try:
        fcntl.flock(file, mode)
    except BlockingIOError as err:
        raise BadInputError(
            f"the teacher-logit cache {Path(str(file.name)).parent} is in use by another edgekd process; wait until it "
            "ends and run again, or choose another distill.cache_folder"
        ) from err
    except OSError as err:
        raise EnvironmentFault(
            f"cannot lock {file.name}: {err.strerror}; choose a distill.cache_folder on a disk that knows file locks"
        ) from err


def _open_lock(place: Path) -> FileIO:
    _forget_locks_in_children()
    try:
        place.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            file = FileIO(place / LOCK, "a")
            _locks.add(file)
            return file
    except OSError as err:
        raise EnvironmentFault(
            f"cannot write to the teacher-logit cache {place}: {err.strerror}; choose another distill.cache_folder"
        ) from err
    return _open_lock(place)  # `clear` removed the folder in between


_locks: WeakSet[FileIO] = WeakSet()


@cache
def _forget_locks_in_children() -> None:
    """A lock lives until every copy of its file is closed: a worker that outlives a killed parent must hold none."""
    os.register_at_fork(after_in_child=_forget_locks)


def _forget_locks() -> None:
    for file in _locks:
        file.close()


def _same(file: FileIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _places(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if (p / DATA).is_file() or (p / ABOUT).is_file())


def _entry(place: Path) -> Entry:
    sizes = {name: (place / name).stat() for name in (DATA, DIGESTS, ABOUT) if (place / name).is_file()}
    about = described((place / ABOUT).read_bytes()) if ABOUT in sizes else None
    used = sizes[ABOUT].st_mtime if ABOUT in sizes else sizes[DATA].st_mtime
    return Entry(
        key=about.key if about else place.name,
        folder=place,
        size_bytes=sum(size.st_size for size in sizes.values()),
        complete=about is not None and _complete(place, about),
        last_used=datetime.fromtimestamp(used, UTC),
    )


def _complete(place: Path, about: Layout) -> bool:
    try:
        whole = (place / DATA).stat().st_size == about.data_bytes
        digests = (place / DIGESTS).read_bytes()
    except FileNotFoundError:
        return False
    return whole and len(digests) == about.digest_bytes and bool(np.frombuffer(digests, "<u8").all())


def _remove(place: Path) -> None:
    for name in (ABOUT, f"{ABOUT}.tmp", DATA, DIGESTS, LOCK):
        (place / name).unlink(missing_ok=True)
    with suppress(OSError):  # a file of somebody else's is in it
        place.rmdir()
