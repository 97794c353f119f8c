"""Texts that do not fit in memory, in a file that goes with the process."""

import os
import tempfile
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from weakref import finalize

from edgekd.decoded import cannot_write


class TextFile(Sequence[str]):
    """Texts one after another in an unnamed file in `folder`, as UTF-8; in memory is only where each begins.

    Raises:
        EnvironmentFault: the disk is full, or the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.file: Any = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  closed with this object
        except OSError as err:
            raise cannot_write(folder, err) from err
        finalize(self, self.file.close)
        self.ends = array("q", [0])
        self.written = True

    def append(self, text: str) -> None:
        """Add one."""
        raw = text.encode()
        try:
            self.file.write(raw)
        except OSError as err:
            raise cannot_write(self.folder, err) from err
        self.ends.append(self.ends[-1] + len(raw))
        self.written = False

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, place: Any) -> Any:
        """The text at a place from 0; slices are for lists."""
        if not 0 <= place < len(self):
            raise IndexError(place)
        if not self.written:
            try:
                self.file.flush()
            except OSError as err:
                raise cannot_write(self.folder, err) from err
            self.written = True
        start, stop = self.ends[place], self.ends[place + 1]
        return os.pread(self.file.fileno(), stop - start, start).decode()
