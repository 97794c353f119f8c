"""`compare` and `latency`: files, a target and limits -> a result document with its verdict. No torch, no recipe."""

import contextlib
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from edgekd import alone, budget, counted, environment, gate, result, session, targets, versus
from edgekd.errors import BadInputError
from edgekd.instructions import Instructions, count
from edgekd.progress import Listener, silent
from edgekd.session import SessionOptions
from edgekd.statistics import DESIGNED_ERROR
from edgekd.targets import Target
from edgekd.timing import Contestant, Cycle, Host, Opened, feeds_for, inputs_of

Metric = Literal["time", "instructions"]

METHOD = (
    "quantiles over interleaved ABBA cycles, intervals by a bootstrap of whole cycles (Künsch 1989), the error spent "
    "over all looks by a union bound (Howard et al. 2021)"
)
UNSTEADY = ("powersave", "fractional quota", "throttled")
"""Names of the environment's faults that make times vary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How to measure.

    source: data as `edgekd validate` takes it, None for random numbers. shapes: input name -> shape, batch included.
    max_seconds: when the verdict is INCONCLUSIVE; min_seconds: measured even where it is clear before. timeout_seconds:
    for one inference. isolate: a process a file.
    session: a session.json, whose options hold instead of the target's own, as `edgekd tune` writes it.
    """

    source: Path | None = None
    batch_size: int = 1
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    max_seconds: float = 60.0
    min_seconds: float = 0.0
    timeout_seconds: float = 60.0
    isolate: bool = False
    seed: int = 0
    session: Path | None = None


def compare_times(
    new: Path,
    base: Path,
    *,
    target: str,
    limits: Mapping[str, float],
    how: How,
    listener: Listener = silent,
) -> dict[str, Any]:
    """The result of timing `new` against `base`, in turns, until the ratio is on one side of the limit.

    limits: as `edgekd.versus.QUANTILES` names them, fractions.

    Raises:
        EdgekdError: a bad file, data, or shape; a missing provider; a hang, a crash or too little memory.
    """
    profile, machine, options = _setting(target, how)
    contestants, origin = _contestants({"new": new, "base": base}, options, how)
    _same_work(contestants["new"], contestants["base"])
    with _watched(machine) as warnings:
        timed = versus.time_both(
            contestants["new"],
            contestants["base"],
            decided=lambda cycles: versus.look(cycles, limits=limits),
            max_seconds=how.max_seconds,
            min_seconds=how.min_seconds,
            isolate=how.isolate,
            timeout_seconds=how.timeout_seconds,
            memory_bytes=profile.memory_bytes,
            seed=how.seed,
            listener=listener,
        )
    raw = timed.raw()
    sources = dict.fromkeys(limits, "given")
    measured, verdict = versus.judge(raw, limits=limits, sources=sources)
    conditions = _conditions(options, how, machine, origin, timed.opened["new"], warnings)
    return result.document(
        kind="compare",
        metric="time",
        model=result.file_facts(new),
        base=result.file_facts(base),
        target=result.target_facts(profile.model_dump(mode="json")),
        environment=machine,
        conditions=conditions,
        limits=limits,
        sources=sources,
        measured=measured,
        raw=raw,
        gate=asdict(verdict),
    )


