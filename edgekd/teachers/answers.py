"""What an endpoint answered, kept on disk under the hash of what it was asked: a question is never asked twice.

One file of records that only grows, so that a process killed at any moment loses no answer that it had written: a
record is 32 bytes of key, the scores in float32 and a CRC-32 of both. A half record at the end goes when the next is
written, one whose CRC is wrong counts as never answered. Several processes may use a file at once.
"""

import fcntl
import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from edgekd.errors import EnvironmentFault
from edgekd.files import write_atomic

SCHEMA_VERSION = 1
KEY_BYTES = 32
"""A SHA-256."""

Scores = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What the first answer said: how many scores a row has, and the classes' names if it named them."""

    width: int
    classes: tuple[str, ...] | None


class Answers:
    """The answers of one endpoint, in a folder of its own.

    Raises:
        EnvironmentFault: the folder cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._rows: dict[bytes, int] = {}
        self._records: npt.NDArray[Any] | None = None
        self._known = 0
        with _on_disk(folder):
            self.head = _head(folder / "answers.json")
            if self.head is not None:
                self._refresh()

    def __len__(self) -> int:
        return len(self._rows)

    def begin(self, head: Head) -> None:
        """Fix what a row is, where nobody did before; `head` is then what holds."""
        with _on_disk(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._locked() as file:
                self.head = _head(self.folder / "answers.json")  # another process may have been first
                if self.head is None:
                    file.truncate(0)  # of a head that cannot be read, so of unknown width
                    body = {"schema_version": SCHEMA_VERSION, "width": head.width, "classes": head.classes}
                    write_atomic(self.folder / "answers.json", json.dumps(body))
                    self.head = head

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
        with (self.folder / "answers.bin").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file

    def _refresh(self) -> None:
        """Take in the records that are in the file and were not before."""
        assert self.head is not None
        path, kind = self.folder / "answers.bin", _record(self.head.width)
        count = path.stat().st_size // kind.itemsize if path.is_file() else 0
        if count <= self._known:
            return
        records = np.memmap(path, kind, mode="r", shape=(count,))
        for row in range(self._known, count):
            if records[row]["crc"] == _crc(records[row]):
                self._rows[records[row]["key"].tobytes()] = row
        self._records, self._known = records, count


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
                "another distill.cache_folder"
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
        return Head(width=int(body["width"]), classes=classes)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
