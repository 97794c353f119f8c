"""The parent's end of a process that holds open sessions: it may hang or crash, and whoever started it lives on."""

import json
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from edgekd.errors import BadInputError, EnvironmentFault, ExitCode
from edgekd.session import SessionOptions, lingers
from edgekd.timing.feeds import Feeds

TIMEOUT_SECONDS = 60.0
"""For one inference. The slowest networks that fit an edge device take a few seconds."""

DISTINCT = 8
"""Different inputs that are tried for one and the same answer."""

SPIN_SECONDS = 0.03
"""How long idle threads may spin on, with room: 17 to 20 ms in ONNX Runtime 1.32."""

LOAD_TIMEOUT_SECONDS = 300.0
"""To read and optimise a file: the largest take a minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """One session that is timed: a file, how to open it, and what it is fed with."""

    path: Path
    options: SessionOptions
    feeds: Feeds


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A session once it is open. load_ms: milliseconds.

    constant: whether all different inputs got the very same outputs; None without two different inputs.
    peak_rss_bytes: of the whole process until then.
    """

    load_ms: float
    providers: tuple[str, ...]
    onnxruntime: str
    constant: bool | None
    peak_rss_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """ns: each inference, in order. cpu_ns: processor time of the block, over all threads."""

    ns: tuple[int, ...]
    cpu_ns: int