def time_file(
    model: Path,
    *,
    target: str,
    limits: Mapping[str, float],
    how: How,
    normalise: Path | None = None,
    listener: Listener = silent,
) -> dict[str, Any]:
    """The result of timing `model` against limits in milliseconds, beside the reference workload.

    limits: as `edgekd.budget.LIMITS` names them; those of the target hold where none of that name is given. normalise:
    a result of `edgekd latency` of another machine; times count as they would be there, by the reference's.

    Raises:
        EdgekdError: as `compare_times`.
    """
    profile, machine, options = _setting(target, how)
    contestants, origin = _contestants({"new": model}, options, how)
    budgets = {k: v for k, v in profile.budgets.model_dump(exclude_none=True).items() if k in budget.LIMITS}
    merged, sources = gate.merge_limits(dict(limits), budgets)
    sources = {name: "given" if name in limits else "target" for name in merged}
    other = None if normalise is None else result.read(normalise)
    there = None if other is None else budget.reference_p50_ms(other)
    with _watched(machine) as warnings:
        timed = versus.time_both(
            contestants["new"],
            budget.reference(options),
            decided=lambda cycles: budget.look(cycles, limits=merged, factor=_factor(there, cycles)),
            max_seconds=how.max_seconds,
            min_seconds=how.min_seconds,
            isolate=how.isolate,
            timeout_seconds=how.timeout_seconds,
            memory_bytes=profile.memory_bytes,
            seed=how.seed,
            stage="latency",
            listener=listener,
        )
    raw = timed.raw() | {"factor": _factor(there, timed.cycles)}
    measured, verdict = budget.judge(raw, limits=merged, sources=sources)
    spread = budget.unsteady(raw)
    if spread is not None:
        warnings.append(
            f"the reference workload's own time varied by {spread:.0%}: the machine was not steady, and times of today "
            "may not be those of tomorrow"
        )
    conditions = _conditions(options, how, machine, origin, timed.opened["new"], warnings)
    if other is not None:
        conditions["normalised_to"] = {"fingerprint": other["fingerprint"], "cpu": other["environment"]["cpu_model"]}
    return result.document(
        kind="latency",
        metric="time",
        model=result.file_facts(model),
        base=result.file_facts(budget.REFERENCE),
        target=result.target_facts(profile.model_dump(mode="json")),
        environment=machine,
        conditions=conditions,
        limits=merged,
        sources=sources,
        measured=measured,
        raw=raw,
        gate=asdict(verdict),
    )


def compare_instructions(
    new: Path, base: Path, *, target: str, limits: Mapping[str, float], how: How, listener: Listener = silent
) -> dict[str, Any]:
    """The result of counting the instructions of `new` and of `base`, on the same inputs. limits: max_regression.

    Raises:
        EdgekdError: as `compare_times`; EnvironmentFault too where neither valgrind nor perf can count.
    """
    profile, machine, options = _setting(target, how)
    contestants, origin = _contestants({"new": new, "base": base}, options, how)
    _same_work(contestants["new"], contestants["base"])
    counts = _counted(contestants, how, listener)
    raw = {name: asdict(found) for name, found in counts.items()} | {"constant": _constant(contestants["new"], how)}
    sources = dict.fromkeys(limits, "given")
    measured, verdict = counted.judge_both(raw, limits=limits, sources=sources)
    return result.document(
        kind="compare",
        metric="instructions",
        model=result.file_facts(new),
        base=result.file_facts(base),
        target=result.target_facts(profile.model_dump(mode="json")),
        environment=machine,
        conditions=_counting(options, how, origin, counts["new"]),
        limits=limits,
        sources=sources,
        measured=measured,
        raw=raw,
        gate=asdict(verdict),
    )


def count_file(
    model: Path, *, target: str, limits: Mapping[str, float], how: How, listener: Listener = silent
) -> dict[str, Any]:
    """The result of counting the instructions of one inference. limits: max_instructions. Raises as the others."""
    profile, machine, options = _setting(target, how)
    contestants, origin = _contestants({"new": model}, options, how)
    counts = _counted(contestants, how, listener)
    raw = {"new": asdict(counts["new"]), "constant": _constant(contestants["new"], how)}
    sources = dict.fromkeys(limits, "given")
    measured, verdict = counted.judge_one(raw, limits=limits, sources=sources)
    return result.document(
        kind="latency",
        metric="instructions",
        model=result.file_facts(model),
        base=None,
        target=result.target_facts(profile.model_dump(mode="json")),
        environment=machine,
        conditions=_counting(options, how, origin, counts["new"]),
        limits=limits,
        sources=sources,
        measured=measured,
        raw=raw,
        gate=asdict(verdict),
    )


def _counted(contestants: Mapping[str, Contestant], how: How, listener: Listener) -> dict[str, Instructions]:
    return {
        name: count(contestant.path, contestant.feeds, contestant.options, listener=_about(name, listener))
        for name, contestant in contestants.items()
    }


