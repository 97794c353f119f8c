"""The sweep over the axes, one at a time, from the target's own options to the best ones."""

import contextlib
import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from edgekd import environment, timing
from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.files import sha256
from edgekd.progress import Listener, Progress, silent
from edgekd.session import SessionOptions, check_file, import_onnxruntime, options_for
from edgekd.statistics import Ratio
from edgekd.targets import Target
from edgekd.timing.feeds import RANDOM
from edgekd.tune import race
from edgekd.tune.axes import AXES, Candidates, Room, candidates, changes
from edgekd.tune.branches import has_branches
from edgekd.tune.confirm import confirm
from edgekd.tune.result import Trial, Tuned, Verdict
from edgekd.tune.same import Outputs, difference, outputs_of
from edgekd.tune.written import document

CONFIRM_SHARE = 0.3
"""Of the time, for the comparison that the result rests on; the sweep before it only chooses what is compared."""

LEAST_SECONDS = 1.0
"""For an axis: a process for each candidate takes as long as that to start."""


@dataclass(slots=True, kw_only=True)
class _Sweep:
    """The sweep while it runs.

    base: the target's own options, and base_ns their median in the warm-up; best: the best so far, which may be base.
    """

    course: race.Course
    room: Room
    expected: Outputs
    base: race.Racer
    base_ns: float
    best: race.Racer
    coin: random.Random
    stack: contextlib.ExitStack
    started: float
    until: float
    total: float
    listener: Listener
    trials: list[Trial] = field(default_factory=list)


def tune(
    path: Path,
    target: Target,
    *,
    source: Path | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    batch_size: int = 1,
    threads: int | None = None,
    session_config: Mapping[str, str] | None = None,
    max_seconds: float = 60.0,
    timeout_seconds: float = 60.0,
    axes: Sequence[str] = tuple(AXES),
    seed: int = 0,
    listener: Listener = silent,
) -> Tuned:
    """The session options with the smallest median latency on this machine, if they measurably beat the target's own.

    source, shapes, batch_size: what the network is fed with, as `edgekd.timing.feeds_for` takes them. threads: how many
    intra-op threads may be tried; None: the target's number, because that is what the device has. session_config:
    entries that belong to the file, beside the target's. timeout_seconds: for one
    inference. max_seconds: for all of it; the processes that are started
    last may take a few seconds more. Options that change an output are refused.

    Raises:
        BadInputError: a bad file or data, or more threads than this process has cores.
        EnvironmentFault: the file crashes, hangs or takes more memory than the target has, with the target's own
            options; or their provider is not there.
    """
    started = time.monotonic()
    check_file(path)
    machine = environment.describe()
    own = _own_options(target, machine.cores_granted, session_config)
    room = _room(path, machine, threads, own)
    feeds, fed = timing.feeds_for(path, source=source, shapes=shapes, batch_size=batch_size)
    course = race.Course(path=path, feeds=feeds, memory_bytes=target.memory_bytes, timeout_seconds=timeout_seconds)
    with contextlib.ExitStack() as stack:
        base = race.enter(course, "own", own, stack)
        (own_ns,) = race.warm([base])
        sweep = _Sweep(
            course=course,
            room=room,
            expected=outputs_of(path, own, feeds),
            base=base,
            base_ns=own_ns,
            best=base,
            coin=random.Random(seed),
            stack=stack,
            started=started,
            until=started + (1 - CONFIRM_SHARE) * max_seconds,
            total=max_seconds,
            listener=listener,
        )
        for done, axis in enumerate(axes):
            _try_axis(sweep, axis, axes_left=len(axes) - done)
    winner = sweep.best.options
    found = None
    if changes(winner, own):
        until, told = started + max_seconds, partial(_told, sweep, "confirming")
        found = confirm(course, winner, own, until=until, coin=sweep.coin, told=told)
    better = found is not None and found.ratio.high < 1
    listener(Progress(stage="tune", done=max_seconds, total=max_seconds))
    tuned = Tuned(
        model=str(path),
        model_sha256=sha256(path),
        target=target.name,
        isa=machine.isa,
        fingerprint=environment.fingerprint(machine),
        inputs=fed,
        own=own,
        options=winner if better else own,
        changes=changes(winner, own) if better else {},
        tried=changes(winner, own),
        better=better,
        ratio=found.ratio.value if found else None,
        low=found.ratio.low if found else None,
        high=found.ratio.high if found else None,
        own_p50_ms=found.own.p50_ms if found else base.samples.p50_ms,
        own_cpu_ms=found.own.cpu_ms if found else base.samples.cpu_ms,
        best_p50_ms=found.best.p50_ms if found else None,
        best_cpu_ms=found.best.cpu_ms if found else None,
        trials=tuple(sweep.trials),
        warnings=_warnings(target, machine, own, fed),
        seconds=time.monotonic() - started,
        session={},
    )
    return replace(tuned, session=document(path, tuned.options, sweep.expected[0], isa=tuned.isa, note=tuned.note()))


def _own_options(target: Target, cores: int, entries: Mapping[str, str] | None) -> SessionOptions:
    options = options_for(target, cores=cores)
    return replace(options, session_config={**options.session_config, **(entries or {})})


