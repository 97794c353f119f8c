"""The process that holds the sessions: reads a request with the inputs, then runs blocks as it is told, a line each."""

import gc
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError, EdgekdError, EnvironmentFault, ExitCode
from edgekd.machine import peak_rss_bytes
from edgekd.session import SessionOptions, create_session, first_line, import_onnxruntime, native_errors

Batch = Mapping[str, npt.NDArray[Any]]

PRIMED_FROM = 5
"""A block of at least so many inferences begins with one that is not timed: the other session's data is in the caches,
and in a block of ten it would be the 90th percentile. A slow network fills its caches anew every time anyway."""

PR_SET_PDEATHSIG, SIGKILL = 1, 9


@dataclass(slots=True, kw_only=True)
class Session:
    """An open session, and where in the feeds it is."""

    run: Callable[[Batch], list[Any]]
    batches: Sequence[Batch]
    turn: int = 0

    def again(self) -> None:
        """One inference on the batch before the next."""
        self.run(self.batches[(self.turn - 1) % len(self.batches)])

    def next(self) -> None:
        """One inference on the next batch."""
        self.run(self.batches[self.turn % len(self.batches)])
        self.turn += 1


@dataclass(slots=True, kw_only=True)
class Sessions:
    """What is open in this process, by name."""

    contestants: Mapping[str, Mapping[str, Any]]
    feeds: Mapping[str, Mapping[str, npt.NDArray[Any]]]
    open: dict[str, Session] = field(default_factory=dict)

    def load(self, name: str) -> dict[str, Any]:
        """Open a session (again): what it took, and what it says of itself."""
        ort = import_onnxruntime()
        self.open.pop(name, None)  # the memory of the one before goes first
        path, options = Path(self.contestants[name]["path"]), SessionOptions(**self.contestants[name]["options"])
        started = time.perf_counter_ns()
        session = create_session(path, options)
        loaded = time.perf_counter_ns()
        self.open[name] = Session(run=lambda batch: session.run(None, batch), batches=self._batches(name))
        return {
            "load_ms": (loaded - started) / 1e6,
            "providers": session.get_providers(),
            "onnxruntime": str(ort.__version__),
        }

    def first(self, name: str, runs: int) -> dict[str, Any]:
        """`runs` inferences that are not timed: whether they work, whether different inputs get the same outputs."""
        batches = self.open[name].batches
        try:
            constant = _constant(self.open[name], batches[:runs]) if runs > 1 else None
            if runs == 1:
                self.open[name].run(batches[0])
        except native_errors() as err:
            path = self.contestants[name]["path"]
            raise BadInputError(
                f"model {path}: ONNX Runtime cannot run it on {_shapes(batches[0])}: {first_line(err)}"
            ) from err
        return {"constant": constant, "peak_rss_bytes": peak_rss_bytes()}

    def _batches(self, name: str) -> list[dict[str, npt.NDArray[Any]]]:
        inputs = self.feeds[name]
        count = len(next(iter(inputs.values())))
        return [{key: value[index] for key, value in inputs.items()} for index in range(count)]

    def block(self, name: str, runs: int) -> dict[str, Any]:
        """Nanoseconds of each of `runs` inferences, and the processor time of all of them, over all threads."""
        session, clock, samples = self.open[name], time.perf_counter_ns, []
        if runs >= PRIMED_FROM:
            session.again()
        cpu = time.process_time_ns()
        for _ in range(runs):
            before = clock()
            session.next()
            samples.append(clock() - before)
        if min(samples) <= 0:
            raise EnvironmentFault(
                f"the clock went {min(samples)} ns forward during an inference; expected more than 0: nothing can be "
                "timed here"
            )
        return {"ns": samples, "cpu_ns": time.process_time_ns() - cpu}


def main() -> int:
    """Serve until standard input ends: a line of JSON for each line. An error ends the process with its code."""
    _die_with_parent()
    incoming = sys.stdin.buffer
    try:
        request = json.loads(incoming.readline())
        sessions = Sessions(contestants=request["contestants"], feeds=_read_feeds(request["feeds"], incoming))
        _limit_memory(request["memory_bytes"])
        gc.collect()
        gc.freeze()
        gc.disable()
        for line in incoming:
            match json.loads(line):
                case {"open": name}:
                    _say(sessions.load(name))
                case {"first": name, "runs": runs}:
                    _say(sessions.first(name, runs))
                case {"block": name, "runs": runs}:
                    _say(sessions.block(name, runs))
    except EdgekdError as err:
        print(err, file=sys.stderr)
        return int(err.exit_code)
    except MemoryError:
        print("out of memory", file=sys.stderr)
        return int(ExitCode.ENVIRONMENT)
    return 0


def _say(answer: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _read_feeds(
    described: Mapping[str, Mapping[str, Any]], incoming: BinaryIO
) -> dict[str, dict[str, npt.NDArray[Any]]]:
    feeds: dict[str, dict[str, npt.NDArray[Any]]] = {}
    for name, inputs in described.items():
        feeds[name] = {}
        for key, (dtype, shape) in inputs.items():
            kind = np.dtype(dtype)
            raw = incoming.read(int(np.prod(shape, dtype=np.int64)) * kind.itemsize)
            feeds[name][key] = np.frombuffer(raw, dtype=kind).reshape(shape)
    return feeds


def _constant(session: Session, batches: Sequence[Batch]) -> bool | None:
    """Whether different inputs all get the very same outputs; None where no other input can be made."""
    answers = {_digest(batch.values()): _digest(session.run(batch)) for batch in batches}
    if len(answers) < 2:  # one sample, or one batch: another of the same kind tells as well
        other = {name: _other(value) for name, value in batches[0].items()}
        answers[_digest(other.values())] = _digest(session.run(other))
    return None if len(answers) < 2 else len(set(answers.values())) == 1


def _digest(values: Iterable[Any]) -> bytes:
    return hashlib.sha256(b"".join(_plain(value).tobytes() for value in values)).digest()


def _other(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same numbers in another order; where that changes nothing, 1 for each 0 and 0 for all others."""
    mixed = np.random.default_rng(0).permutation(values.reshape(-1)).reshape(values.shape)
    return mixed if not np.array_equal(mixed, values) else (values == 0).astype(values.dtype)


def _plain(value: Any) -> npt.NDArray[Any]:
    """An output with one zero: a factor of 0 gives 0 or -0, which are equal and have other bytes."""
    array = np.asarray(value)
    return array + array.dtype.type(0) if array.dtype.kind == "f" else array


def _limit_memory(most: int | None) -> None:
    """No more private memory than `most` beyond what Python, numpy and ONNX Runtime take before a file is opened."""
    if most is None or not sys.platform.startswith("linux"):
        return
    import resource

    import_onnxruntime()
    status = Path("/proc/self/status").read_text(encoding="ascii")
    taken = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmData:"))
    resource.setrlimit(resource.RLIMIT_DATA, (taken + most, taken + most))


def _die_with_parent() -> None:
    """A network that hangs must not go on for ever when whoever started this was killed."""
    if sys.platform.startswith("linux"):
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGKILL)


def _shapes(batch: Mapping[str, npt.NDArray[Any]]) -> str:
    return ", ".join(f"{name} {value.shape}" for name, value in batch.items())
