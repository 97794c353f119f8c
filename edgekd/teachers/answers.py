"""What an endpoint answered, kept on disk under the hash of what it was asked: a question is never asked twice.

One file of records that only grows, so that a process killed at any moment loses no answer that it had written: a
record is 32 bytes of key, the scores in float32 and a CRC-32 of both. A half record at the end goes when the next is
written, one whose CRC is wrong counts as never answered. Several processes may use a file at once; each holds a shared
lock on the folder, so that none is cleared under it.
"""

import fcntl
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO
from weakref import finalize

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.files import write_atomic

SCHEMA_VERSION = 1
KEY_BYTES = 32
"""A SHA-256."""

HEAD, RECORDS, LOCK = "answers.json", "answers.bin", "lock"

Scores = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What the first answer said: how many scores a row has, and the classes' names if it named them.

    endpoint: who answered, for people.
    """

    width: int
    classes: tuple[str, ...] | None
    endpoint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is kept of one endpoint. samples: records, of which a damaged one counts too; last_answer: in UTC."""

    endpoint: str
    folder: Path
    samples: int
    size_bytes: int
    last_answer: datetime


class Answers:
    """The answers of one endpoint, in a folder of its own.

    Raises:
        EnvironmentFault: the folder cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: int | None = None
        self._rows: dict[bytes, int] = {}
        self._records: npt.NDArray[Any] | None = None
        self._known = 0
        with _on_disk(folder):
            if folder.is_dir():
                self._hold()
            self.head = _head(folder / HEAD)
            if self.head is not None:
                self._refresh()

    def __len__(self) -> int:
        return len(self._rows)

    def begin(self, head: Head) -> None:
        """Fix what a row is, where nobody did before; `head` is then what holds."""
        with _on_disk(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._hold()
            with self._locked() as file:
                self.head = _head(self.folder / HEAD)  # another process may have been first
                if self.head is None:
                    file.truncate(0)  # of a head that cannot be read, so of unknown width
                    body = {"schema_version": SCHEMA_VERSION, "width": head.width, "classes": head.classes}
                    write_atomic(self.folder / HEAD, json.dumps(body | {"endpoint": head.endpoint}))
                    self.head = head

    def _hold(self) -> None:
        """Share the folder's lock as long as this object lives."""
        if self._lock is None:
            self._lock = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
            finalize(self, os.close, self._lock)
            fcntl.flock(self._lock, fcntl.LOCK_SH)

    def missing(self, keys: Sequence[bytes]) -> list[int]:
        """The places in `keys` of what was never answered, each key once."""
        first = {key: place for place, key in reversed(list(enumerate(keys))) if key not in self._rows}
        return sorted(first.values())

    def scores(self, keys: Sequence[bytes]) -> Scores:
        """(n, width) float32 of keys that are all answered."""
        records = self._records
        assert records is not None
        found: Scores = records["scores"][[self._rows[key] for key in keys]].astype(np.float32)
        return found

    def put(self, keys: Sequence[bytes], scores: Scores) -> None:
        """Keep the scores (n, width) of n keys. Returns when they are in the file."""
        assert self.head is not None
        new = np.empty(len(keys), _record(self.head.width))
        new["key"] = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, KEY_BYTES)
        new["scores"] = scores
        new["crc"] = [_crc(record) for record in new]
        with _on_disk(self.folder), self._locked() as file:
            self._refresh()  # what others wrote in the meantime stays
            file.truncate(self._known * new.itemsize)
            file.write(new.tobytes())
            file.flush()
            self._refresh()

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        """The file of records, open to append to, and no other process appending."""
        with (self.folder / RECORDS).open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file

    def _refresh(self) -> None:
        """Take in the records that are in the file and were not before."""
        assert self.head is not None
        path, kind = self.folder / RECORDS, _record(self.head.width)
        count = path.stat().st_size // kind.itemsize if path.is_file() else 0
        if count <= self._known:
            return
        records = np.memmap(path, kind, mode="r", shape=(count,))
        for row in range(self._known, count):
            if records[row]["crc"] == _crc(records[row]):
                self._rows[records[row]["key"].tobytes()] = row
        self._records, self._known = records, count


def kept(home: Path) -> tuple[Kept, ...]:
    """What is kept of every endpoint below `home`, the one that answered last first."""
    found = [_kept(folder) for folder in sorted(home.iterdir() if home.is_dir() else ()) if _is_one(folder)]
    return tuple(sorted(found, key=lambda one: one.last_answer, reverse=True))


def clear(home: Path) -> tuple[Kept, ...]:
    """Remove every endpoint's answers below `home`, and nothing else; returns what was removed.

    Raises:
        BadInputError: some are in use; the others are gone.
        EnvironmentFault: a file cannot be removed.
    """
    removed, used = [], []
    for one in kept(home):
        with _on_disk(one.folder), (one.folder / LOCK).open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                used.append(str(one.folder))
                continue
            for name in (RECORDS, HEAD):  # the lock stays: whoever waits for it must find the same file
                (one.folder / name).unlink(missing_ok=True)
            removed.append(one)
    if used:
        raise BadInputError(f"in use by another edgekd process and kept: {', '.join(used)}; wait and clear again")
    return tuple(removed)


def _is_one(folder: Path) -> bool:
    return (folder / RECORDS).is_file() and (folder / HEAD).is_file()


def _kept(folder: Path) -> Kept:
    head, file = _head(folder / HEAD), (folder / RECORDS).stat()
    return Kept(
        endpoint=head.endpoint if head else "",
        folder=folder,
        samples=file.st_size // _record(head.width).itemsize if head else 0,
        size_bytes=file.st_size,
        last_answer=datetime.fromtimestamp(file.st_mtime, UTC),
    )


class _on_disk:  # noqa: N801  a context manager, written as a function would be
    """Inside, what the disk says becomes an error with what to do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, err: BaseException | None, trace: object) -> None:
        if isinstance(err, OSError):
            raise EnvironmentFault(
                f"cannot keep the endpoint's answers in {self.folder}: {err.strerror}; make room there, or choose "
                "another teacher.endpoint.cache_folder"
            ) from err


def _record(width: int) -> np.dtype[np.void]:
    return np.dtype([("key", "u1", (KEY_BYTES,)), ("scores", "<f4", (width,)), ("crc", "<u4")])


def _crc(record: Any) -> int:
    return zlib.crc32(record["scores"].tobytes(), zlib.crc32(record["key"].tobytes()))


def _head(path: Path) -> Head | None:
    """None where there is none yet, or one that cannot be read."""
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        if body["schema_version"] != SCHEMA_VERSION:
            return None
        classes = None if body["classes"] is None else tuple(map(str, body["classes"]))
        return Head(width=int(body["width"]), classes=classes, endpoint=str(body.get("endpoint", "")))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
