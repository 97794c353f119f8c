"""What this machine can do at its best under a target's session options: multiply-adds and bytes a second.

A peak is what ONNX Runtime itself reaches on a network made for it, not the data sheet's number: nobody's model will
do better with the same runtime. The best run counts, because other work on a machine only ever makes runs slower; the
median stands beside it and shows how steady the machine was.
"""

import bisect
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgekd.files import write_atomic
from edgekd.kernels import profile_feeds
from edgekd.progress import Listener, Progress, silent
from edgekd.roofline.nets import Net, products, stream
from edgekd.session import SessionOptions, open_session
from edgekd.store import cache_home, key_of

FORMAT = 1
SECONDS = 0.3
"""For one network; eleven of them stay below six seconds with what opening the sessions takes."""

WORKING_SETS = (1 << 15, 1 << 18, 1 << 20, 1 << 23, 1 << 25, 1 << 27)
"""Bytes: from what fits the first-level cache to what fits none of most machines."""

STREAMED = 1 << 24
"""Bytes that a run on a small working set moves in all, so that it takes longer than the call itself."""

CHAIN = 64
"""Kernels in the longest chain."""

LEAST_RUNS = 3
UNSTEADY = 0.25
"""A median so far below the best says that something else kept the machine busy."""

Clock = Callable[[], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """Units a second: of the best run, and of the median of all `runs`."""

    best: float
    median: float
    runs: int

    @property
    def spread(self) -> float:
        """How far the median is below the best, as a share of the best."""
        return 1 - self.median / self.best


@dataclass(frozen=True, slots=True, kw_only=True)
class Bandwidth:
    """Bytes a second of kernels whose tensors hold `working_set` bytes."""

    working_set: int
    peak: Peak


@dataclass(frozen=True, slots=True, kw_only=True)
class Peaks:
    """fp32, int8: multiply-adds a second. launch_us: microseconds of a kernel that does nothing, in an inference.

    profiled_us: of the same kernel as the profile tells them, which the profiler's own work makes longer. measured:
    seconds since 1970. key: what the numbers hold for.
    """

    fp32: Peak
    int8: Peak
    bandwidths: tuple[Bandwidth, ...]
    launch_us: float
    profiled_us: float
    measured: float
    key: str

    def bandwidth(self, working_set: float) -> float:
        """Bytes a second for tensors of `working_set` bytes: between measured sizes on a line in logarithms."""
        sizes = [one.working_set for one in self.bandwidths]
        rates = [one.peak.best for one in self.bandwidths]
        place = bisect.bisect(sizes, working_set)
        if place in (0, len(sizes)):
            return rates[max(0, place - 1)]
        low, high = sizes[place - 1], sizes[place]
        part = math.log(working_set / low) / math.log(high / low)
        return math.exp((1 - part) * math.log(rates[place - 1]) + part * math.log(rates[place]))

    def unsteady(self) -> tuple[str, ...]:
        """The peaks whose median was far below their best."""
        named = {"fp32 multiply-adds": self.fp32, "int8 multiply-adds": self.int8}
        named |= {f"bandwidth at {one.working_set >> 10} KiB": one.peak for one in self.bandwidths}
        return tuple(name for name, peak in named.items() if peak.spread > UNSTEADY)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return asdict(self)


def peaks_for(
    options: SessionOptions,
    *,
    fingerprint: str,
    again: bool = False,
    memory: int = 1 << 31,
    seconds: float = SECONDS,
    listener: Listener = silent,
) -> Peaks:
    """The peaks of this machine from the cache, else measured now, in at most about six seconds.

    fingerprint: of the machine (`edgekd.environment.fingerprint`). again: measure although the cache has them.
    memory: bytes that may be used. A cache that cannot be written is none; a damaged one is measured again.
    """
    key = key_of(FORMAT, fingerprint, options.as_dict())
    path = cache_home() / "peaks" / f"{key[:16]}.json"
    known = None if again else _read(path, key)
    if known is not None:
        return known
    found = measure(options, key=key, memory=memory, seconds=seconds, listener=listener)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps({"format": FORMAT, "peaks": found.as_dict()}))
    except OSError:
        listener(Progress(stage="peaks", done=1, total=1, note=f"cannot be kept in {path.parent}"))
    return found


