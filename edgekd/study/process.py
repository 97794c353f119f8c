"""The study's side of a worker: a process that trains cells, started when needed, replaced when it dies."""

import json
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from edgekd.errors import ExitCode

LAST_WORDS = 2_000
"""Characters of a dead worker's stderr that are told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A finished cell. report: the sections teacher and student of its run; cached: it was there already."""

    report: dict[str, Any]
    cached: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A cell without a student, and why. exit_code: of edgekd."""

    message: str
    exit_code: int


class Worker:
    """A process that trains cells. stage, fraction: where its cell is; another thread may read them."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self.stage, self.fraction = "", 0.0
        self._process: subprocess.Popen[str] | None = None
        self._stderr: IO[str] | None = None
        self._closed = False
        self._lock = threading.Lock()

    def train(self, recipe: Path, folder: Path) -> Trained | Failed:
        """Train one cell and wait for it. A process that died before is replaced by a new one."""
        self.stage, self.fraction = "", 0.0
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps({"recipe": str(recipe), "folder": str(folder)}) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            return self._died(process)
        for line in process.stdout:
            if not line.endswith("\n"):
                break  # killed while it wrote
            answer = json.loads(line)
            match answer.pop("kind"):
                case "progress":
                    self.stage, self.fraction = answer["stage"], answer["fraction"]
                case "trained":
                    return Trained(**answer)
                case _:
                    return Failed(**answer)
        return self._died(process)

    def kill(self) -> None:
        """End the process, in the middle of a cell too; `train`, in its thread, then comes back and starts no other."""
        with self._lock:
            self._closed = True
            process = self._process  # its own thread may let go of it meanwhile
            if process is not None:
                process.kill()

    def close(self) -> None:
        """End the process and let go of it; no thread may be in `train`."""
        self.kill()
        if self._process is not None:
            self._last_words(self._process)

    def _started(self) -> "subprocess.Popen[str]":
        with self._lock:
            if self._process is not None and self._process.poll() is not None:
                self._last_words(self._process)  # it died between two cells, and none of them is to blame
            if self._process is None:
                # Not a pipe: nobody would read it, and a full one would stop the process.
                self._stderr = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
                self._process = subprocess.Popen(
                    # -P: never import from the current folder, which may hold a user's own numpy.py.
                    [sys.executable, "-P", "-m", "edgekd.study.worker"],
                    env=self.environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._stderr,
                    text=True,
                    encoding="utf-8",
                    start_new_session=True,  # Ctrl-C is for the study, which then ends its workers
                )
                if self._closed:
                    self._process.kill()
            return self._process

    def _died(self, process: "subprocess.Popen[str]") -> Failed:
        words = self._last_words(process)
        code = process.returncode
        last = words.rpartition("\n")[2] or "it said nothing on stderr"
        told = f"; {last}\n{words}" if words else f"; {last}"
        if code < 0:
            why = f"was killed by {signal.Signals(-code).name}; if memory ran out, lower --jobs or the batch size"
            return Failed(message=f"its process {why}{told}", exit_code=ExitCode.ENVIRONMENT)
        return Failed(message=f"its process ended with code {code}{told}", exit_code=ExitCode.INTERNAL)

    def _last_words(self, process: "subprocess.Popen[str]") -> str:
        """The end of the stderr of a process that ends; its streams are closed."""
        assert process.stdin is not None and process.stdout is not None and self._stderr is not None
        process.wait()
        with suppress(BrokenPipeError), process.stdin:
            pass  # closing writes out what it never read
        process.stdout.close()
        with self._stderr:
            self._stderr.seek(0)
            words = self._stderr.read()[-LAST_WORDS:].strip()
        self._process = self._stderr = None
        return words
