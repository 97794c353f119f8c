"""What is tried: one axis after the other, each with a few values, starting from the options that were best so far.

Not here are entries that change outputs on purpose (optimization.enable_gelu_approximation), that hold for the whole
process (session.set_denormal_as_zero), or that name processors of one machine (session.intra_op_thread_affinities).
Source: https://onnxruntime.ai/docs/performance/tune-performance/threading.html and
https://github.com/microsoft/onnxruntime/blob/main/include/onnxruntime/core/session/onnxruntime_session_options_config_keys.h
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgekd.session import SessionOptions
from edgekd.session_options import AFFINITIES, ALLOW_SPINNING, LEVELS, STOP_SPINNING

EVERY_NUMBER = 8
"""Up to so many threads every number is tried, above it powers of two."""

DURATION = "session.intra_op.spin_duration_us"
ALLOW_INTER = "session.inter_op.allow_spinning"
SPIN_KEYS = (STOP_SPINNING, DURATION, ALLOW_SPINNING)
BLOCK_BASE = "session.dynamic_block_base"

DURATION_SINCE = (1, 26)
"""An older ONNX Runtime takes the entry and does nothing with it."""

SPIN_US = "1000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What an axis may use. most: threads; physical: physical cores, None if unknown; onnxruntime: (major, minor)."""

    most: int
    physical: int | None
    branches: bool
    onnxruntime: tuple[int, int]


Candidates = dict[str, SessionOptions]
"""What the value is called -> the options with it."""


def threads(options: SessionOptions, room: Room) -> Candidates:
    """Intra-op threads, up to `room.most`."""
    if room.most <= EVERY_NUMBER:
        numbers = set(range(1, room.most + 1))
    else:
        numbers = {2**power for power in range(room.most.bit_length()) if 2**power <= room.most} | {room.most}
    if room.physical is not None and room.physical <= room.most:
        numbers.add(room.physical)
    return {f"threads {n}": _with_threads(options, n) for n in sorted(numbers)}


def spinning(options: SessionOptions, room: Room) -> Candidates:
    """How idle threads wait. One thread has nobody to wait for."""
    if options.threads == 1 and options.inter_op_threads == 1:
        return {}
    bare = _without(options, *SPIN_KEYS)
    busy = replace(bare, spinning=True)
    found = {
        "no spinning": replace(bare, spinning=False),
        "spinning": busy,
        "spinning within an inference": _with(busy, STOP_SPINNING, "1"),
    }
    if room.onnxruntime >= DURATION_SINCE:
        found["spinning for 1 ms"] = _with(busy, DURATION, SPIN_US)
    return found


def execution(options: SessionOptions, room: Room) -> Candidates:
    """Branches side by side, with no more threads in all than one after the other."""
    if not room.branches or room.most < 2 or options.execution_mode == "parallel":
        return {}
    splits = {(2, max(1, room.most // 2)), (min(room.most, 4), 1)}
    found = {}
    for inter, intra in sorted(splits):
        parallel = replace(_with_threads(options, intra), execution_mode="parallel", inter_op_threads=inter)
        name = f"parallel, {inter} branches x {intra} thread(s)"
        found[name] = _with(parallel, ALLOW_INTER, "0")  # on busy cores, threads that spin made it 30 times slower
        if options.spinning:
            found[f"{name}, spinning"] = _with(parallel, ALLOW_INTER, "1")
    return found


def blocks(options: SessionOptions, room: Room) -> Candidates:
    """Work given to threads in pieces that get smaller, in place of one equal piece each."""
    alone = options.threads == 1 or BLOCK_BASE in options.session_config
    return {} if alone else {"dynamic blocks": _with(options, BLOCK_BASE, "4")}


def levels(options: SessionOptions, room: Room) -> Candidates:
    """Levels of graph optimisation: the highest is not always the fastest."""
    return {f"graph optimisation {name}": replace(options, graph_optimization=name) for name in LEVELS}


def arena(options: SessionOptions, room: Room) -> Candidates:
    """Memory kept from inference to inference, or asked for anew."""
    return {"arena" if kept else "no arena": replace(options, arena=kept) for kept in (True, False)}


def mem_pattern(options: SessionOptions, room: Room) -> Candidates:
    """Memory planned once or not; in parallel mode ONNX Runtime never plans it."""
    if options.execution_mode == "parallel":
        return {}
    return {
        "memory pattern" if planned else "no memory pattern": replace(options, mem_pattern=planned)
        for planned in (True, False)
    }


AXES: Mapping[str, Callable[[SessionOptions, Room], Candidates]] = {
    "threads": threads,
    "spinning": spinning,
    "execution": execution,
    "blocks": blocks,
    "graph optimisation": levels,
    "arena": arena,
    "memory pattern": mem_pattern,
}
"""In order of what they are usually worth."""

CPU_ONLY = frozenset(AXES) - {"graph optimisation"}
"""Axes that say nothing to a provider which computes elsewhere."""


def candidates(axis: str, options: SessionOptions, room: Room) -> Candidates:
    """The values of an axis other than the one that `options` have."""
    if axis in CPU_ONLY and options.provider != "CPUExecutionProvider":
        return {}
    found = AXES[axis](options, room)
    return {name: tried for name, tried in found.items() if changes(tried, options)}


def changes(options: SessionOptions, base: SessionOptions) -> dict[str, Any]:
    """What differs from `base`, by name; entries of session_config by their own names, None where one is gone."""
    mine, others = options.as_dict(), base.as_dict()
    mine.pop("threads_requested")
    config, other = mine.pop("session_config"), others.pop("session_config")
    found = {name: value for name, value in mine.items() if value != others[name]}
    return found | {
        key: config.get(key) for key in sorted({*config, *other}) if config.get(key) != other.get(key)
    }  # fmt: skip


def _with_threads(options: SessionOptions, number: int) -> SessionOptions:
    pinned = options if number == options.threads else _without(options, AFFINITIES)
    return replace(pinned, threads=number, threads_requested=number)


def _with(options: SessionOptions, key: str, value: str) -> SessionOptions:
    return replace(options, session_config={**options.session_config, key: value})


def _without(options: SessionOptions, *keys: str) -> SessionOptions:
    return replace(options, session_config={k: v for k, v in options.session_config.items() if k not in keys})
