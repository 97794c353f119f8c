"""`compare` and `latency`: files, a target and limits -> a result document with its verdict. No torch, no recipe."""

import contextlib
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from edgekd import alone, budget, compete, environment, gate, prepare, result, session, targets, versus
from edgekd.baseline.unpaired import NORMALISED_FLOOR, OTHER_MACHINE_FLOOR
from edgekd.data.reading import Reading
from edgekd.environment import Environment
from edgekd.errors import BadInputError
from edgekd.instructions import Instructions, count
from edgekd.label_task import label_task
from edgekd.progress import Listener, silent
from edgekd.rejudge import judge_of, rejudge
from edgekd.session import SessionOptions
from edgekd.statistics import DESIGNED_ERROR
from edgekd.targets import Target
from edgekd.timing import Contestant, Cycle, Host, digest, feeds_for, inputs_of

METHOD = (
    "quantiles over interleaved ABBA cycles, intervals by a bootstrap of whole cycles (Künsch 1989), the error spent "
    "over all looks by a union bound (Howard et al. 2021)"
)

UNSTEADY = ("powersave", "fractional quota")
"""Names of the environment's faults that make times vary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How to measure.

    source: data as `edgekd validate` takes it, None for random numbers; read as `reading` says. shapes: input name ->
    shape, batch included. max_seconds: when the verdict is INCONCLUSIVE; min_seconds: measured even where it is clear
    before. timeout_seconds: for one inference. isolate: a process a file. session: a session.json, whose options hold
    instead of the target's own, as `edgekd tune` writes it.
    """

    source: Path | None = None
    reading: Reading | None = None
    batch_size: int = 1
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    max_seconds: float = 60.0
    min_seconds: float = 0.0
    timeout_seconds: float = 60.0
    isolate: bool = False
    seed: int = 0
    session: Path | None = None


def compare_times(
    new: Path, base: Path, *, target: str, limits: Mapping[str, float], how: How, listener: Listener = silent
) -> dict[str, Any]:
    """The result of timing `new` against `base`, in turns, until the ratio is on one side of the limit.

    limits: of `edgekd.versus.QUANTILES`, as fractions, and a report's own of accuracy, for which the data needs labels.

    Raises:
        EdgekdError: a bad file, data, or shape; a missing provider; a hang, a crash or too little memory.
    """
    case = _Case.of({"new": new, "base": base}, target, how)
    judged = _Judged.of(case, limits)
    with _watched(case) as warnings:
        timed = versus.time_both(
            case.contestants["new"],
            case.contestants["base"],
            decided=lambda cycles: versus.look(cycles, limits=limits),
            max_seconds=how.max_seconds,
            min_seconds=how.min_seconds,
            isolate=how.isolate,
            timeout_seconds=how.timeout_seconds,
            memory_bytes=case.profile.memory_bytes,
            seed=how.seed,
            listener=listener,
        )
    scored, on = _scored(case, judged, listener)
    raw = timed.raw() | scored
    conditions = case.timing(timed, warnings) | on
    return case.document("compare", "time", base=base, limits=limits, raw=raw, conditions=conditions)


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
    case = _Case.of({"new": model}, target, how)
    budgets = {k: v for k, v in case.profile.budgets.model_dump(exclude_none=True).items() if k in budget.LIMITS}
    merged, _ = gate.merge_limits(dict(limits), budgets)
    sources = {name: "given" if name in limits else "target" for name in merged}
    other = None if normalise is None else _elsewhere(normalise, case)
    there, floor = (None, 0.0) if other is None else (other.reference_ms, other.floor)
    with _watched(case) as warnings:
        timed = versus.time_both(
            case.contestants["new"],
            budget.reference(case.options),
            decided=lambda cycles: budget.look(cycles, limits=merged, factor=_factor(there, cycles), floor=floor),
            max_seconds=how.max_seconds,
            min_seconds=how.min_seconds,
            isolate=how.isolate,
            timeout_seconds=how.timeout_seconds,
            memory_bytes=case.profile.memory_bytes,
            seed=how.seed,
            stage="latency",
            listener=listener,
        )
    raw = timed.raw() | {"factor": _factor(there, timed.cycles), "floor": floor}
    spread = budget.unsteady(raw)
    if spread is not None:
        warnings.append(
            f"the reference workload's own time varied by {spread:.0%}: the machine was not steady, and times of today "
            "may not be those of tomorrow"
        )
    conditions = case.timing(timed, warnings)
    if other is not None:
        conditions["normalised_to"] = {"fingerprint": other.fingerprint, "cpu": other.cpu, "floor": floor}
    return case.document(
        "latency", "time", base=budget.REFERENCE, limits=merged, sources=sources, raw=raw, conditions=conditions
    )