def _about(name: str, listener: Listener) -> Listener:
    """A listener that says of which file it hears."""
    return lambda said: listener(replace(said, stage=f"count {name}"))


def _constant(contestant: Contestant, how: How) -> dict[str, bool | None]:
    """Whether the file gives one output to all inputs: a network that is broken needs few instructions, too."""
    with Host({"new": contestant}, timeout_seconds=how.timeout_seconds) as host:
        return {"new": host.opened["new"].constant}


def _counting(options: SessionOptions, how: How, origin: str, found: Instructions) -> dict[str, Any]:
    """Under which conditions the counts hold."""
    return {
        "threads": found.threads,
        "threads_requested": found.threads_requested,
        "spinning": False,
        "provider": options.provider,
        "options": options.as_dict(),
        "batch_size": how.batch_size,
        "inputs": origin,
        "isolated": True,
        "isa": found.isa,
        "onnxruntime": found.onnxruntime,
        "method": found.method,
        "tool": found.tool,
        "warnings": [],
    }


def _setting(target: str, how: How) -> tuple[Target, environment.Environment, SessionOptions]:
    profile, machine = targets.load(target), environment.describe()
    return profile, machine, session.chosen_options(profile, cores=machine.cores_granted, session=how.session)


def _contestants(paths: Mapping[str, Path], options: SessionOptions, how: How) -> tuple[dict[str, Contestant], str]:
    """A contestant a file, each fed from the same source, and what that is. A shape is for inputs of its name."""
    found, origin = {}, ""
    names = {name: {declared.name for declared in inputs_of(path)} for name, path in paths.items()}
    strangers = sorted(how.shapes.keys() - set().union(*names.values()))
    if strangers:
        known = ", ".join(sorted(set().union(*names.values())))
        raise BadInputError(f"--shape {strangers[0]}: there is no such input; known: {known}")
    for name, path in paths.items():
        shapes = {key: shape for key, shape in how.shapes.items() if key in names[name]}
        feeds, origin = feeds_for(path, source=how.source, batch_size=how.batch_size, shapes=shapes)
        found[name] = Contestant(path=path, options=options, feeds=feeds)
    return found, origin


def _same_work(new: Contestant, base: Contestant) -> None:
    """Raise BadInputError unless both are fed with batches of the same size: a ratio of other work means nothing."""
    sizes = [next(iter(contestant.feeds.values())).shape[1:2] for contestant in (new, base)]
    if sizes[0] != sizes[1]:
        raise BadInputError(
            f"{new.path} takes {sizes[0][0]} sample(s) an inference and {base.path} {sizes[1][0]}; expected the same: "
            "export both with one batch size, or a dynamic one"
        )


@contextlib.contextmanager
def _watched(machine: environment.Environment) -> Iterator[list[str]]:
    """What makes the machine a bad clock, filled while it is measured."""
    with alone.alone() as disturbed:
        warnings = [f"{fault.found}; {fault.fix}" for fault in environment.faults(machine) if fault.name in UNSTEADY]
        yield ([disturbed] if disturbed else []) + warnings


def _factor(there: float | None, cycles: Sequence[Cycle]) -> float:
    """What times are multiplied with: the reference's time on the other machine over its time here; 1 without one."""
    if there is None:
        return 1.0
    return there * 1e6 / statistics.median(ns for cycle in cycles for ns in cycle.base)


def _conditions(
    options: SessionOptions,
    how: How,
    machine: environment.Environment,
    origin: str,
    opened: Opened,
    warnings: list[str],
) -> dict[str, Any]:
    """Under which conditions the numbers hold."""
    return {
        "threads": options.threads,
        "threads_requested": options.threads_requested,
        "spinning": options.spinning,
        "provider": options.provider,
        "options": options.as_dict(),
        "batch_size": how.batch_size,
        "inputs": origin,
        "isolated": how.isolate,
        "isa": machine.isa,
        "onnxruntime": opened.onnxruntime,
        "method": METHOD,
        "designed_error": DESIGNED_ERROR,
        "warnings": warnings,
    }
