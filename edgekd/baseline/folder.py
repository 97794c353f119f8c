"""Baselines in a folder: one file each, replaced whole, one writer at a time."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgekd.baseline.key import Key, key_of
from edgekd.baseline.store import Written
from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.files import sweep, write_atomic

LOCK_SECONDS = 30.0
"""A writer holds the lock for milliseconds; after this one it is taken for stuck."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderStore:
    """A folder that is made at the first write."""

    folder: Path

    @property
    def place(self) -> str:
        return str(self.folder)

    def read(self, key: Key) -> bytes | None:
        """The document under `key`, None when there is none.

        Raises:
            EnvironmentFault: the file is there and cannot be read.
        """
        self._check()
        try:
            return (self.folder / key.path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as err:
            raise EnvironmentFault(f"cannot read {err.filename}: {err.strerror}; check its permissions") from err

    def write(self, key: Key, content: bytes) -> Written:
        """Put the document under `key`.

        Raises:
            EnvironmentFault: the folder cannot be written, or another process holds it for 30 s.
        """
        self._check()
        path = self.folder / key.path
        try:
            with _locked(self.folder):
                path.parent.mkdir(parents=True, exist_ok=True)
                replaced = path.exists() and path.read_bytes() != content
                write_atomic(path, content)
        except OSError as err:
            raise EnvironmentFault(
                f"cannot write the baseline to {path}: {err.strerror or err}; choose another folder with --store, or "
                "make this one writable"
            ) from err
        return Written(place=str(path), replaced=replaced)

    def listed(self) -> tuple[Key, ...]:
        """Every key in the folder; none when it is not there."""
        self._check()
        found = (key_of(path.relative_to(self.folder).as_posix()) for path in self.folder.glob("*/*/*.json"))
        return tuple(sorted((key for key in found if key is not None), key=lambda key: key.path))

    def _check(self) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise BadInputError(f"--store {self.folder} is a file; expected a folder for baselines")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder; wait for another writer."""
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + LOCK_SECONDS
    with (folder / ".lock").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as err:
                if time.monotonic() > deadline:
                    raise EnvironmentFault(
                        f"{folder} is held by another edgekd process for more than {LOCK_SECONDS:.0f} s; end that one, "
                        "or choose another folder with --store"
                    ) from err
                time.sleep(0.02)
        sweep(folder)  # what a killed writer left; nobody else writes now
        yield
