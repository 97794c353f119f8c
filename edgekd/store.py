"""The run folder: what each stage made, under the hash of all that it depends on. Every file is replaced atomically."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.files import sha256, sweep, write_atomic

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A finished stage. result: as JSON gives it back, also the first time; outputs: file -> SHA-256.

    The files are named relative to the run folder.
    """

    key: str
    result: Any
    outputs: Mapping[str, str]
    seconds: float


def cache_home(chosen: str | None = None) -> Path:
    """Where what every run may use is kept: `chosen`, else $EDGEKD_CACHE, else the user's cache."""
    place = chosen or os.environ.get("EDGEKD_CACHE")
    return Path(place) if place else Path.home() / ".cache" / "edgekd"


def key_of(*parts: Any) -> str:
    """SHA-256 over JSON-ready values: equal inputs, equal key, on every machine."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


class Store:
    """The stages of one run folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def recall(self, name: str, key: str) -> Stage | None:
        """The stage if it was finished under this key and its files are still what it wrote, else None."""
        stage = self._read(name)
        if stage is None or stage.key != key:
            return None
        intact = all(
            (self.folder / file).is_file() and sha256(self.folder / file) == sha for file, sha in stage.outputs.items()
        )
        return stage if intact else None

    def run(self, name: str, key: str, work: Callable[[], tuple[Any, list[Path]]]) -> Stage:
        """The stage from the store, or made now: `work` gives its JSON-ready result and the files it wrote."""
        known = self.recall(name, key)
        if known is not None:
            return known
        started = time.perf_counter()
        result, files = work()
        outputs = {str(path.relative_to(self.folder)): sha256(path) for path in files}
        seconds = time.perf_counter() - started
        body = json.dumps({"format": FORMAT, "key": key, "seconds": seconds, "outputs": outputs, "result": result})
        self._path(name).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self._path(name), body)
        return Stage(key=key, result=json.loads(body)["result"], outputs=outputs, seconds=seconds)

    def _path(self, name: str) -> Path:
        return self.folder / "stages" / f"{name}.json"

    def _read(self, name: str) -> Stage | None:
        """None for a stage that is missing, damaged or of another format: then it is made again."""
        try:
            body = json.loads(self._path(name).read_text())
            if body["format"] != FORMAT:
                return None
            return Stage(key=body["key"], result=body["result"], outputs=dict(body["outputs"]), seconds=body["seconds"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the run folder for this process.

    Raises:
        BadInputError: another process works in it.
        EnvironmentFault: the folder cannot be written.
    """
    import fcntl

    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("w")
    except OSError as err:
        raise EnvironmentFault(f"cannot write to {folder}: {err.strerror}; choose another folder with --out") from err
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            raise BadInputError(f"{folder} is in use by another edgekd process; wait for it or choose --out") from err
        sweep(folder)  # whoever holds the lock is the only one who writes here
        yield
