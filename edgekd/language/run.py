"""A language recipe's stages in order, and what they leave: report, verdict, bundle. `stages` says what each does."""

import datetime
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekd import __version__, gate, report, targets
from edgekd.bundle import language as bundles
from edgekd.errors import ExitCode
from edgekd.files import write_atomic
from edgekd.language import judge, page
from edgekd.language import report as reports
from edgekd.language.corpus import Windows
from edgekd.language.recipe import Recipe
from edgekd.language.rejudge import seal
from edgekd.language.score import Scores, perplexity_ratio
from edgekd.language.stages import Stages
from edgekd.pipeline import Step
from edgekd.progress import Listener, announced, silent
from edgekd.recipe import dump
from edgekd.store import Stage, key_of, locked

BUNDLED_SAMPLES = 8
"""Texts of the test part, of one context each, whose logits are bundled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run answers with. report: the whole of report.json; cached: stages that were not run again."""

    folder: Path
    report: dict[str, Any]
    exit_code: ExitCode
    cached: tuple[str, ...]


def run(
    recipe: Recipe,
    *,
    folder: Path,
    origin: str = "",
    overrides: tuple[str, ...] = (),
    listener: Listener = silent,
) -> Outcome:
    """Run the recipe into `folder`; what is already there under the same inputs is not run again.

    origin: the recipe's file as it was named; overrides: `section.key=value`, applied already.

    Raises:
        EdgekdError: with the exit code; what was finished before stays and is used by the next run.
    """
    report.check_packages()
    with locked(folder):
        stages = Stages(recipe, folder, listener)
        write_atomic(folder / "recipe.lock.toml", dump(recipe))
        full, verdict = _everything(stages, origin, overrides)
        with announced(listener, "report"):
            page.write(full, folder)
            _bundle(full, stages)
    code = gate.exit_code(verdict.verdict)
    return Outcome(folder=folder, report=full, exit_code=code, cached=tuple(stages.cached))


def plan(recipe: Recipe, *, folder: Path) -> tuple[Step, ...]:
    """The stages, and whether each is already there; reads, and writes nothing."""
    stages = Stages(recipe, folder, silent)
    steps = [Step(name=name, cached=stages.store.recall(name, key) is not None) for name, key in stages.keys.items()]
    return (*steps, *(Step(name=name, cached=False) for name in ("gate", "report", "bundle")))


def student(recipe: Recipe, *, folder: Path, listener: Listener = silent) -> dict[str, Any]:
    """What the recipe's own student is worth, trained into `folder` or recalled from it; nothing is exported.

    Raises:
        EdgekdError: as `run`.
    """
    with locked(folder):
        stages = Stages(recipe, folder, listener)
        result: dict[str, Any] = stages.student(recipe.distill.method).result
        return result


def _everything(stages: Stages, origin: str, overrides: tuple[str, ...]) -> tuple[dict[str, Any], gate.Gate]:
    """The whole report, and the verdict on the file that ships."""
    recipe, target = stages.recipe, stages.target
    teacher = stages.teacher()
    students = [stages.student(method) for method in recipe.methods]
    exported, files, speed = stages.export(), stages.files(), stages.speed()
    base = (teacher or students[0]).result
    scores, limits = Scores.read(base["scores"]), recipe.gate.limits()
    variants, verdict = judge.variants(files.result, speed.result, base=scores, limits=limits)
    values = target.model_dump(mode="json")
    for variant in variants:
        if variant["path"] is not None:
            checks = variant["gate"]["checks"]
            variant["raw_sha256"] = seal(variant, base=base["scores"], checks=checks, target=values)
    selected = next(variant["name"] for variant in variants if variant["selected"])
    return {
        "schema_version": reports.SCHEMA_VERSION,
        "kind": reports.KIND,
        "name": recipe.name,
        "edgekd_version": __version__,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "recipe": {
            "path": origin,
            "sha256": key_of(recipe.model_dump(by_alias=True)),
            "overrides": list(overrides),
            "values": recipe.model_dump(by_alias=True, mode="json"),
        },
        "data": {**stages.corpus.facts(), "sources": list(recipe.data.text), "context": recipe.data.context},
        "arms": _arms([*([teacher] if teacher else []), *students], own=students[0]),
        "base": base["name"],
        "export": exported.result,
        "variants": variants,
        "gate": {**asdict(verdict), "variant": selected, "exit_code": int(gate.exit_code(verdict.verdict))},
        "target": values,
        "session": stages.options.as_dict(),
        "environment": stages.environment.as_dict(),
        "timings": {name: stage.seconds for name, stage in stages.made.items()},
    }, verdict


def _arms(stages: list[Stage], *, own: Stage) -> list[dict[str, Any]]:
    """Each network with its perplexity over that of the recipe's own student."""
    scores = Scores.read(own.result["scores"])
    return [
        dict(stage.result) | {"ratio": perplexity_ratio(Scores.read(stage.result["scores"]), scores)}
        for stage in stages
    ]


def _bundle(full: Mapping[str, Any], stages: Stages) -> None:
    """Bundle the selected variant of the report `full`, with whole windows spread over the test part."""
    variant = next(variant for variant in full["variants"] if variant["selected"])
    windows = Windows(stages.corpus.test, context=stages.recipe.data.context)
    tokens, following, mask = windows.batch(np.arange(len(windows)))
    whole = np.concatenate([tokens, following[:, -1:]], axis=1)[mask.all(axis=1)]
    spread = np.linspace(0, len(whole) - 1, min(BUNDLED_SAMPLES, len(whole)), dtype=np.int64)
    options = stages.options
    bundles.write(
        stages.folder / "bundle",
        model=stages.folder / variant["path"],
        variant=variant["name"],
        options=replace(options, threads=options.threads_requested),  # the device's own, not this machine's cores
        vocabulary=stages.corpus.vocabulary,
        tokens=whole[spread],
        target_toml=targets.dump(stages.target),
        reports=[stages.folder / file for file in report.FILES],
        isa=stages.environment.isa,
    )