class Host:
    """A child process with one or more open sessions; use it in a `with`.

    Args:
        contestants: name -> session; all are opened when the `with` begins, in this order.
        timeout_seconds: for one inference; then the process is ended.
        memory_bytes: what each session may take, None without a limit. Several in one process may take it together as
            often as there are sessions; a single one's process is looked at, too.

    Raises, from every method:
        BadInputError: a file cannot be loaded or run.
        EnvironmentFault: a time-out, a crash, too little memory, a missing provider, a clock that stands still.
    """

    def __init__(
        self,
        contestants: Mapping[str, Contestant],
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        memory_bytes: int | None = None,
    ) -> None:
        self.contestants, self.timeout_seconds, self.memory_bytes = contestants, timeout_seconds, memory_bytes
        self.load_timeout_seconds = LOAD_TIMEOUT_SECONDS
        self.opened: dict[str, Opened] = {}
        self._slowest: dict[str, int] = {}

    def __enter__(self) -> Self:
        self._errors = tempfile.TemporaryFile()
        # -P: never import from the current folder, which may hold a user's own numpy.py.
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", "edgekd.timing"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        self._waiting, self._ready = b"", selectors.DefaultSelector()
        self._ready.register(self._pipes()[1], selectors.EVENT_READ)
        try:
            self._send(self._request())
            for name in self.contestants:
                self._open(name)
            self._check_memory()
            self._signal("SIGSTOP")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The process that holds the sessions."""
        return self._child.pid

    def block(self, name: str, runs: int) -> Block:
        """`runs` inferences of one session, timed each, on the next of its batches."""
        self._signal("SIGCONT")
        found = self._ask(name, {"block": name, "runs": runs}, self._patience(name, runs))
        self._slowest[name] = max(found["ns"])
        self._signal("SIGSTOP")
        return Block(ns=tuple(found["ns"]), cpu_ns=found["cpu_ns"])

    def reopen(self, name: str) -> Opened:
        """Open a session anew, which puts its memory elsewhere; it begins with its first batch again."""
        self._signal("SIGCONT")
        opened = self._open(name)
        self._signal("SIGSTOP")
        return opened

    def close(self) -> None:
        """End the process."""
        self._child.kill()
        self._child.wait()
        self._ready.close()
        for pipe in (*self._pipes(), self._errors):
            try:
                pipe.close()
            except BrokenPipeError:
                continue

    def _patience(self, name: str, runs: int) -> float:
        """Seconds for a block: one inference may take the time-out, the others ten times what they took before."""
        if name not in self._slowest:
            return self.timeout_seconds * (runs + 1)
        return self.timeout_seconds + runs * min(self.timeout_seconds, 10 * self._slowest[name] / 1e9)

    def _open(self, name: str) -> Opened:
        """Load it, then try one inference before several: what hangs is known after one time-out."""
        loaded = self._ask(name, {"open": name}, self.load_timeout_seconds)
        self._ask(name, {"first": name, "runs": 1}, self.timeout_seconds)
        tried = self._ask(name, {"first": name, "runs": DISTINCT}, self.timeout_seconds * DISTINCT)
        self.opened[name] = Opened(**{**loaded, **tried, "providers": tuple(loaded["providers"])})
        return self.opened[name]

    def _ask(self, name: str, message: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        self._send(json.dumps(message).encode() + b"\n")
        return self._answer(str(self.contestants[name].path), seconds)

    def _signal(self, name: str) -> None:
        """Stop the process between its blocks, or let it go on, where its threads would spin on after an inference.

        Whoever runs next would share the cores with them, for longer than its block lasts.
        """
        if not any(lingers(contestant.options) for contestant in self.contestants.values()):
            return
        if hasattr(signal, name):
            self._child.send_signal(getattr(signal, name))
        elif name == "SIGSTOP":  # Windows
            time.sleep(SPIN_SECONDS)

    def _paths(self) -> str:
        return ", ".join(dict.fromkeys(str(contestant.path) for contestant in self.contestants.values()))

    def _pipes(self) -> tuple[Any, Any]:
        return self._child.stdin, self._child.stdout

    def _request(self) -> bytes:
        arrays = {
            name: {key: np.ascontiguousarray(value) for key, value in contestant.feeds.items()}
            for name, contestant in self.contestants.items()
        }
        header = {
            "contestants": {
                name: {"path": str(contestant.path), "options": contestant.options.as_dict()}
                for name, contestant in self.contestants.items()
            },
            "feeds": {
                name: {key: (value.dtype.name, value.shape) for key, value in inputs.items()}
                for name, inputs in arrays.items()
            },
            "memory_bytes": self.memory_bytes and self.memory_bytes * len(self.contestants),
        }
        body = b"".join(value.tobytes() for inputs in arrays.values() for value in inputs.values())
        return json.dumps(header).encode() + b"\n" + body

    def _send(self, message: bytes) -> None:
        try:
            self._pipes()[0].write(message)
            self._pipes()[0].flush()
        except BrokenPipeError:
            pass  # it has ended; the answer says how

    def _answer(self, what: str, seconds: float) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while b"\n" not in self._waiting:
            if not self._ready.select(max(0.0, deadline - time.monotonic())):
                self._child.kill()
                raise EnvironmentFault(
                    f"{what}: no answer within {seconds:.0f} s, the process was ended; the network hangs, or is slower "
                    f"than --timeout {self.timeout_seconds:g} seconds an inference allows"
                )
            piece = self._pipes()[1].read1(1 << 20)
            if not piece:
                self._ended(what)
            self._waiting += piece
        line, _, self._waiting = self._waiting.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _ended(self, what: str) -> None:
        """The process ended without an answer: say why, as the error that it is."""
        code = self._child.wait()
        self._errors.seek(0)
        message = self._errors.read().decode(errors="replace").strip()
        if self.memory_bytes is not None and ("bad_alloc" in message or "emory" in message or "llocate" in message):
            raise EnvironmentFault(
                f"{what}: needs more than the {_mib(self.memory_bytes)} it may take: {message[-300:]}"
            )
        if code == ExitCode.BAD_INPUT:
            raise BadInputError(message)
        if code == ExitCode.ENVIRONMENT:
            raise EnvironmentFault(message)
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise EnvironmentFault(
            f"{what}: the process that ran it ended with {how}: {message[-500:] or 'no message'}; the network crashes "
            "ONNX Runtime, or the machine ended it for its memory"
        )

    def _check_memory(self) -> None:
        """Files that are mapped, not allocated, count too."""
        if len(self.contestants) > 1:
            return
        taken = max((opened.peak_rss_bytes for opened in self.opened.values()), default=0)
        if self.memory_bytes is not None and taken > self.memory_bytes:
            raise EnvironmentFault(
                f"{self._paths()}: took {_mib(taken)} of memory; expected at most {_mib(self.memory_bytes)}: the "
                "device has no more for it"
            )


def _mib(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"