def measure(
    options: SessionOptions,
    *,
    key: str = "",
    memory: int = 1 << 31,
    seconds: float = SECONDS,
    listener: Listener = silent,
    clock: Clock = time.perf_counter_ns,
) -> Peaks:
    """The peaks of this machine, measured in this process; `seconds` for each network."""
    sets = [size for size in WORKING_SETS if 4 * size <= memory] or list(WORKING_SETS[:1])
    total, done = 5 + len(sets), 0

    def timed(net: Net, note: str) -> list[int]:
        nonlocal done
        listener(Progress(stage="peaks", done=done, total=total, note=note))
        done += 1
        return _time(net, options, seconds=seconds, clock=clock)

    rates: dict[str, Peak] = {}
    for kind in ("fp32", "int8"):
        found = [_peak(net.amount, timed(net, f"{kind} multiply-adds")) for net in products(kind)]
        rates[kind] = max(found, key=lambda peak: peak.best)
    empty = timed(stream(64, CHAIN), "launch")
    widths = []
    for size in sets:
        net = stream(size, _chain(size))
        runs = timed(net, f"bandwidth at {size >> 10} KiB")
        launches = min(empty) * _chain(size) / CHAIN
        # a run no longer than its launches says that they hide the moving; half is then the most that is believed
        widths.append(Bandwidth(working_set=size, peak=_peak(net.amount, [max(r - launches, r / 2) for r in runs])))
    listener(Progress(stage="peaks", done=total, total=total))
    return Peaks(
        fp32=rates["fp32"],
        int8=rates["int8"],
        bandwidths=tuple(widths),
        launch_us=min(empty) / CHAIN / 1e3,
        profiled_us=_profiled(options),
        measured=time.time(),
        key=key,
    )


def _chain(working_set: int) -> int:
    return max(4, min(CHAIN, STREAMED // working_set))


def _time(net: Net, options: SessionOptions, *, seconds: float, clock: Clock) -> list[int]:
    """Nanoseconds of each run for `seconds`, after one that warms up."""
    with tempfile.TemporaryDirectory(prefix="edgekd-peaks-") as folder:
        session = open_session(_file(net, folder), options)
    session.run(None, net.feeds)
    samples: list[int] = []
    end = clock() + round(seconds * 1e9)
    while len(samples) < LEAST_RUNS or clock() < end:
        started = clock()
        session.run(None, net.feeds)
        samples.append(max(1, clock() - started))
    return samples


def _file(net: Net, folder: str) -> Path:
    path = Path(folder) / "peak.onnx"
    path.write_bytes(net.file)
    return path


def _peak(amount: int, nanoseconds: "list[int] | list[float]") -> Peak:
    return Peak(
        best=amount / min(nanoseconds) * 1e9,
        median=amount / statistics.median(nanoseconds) * 1e9,
        runs=len(nanoseconds),
    )


def _profiled(options: SessionOptions) -> float:
    """Microseconds that the profile gives to a kernel which adds a few numbers."""
    net = stream(64, CHAIN)
    with tempfile.TemporaryDirectory(prefix="edgekd-peaks-") as folder:
        feeds = {name: value[None] for name, value in net.feeds.items()}
        ran = profile_feeds(_file(net, folder), feeds, options, runs=20)
    return statistics.median(node.median_us for node in ran.nodes)


def _read(path: Path, key: str) -> Peaks | None:
    """None for a file that is missing, damaged, of another format or of another machine."""
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        if body["format"] != FORMAT or body["peaks"]["key"] != key:
            return None
        return _peaks(body["peaks"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _peaks(values: Mapping[str, Any]) -> Peaks:
    widths = tuple(
        Bandwidth(working_set=int(one["working_set"]), peak=Peak(**one["peak"])) for one in values["bandwidths"]
    )
    rates = {kind: Peak(**values[kind]) for kind in ("fp32", "int8")}
    found = Peaks(**{**values, **rates, "bandwidths": widths})
    if not widths or not all(peak.best > 0 for peak in (*rates.values(), *(one.peak for one in widths))):
        raise ValueError("a peak of nothing")
    return found