def _room(path: Path, machine: environment.Environment, asked: int | None, own: SessionOptions) -> Room:
    if asked is not None and not 1 <= asked <= machine.cores_granted:
        raise BadInputError(
            f"--threads {asked}: this process has {machine.cores_granted} core(s); expected from 1 to "
            f"{machine.cores_granted}: more threads than cores wait for one another"
        )
    version = import_onnxruntime().__version__.split(".")
    return Room(
        most=own.threads if asked is None else asked,
        physical=machine.cores_physical,
        branches=has_branches(path),
        onnxruntime=(int(version[0]), int(version[1])),
    )


def _try_axis(sweep: _Sweep, axis: str, *, axes_left: int) -> None:
    """Race the values of one axis; the winner becomes the best so far if it is measurably faster than that one."""
    wanted = candidates(axis, sweep.best.options, sweep.room)
    if not wanted:
        return
    _told(sweep, axis)
    seconds = (sweep.until - time.monotonic()) / axes_left
    if seconds < LEAST_SECONDS and sweep.trials:  # something is tried, however little time there is
        for name, options in wanted.items():
            _add(sweep, axis, name, options, "not tried", note="the time was over; give more with --max-seconds")
        return
    ends = time.monotonic() + seconds
    with contextlib.ExitStack() as stack:
        rivals = _enter(sweep, axis, wanted, stack)
        rivals = _able(sweep, axis, rivals)
        if not rivals:
            return
        steady = [sweep.base] if sweep.best is sweep.base else [sweep.base, sweep.best]
        for racer in steady:  # cycles are compared by their number: all start at the same one
            racer.samples.cycles.clear()
        winner = race.halve(
            steady,
            rivals,
            seconds=max(0.0, ends - time.monotonic()),
            coin=sweep.coin,
            told=partial(_told, sweep, axis),
        )
        beside = race.ratio(winner.samples, sweep.best.samples)
        kept = beside.high < 1
        for racer in rivals:
            _judge(sweep, axis, racer, kept=kept and racer is winner)
    if kept:
        sweep.best = _replaced(sweep, winner)


def _enter(sweep: _Sweep, axis: str, wanted: Candidates, stack: contextlib.ExitStack) -> list[race.Racer]:
    """The candidates that open and leave the outputs as they were; the others are noted as refused."""
    rivals = []
    for name, options in wanted.items():
        try:
            # The process first: a crash ends that one, and only then is the file opened in this.
            racer = race.enter(sweep.course, name, options, stack)
            apart = difference(outputs_of(sweep.course.path, options, sweep.course.feeds), sweep.expected)
        except (BadInputError, EnvironmentFault) as err:
            _add(sweep, axis, name, options, "refused", note=str(err))
            continue
        if apart is not None:
            _add(sweep, axis, name, options, "refused", note=f"changes the outputs: {apart}")
            continue
        rivals.append(racer)
    return rivals


def _able(sweep: _Sweep, axis: str, rivals: list[race.Racer]) -> list[race.Racer]:
    """Those that the warm-up does not show to be hopeless."""
    able = []
    for racer, median_ns in zip(rivals, race.warm(rivals) if rivals else [], strict=True):
        if median_ns < race.HOPELESS * sweep.base_ns:
            able.append(racer)
            continue
        times = f"{median_ns / sweep.base_ns:.1f} times the target's own time in the warm-up"
        _add(sweep, axis, racer.name, racer.options, "slower", note=times)
    return able


def _replaced(sweep: _Sweep, winner: race.Racer) -> race.Racer:
    """The winner in a process that lives as long as the sweep."""
    racer = race.enter(sweep.course, winner.name, winner.options, sweep.stack)
    race.warm([racer])
    return racer


def _judge(sweep: _Sweep, axis: str, racer: race.Racer, *, kept: bool) -> None:
    found = race.ratio(racer.samples, sweep.base.samples)
    verdict: Verdict = "kept" if kept else "slower" if found.low > 1 else "no better"
    note = "" if math.isfinite(found.high) else f"left after {len(racer.samples.cycles)} cycles"
    _add(sweep, axis, racer.name, racer.options, verdict, note=note, samples=racer.samples, ratio=found)


def _add(
    sweep: _Sweep,
    axis: str,
    name: str,
    options: SessionOptions,
    verdict: Verdict,
    *,
    note: str,
    samples: race.Samples | None = None,
    ratio: Ratio | None = None,
) -> None:
    bounded = ratio if ratio is not None and math.isfinite(ratio.high) else None
    sweep.trials.append(
        Trial(
            axis=axis,
            name=name,
            changes=changes(options, sweep.base.options),
            verdict=verdict,
            note=note,
            ratio=ratio.value if ratio else None,
            low=bounded.low if bounded else None,
            high=bounded.high if bounded else None,
            p50_ms=samples.p50_ms if samples else None,
            cpu_ms=samples.cpu_ms if samples else None,
            cycles=len(samples.cycles) if samples else 0,
        )
    )


def _told(sweep: _Sweep, note: str) -> None:
    done = min(sweep.total, time.monotonic() - sweep.started)
    sweep.listener(Progress(stage="tune", done=done, total=sweep.total, note=note))


def _warnings(target: Target, machine: environment.Environment, own: SessionOptions, fed: str) -> tuple[str, ...]:
    found = [f"{fault.found}; {fault.fix}" for fault in environment.thread_faults(machine, threads=own.threads)]
    if target.proxy:
        found.append(
            f"{target.name} stands for another device: what is fastest here need not be there; tune on the device"
        )
    if own.threads < own.threads_requested:
        found.append(f"{own.threads_requested} threads are the target's, {own.threads} core(s) are granted here")
    if fed == RANDOM:
        found.append("timed with random numbers; --data gives it real samples")
    return tuple(found)
