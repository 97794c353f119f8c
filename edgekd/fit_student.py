"""A recipe, its target and its gate -> the largest student of its family that meets them, and the recipe with it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgekd import (
    __version__,
    compete,
    environment,
    fit,
    gate,
    models,
    recipe,
    session,
    settings,
    targets,
    teacher_kinds,
)
from edgekd.errors import BadInputError
from edgekd.models.scale import Scale
from edgekd.progress import Listener, announced, silent
from edgekd.recipe import Recipe

SCHEMA_VERSION = 1

SIZE_MARGIN = 0.02
"""Of a file's limit: what trained weights change in the scheme, such as a layer that stays in float, is about that."""

MEMORY_MARGIN = 0.05
"""Of the limit of peak memory: two starts of one process differ by a few MiB."""

MARGINS = {"max_size_bytes": SIZE_MARGIN, "max_peak_rss_bytes": MEMORY_MARGIN}
LIMITS = ("max_p50_ms", "max_p90_ms", "max_p99_ms", "max_size_bytes", "max_peak_rss_bytes", "max_load_ms")
"""What a network's size decides. What it has learned, and so every limit of accuracy, is for `edgekd run`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How to search. margin: by which share of a limit of time a student has to stay below it.

    scales: option -> values to try, in place of the family's own; its width first, then its depth.
    """

    target: str | None = None
    limits: Mapping[str, float]
    scales: Mapping[str, Sequence[float | int]]
    margin: float = 0.1
    max_trials: int = 8
    max_seconds: float = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was found. limits: as asked, and less the margin; unjudged: limits that only training can meet.

    recipe: the same with the student that fits, its target and limits as they were asked for; None where none fits.
    """

    model: str
    target: dict[str, Any]
    variant: str
    limits: fit.Limits
    unjudged: tuple[str, ...]
    fitted: fit.Fitted
    recipe: Recipe | None

    def as_dict(self) -> dict[str, Any]:
        """A result document, JSON-ready."""
        return {
            "edgekd_fit": SCHEMA_VERSION,
            "edgekd": __version__,
            "model": self.model,
            "target": self.target,
            "variant": self.variant,
            "limits": asdict(self.limits),
            "unjudged": list(self.unjudged),
            "exit_code": int(self.fitted.exit_code),
            **self.fitted.as_dict(),
        }


def fit_student(chosen: Recipe, asked: Asked, *, listener: Listener = silent) -> Outcome:
    """The largest student that meets the target's budgets, the recipe's gate and the limits that were asked for.

    Raises:
        BadInputError: no limit that a network's size decides, or a family that nothing scales.
        EnvironmentFault: a missing provider or package, or a machine that cannot time anything.
    """
    profile = targets.load(asked.target or chosen.validate_.target)
    limits, unjudged = _limits(chosen, profile, asked)
    student = chosen.student
    teacher_kinds.check_model(student.model, student.options)
    scales = fit.scales_of(student.model, asked.scales)
    with announced(listener, "data"):
        data = settings.load_data(chosen)
        length = data.input_shape[0] if data.kind == "series" else None
        models.check_kind(student.model, kind=data.kind, length=length)
        sizes = fit.sizes(data, student.model, scales, student.options)
    machine = environment.describe()
    quantize = chosen.quantize
    options = compete.with_session_key(
        session.options_for(profile, cores=machine.cores_granted),
        portable=quantize.portable,
        saturation=quantize.saturation,
    )
    here = fit.Conditions(
        dataset=data,
        model=student.model,
        variant=_variant(chosen, profile),
        options=options,
        memory_bytes=profile.memory_bytes,
        isa=machine.isa,
        opset=chosen.export.opset,
        input_layout=chosen.export.input_layout,
        batch_size=chosen.validate_.batch_size,
        portable=quantize.portable,
        saturation=quantize.saturation,
        seed=chosen.seed,
    )
    fitted = fit.fit(
        sizes,
        here,
        limits,
        first=_own(sizes, scales, student.options),
        max_trials=asked.max_trials,
        max_seconds=asked.max_seconds,
        listener=listener,
    )
    return Outcome(
        model=student.model,
        target=profile.model_dump(mode="json"),
        variant=here.variant,
        limits=limits,
        unjudged=unjudged,
        fitted=fitted,
        recipe=None if fitted.best is None else _with(chosen, fitted.best.size.options, asked),
    )


def written(outcome: Outcome, *, origin: str) -> str:
    """The text of the recipe that was found; every path in it is absolute. origin: the recipe that it is made of."""
    assert outcome.recipe is not None and outcome.fitted.best is not None
    best = outcome.fitted.best
    times = "" if best.p50_ms is None else f", p50 {best.p50_ms:.3f} ms, p90 {best.p90_ms:.3f} ms"
    head = [
        f"Written by `edgekd fit-student` from {origin}: the student of {best.size.parameters:,} parameters",
        f"({fit.said(best.size)}) was measured untrained, as {best.variant}, on {outcome.target['name']}:",
        f"{best.size_bytes:,} bytes{times}.",
    ]
    return "".join(f"# {' '.join(line.split())}\n" for line in head) + recipe.dump(outcome.recipe)


def _limits(chosen: Recipe, profile: targets.Target, asked: Asked) -> tuple[fit.Limits, tuple[str, ...]]:
    for name in asked.limits:
        if name not in LIMITS:
            raise BadInputError(
                f"--limit {name}: a network's size does not decide it; expected one of {', '.join(LIMITS)}; put limits "
                "of accuracy into the recipe's [gate], for `edgekd run`"
            )
    merged, sources = gate.merge_limits(
        chosen.gate.model_dump(exclude_none=True) | dict(asked.limits), profile.budgets.model_dump(exclude_none=True)
    )
    sources |= dict.fromkeys(asked.limits, "given")
    own = {name: merged[name] for name in LIMITS if name in merged}
    if not own:
        raise BadInputError(
            f"neither the recipe's [gate] nor target {profile.name} limits latency, size or memory, so every student "
            "fits; expected a limit, for example --limit max_p50_ms=2.5"
        )
    fitted = {name: limit * (1 - MARGINS.get(name, asked.margin)) for name, limit in own.items()}
    return fit.Limits(asked=own, fitted=fitted, sources=sources), tuple(sorted(merged.keys() - own.keys()))


def _variant(chosen: Recipe, profile: targets.Target) -> str:
    """The file to measure: the target's expected winner if the recipe builds it, else int8, else fp32."""
    quantize = chosen.quantize
    built, _ = compete.allowed(
        quantize.variants, profile.precisions, profile.name, isa=profile.isa, portable=quantize.portable
    )
    return next((name for name in (profile.preferred, "int8-u8s8") if name in built), "fp32")


def _own(sizes: Sequence[fit.Size], scales: Sequence[Scale], options: Mapping[str, Any]) -> int | None:
    """The recipe's own size: its trial stands in the table, and says how far it is from the budget."""
    wanted = {scale.option: options.get(scale.option, scale.usual) for scale in scales}
    for number, size in enumerate(sizes):
        if {scale.option: size.options.get(scale.option, scale.usual) for scale in scales} == wanted:
            return number
    return None


def _with(chosen: Recipe, options: fit.Options, asked: Asked) -> Recipe:
    """The recipe with that student, under a name of its own, and with the target and limits that it was fitted to."""
    updates: dict[str, Any] = {
        "name": f"{chosen.name.removesuffix('-fitted')}-fitted",
        "student": chosen.student.model_copy(update={"options": dict(options)}),
    }
    if asked.target is not None:
        path = str(Path(asked.target).resolve()) if asked.target.endswith(".toml") else asked.target
        updates["validate_"] = chosen.validate_.model_copy(update={"target": path})
    if asked.limits:
        updates["gate"] = chosen.gate.model_copy(update=dict(asked.limits))
    return chosen.model_copy(update=updates)