def compare_instructions(
    new: Path, base: Path, *, target: str, limits: Mapping[str, float], how: How, listener: Listener = silent
) -> dict[str, Any]:
    """The result of counting the instructions of `new` and of `base`, on the same inputs.

    limits: max_regression, and a report's own of accuracy.

    Raises:
        EdgekdError: as `compare_times`; EnvironmentFault too where neither valgrind nor perf can count.
    """
    case = _Case.of({"new": new, "base": base}, target, how)
    judged = _Judged.of(case, limits)
    works = _constant(case)
    counts = _counts(case, listener)
    scored, on = _scored(case, judged, listener)
    raw = {name: asdict(found) for name, found in counts.items()} | works | scored
    conditions = case.counting(counts["new"]) | on
    return case.document("compare", "instructions", base=base, limits=limits, raw=raw, conditions=conditions)


def count_file(
    model: Path, *, target: str, limits: Mapping[str, float], how: How, listener: Listener = silent
) -> dict[str, Any]:
    """The result of counting the instructions of one inference. limits: max_instructions. Raises as the others."""
    case = _Case.of({"new": model}, target, how)
    works = _constant(case)
    counts = _counts(case, listener)
    raw = {"new": asdict(counts["new"])} | works
    return case.document(
        "latency", "instructions", base=None, limits=limits, raw=raw, conditions=case.counting(counts["new"])
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """What is measured, where and how. origin: where the inputs come from."""

    how: How
    profile: Target
    machine: Environment
    options: SessionOptions
    contestants: Mapping[str, Contestant]
    origin: str

    @classmethod
    def of(cls, paths: Mapping[str, Path], target: str, how: How) -> Self:
        """A session a file, each fed from the same source. A shape is for inputs of its name."""
        profile, machine = targets.load(target), environment.describe()
        options = session.chosen_options(profile, cores=machine.cores_granted, session=how.session)
        names = {name: {declared.name for declared in inputs_of(path)} for name, path in paths.items()}
        known = set().union(*names.values())
        for stranger in sorted(how.shapes.keys() - known):
            raise BadInputError(f"--shape {stranger}: there is no such input; known: {', '.join(sorted(known))}")
        contestants, origin = {}, ""
        for name, path in paths.items():
            shapes = {key: shape for key, shape in how.shapes.items() if key in names[name]}
            feeds, origin = feeds_for(
                path, source=how.source, reading=how.reading, batch_size=how.batch_size, shapes=shapes
            )
            contestants[name] = Contestant(path=path, options=options, feeds=feeds)
        _same_work(list(contestants.values()))
        return cls(how=how, profile=profile, machine=machine, options=options, contestants=contestants, origin=origin)

    def timing(self, timed: versus.Timed, warnings: Sequence[str]) -> dict[str, Any]:
        """Under which conditions times hold."""
        return {
            **self.common(),
            "threads": self.options.threads,
            "spinning": self.options.spinning,
            "isolated": timed.isolated,
            "isa": self.machine.isa,
            "onnxruntime": timed.opened["new"].onnxruntime,
            "method": METHOD,
            "designed_error": DESIGNED_ERROR,
            "warnings": list(warnings),
        }

    def counting(self, found: Instructions) -> dict[str, Any]:
        """Under which conditions counts hold."""
        return {
            **self.common(),
            "threads": found.threads,
            "spinning": False,
            "isolated": True,
            "isa": found.isa,
            "onnxruntime": found.onnxruntime,
            "method": found.method,
            "tool": found.tool,
            "warnings": [],
        }

    def common(self) -> dict[str, Any]:
        """What holds for times and for counts."""
        batch = next(iter(next(iter(self.contestants.values())).feeds.values())).shape[1:2]
        return {
            "threads_requested": self.options.threads_requested,
            "provider": self.options.provider,
            "options": self.options.as_dict(),
            "batch_size": batch[0] if batch else 1,
            "inputs": self.origin,
            "feeds": digest(self.contestants["new"].feeds),
        }

    def document(
        self,
        kind: str,
        metric: str,
        *,
        base: Path | None,
        limits: Mapping[str, float],
        raw: Mapping[str, Any],
        conditions: Mapping[str, Any],
        sources: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """The result, judged as it will be judged again. sources: who set each limit; all are given where None."""
        judge, _ = judge_of({"kind": kind, "metric": metric})
        whose = sources or dict.fromkeys(limits, "given")
        measured, verdict = judge(raw, limits=limits, sources=whose)
        return result.document(
            kind=kind,
            metric=metric,
            model=result.file_facts(self.contestants["new"].path),
            base=None if base is None else result.file_facts(base),
            target=result.target_facts(self.profile.model_dump(mode="json")),
            environment=self.machine,
            conditions=conditions,
            limits=limits,
            sources=whose,
            measured=measured,
            raw=raw,
            gate=asdict(verdict),
        )


def _same_work(contestants: Sequence[Contestant]) -> None:
    """Raise BadInputError unless all are fed with batches of the same size: a ratio of other work means nothing."""
    sizes = {next(iter(contestant.feeds.values())).shape[1:2]: contestant.path for contestant in contestants}
    if len(sizes) > 1:
        found = " and ".join(f"{path} takes {size[0] if size else 1}" for size, path in sizes.items())
        raise BadInputError(
            f"{found} sample(s) an inference; expected the same: export both with one batch size, or a dynamic one"
        )


@contextlib.contextmanager
def _watched(case: _Case) -> Iterator[list[str]]:
    """What makes the machine a bad clock, while it is measured."""
    with alone.alone() as disturbed:
        known = [fault for fault in environment.faults(case.machine) if fault.name in UNSTEADY]
        known += environment.thread_faults(case.machine, threads=case.options.threads)
        yield ([disturbed] if disturbed else []) + [f"{fault.found}; {fault.fix}" for fault in known]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Elsewhere:
    """Another machine. floor: by which share a time that is normalised to it may be wrong."""

    reference_ms: float
    floor: float
    fingerprint: str
    cpu: str


def _elsewhere(path: Path, case: _Case) -> _Elsewhere:
    """The machine of a stored result, which is judged again first: what it says of itself is not believed."""
    found = result.read(path)
    rejudge(found)
    packages = case.machine.packages
    onnxruntime = packages.get("onnxruntime", packages.get("onnxruntime-gpu"))
    here = {
        "target": result.target_facts(case.profile.model_dump(mode="json")),
        "conditions": case.common() | {"isa": case.machine.isa, "onnxruntime": onnxruntime},
    }
    machine = found["environment"]
    same = all(machine.get(name) == getattr(case.machine, name) for name in ("cpu_model", "cores_granted"))
    return _Elsewhere(
        reference_ms=budget.there_ms(found, here),
        floor=NORMALISED_FLOOR if same else OTHER_MACHINE_FLOOR,
        fingerprint=found["fingerprint"],
        cpu=str(machine.get("cpu_model")),
    )


def _factor(there: float | None, cycles: Sequence[Cycle]) -> float:
    """What times are multiplied with: the reference's time on the other machine over its time here; 1 without one."""
    if there is None:
        return 1.0
    return there * 1e6 / statistics.median(ns for cycle in cycles for ns in cycle.base)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """What both files' accuracy is measured on. evaluated: which samples, in a sentence."""

    paths: Mapping[str, Path]
    samples: compete.Samples
    evaluated: str

    @classmethod
    def of(cls, case: _Case, limits: Mapping[str, float]) -> Self | None:
        """None where no limit asks for it; what does not fit is refused before anything is timed."""
        wanted = [name for name in limits if versus.is_accuracy(name)]
        if not wanted:
            return None
        source = case.how.source
        if source is None:
            raise BadInputError(f"limit {wanted[0]} needs samples; say where they are: --data")
        paths = {name: case.contestants[name].path for name in ("base", "new")}
        known = prepare.model_facts(paths["base"], case.options)
        data = prepare.load_data(paths["base"], source, known, reading=case.how.reading, train_limit=0)
        task = label_task(list(paths.values()), data.test, case.options, reading=case.how.reading, source=source)
        prepare.check_limits({name: limits[name] for name in wanted}, data.test, task)
        return cls(paths=paths, samples=prepare.judged_on(data.test, task), evaluated=data.evaluated(source))


def _scored(case: _Case, judged: _Judged | None, listener: Listener) -> tuple[dict[str, Any], dict[str, Any]]:
    """The accuracy of the new file beside the base's, where a limit asks for it; and on which samples."""
    if judged is None:
        return {}, {}
    samples, paths = judged.samples, judged.paths
    scores = compete.score(paths, samples.inputs, samples, case.options, isa=case.machine.isa, listener=listener)
    new = scores["new"]
    if isinstance(new, str):
        raise BadInputError(f"model {paths['new']}: {new}")
    return {"accuracy": asdict(new)}, {"evaluated": judged.evaluated}


def _counts(case: _Case, listener: Listener) -> dict[str, Instructions]:
    def about(name: str) -> Listener:
        return lambda said: listener(replace(said, stage=f"count {name}"))

    return {
        name: count(contestant.path, contestant.feeds, contestant.options, listener=about(name))
        for name, contestant in case.contestants.items()
    }


def _constant(case: _Case) -> dict[str, Any]:
    """Which files give one output to all inputs: a network that is broken needs few instructions, too.

    It comes before counting, so that one that hangs or crashes is known by now, and not under valgrind.
    """
    found = {}
    for name, contestant in case.contestants.items():
        with Host(
            {name: contestant}, timeout_seconds=case.how.timeout_seconds, memory_bytes=case.profile.memory_bytes
        ) as host:
            found[name] = host.opened[name].constant
    return {"constant": found}
