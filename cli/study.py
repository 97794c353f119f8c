"""`study`: compares methods on a recipe."""

from pathlib import Path
from typing import Annotated

import typer

from edgekd.cli import console
from edgekd.cli.options import DryRunOption, JsonOption, OutOption, RecipeArgument, SetOption

DEFAULT_METHODS = "ce,kd,cist,entropy,dkd,lskd"
"""As `edgekd.study.USUAL`, which is not loaded for --help."""


def study(
    recipe: RecipeArgument,
    methods: Annotated[
        str | None,
        typer.Option(
            help=f"Methods to compare, with commas between. Default: {DEFAULT_METHODS}; of multi-label data the first "
            "four.",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Training seeds of each method.")] = 3,
    candidates: Annotated[
        int, typer.Option(help="Settings of KD weight and temperature knob that each method is tuned over.")
    ] = 6,
    jobs: Annotated[
        int | None, typer.Option(help="Students trained at a time. Default: one a GPU, else one a core.")
    ] = None,
    out: OutOption = None,
    overrides: SetOption = None,
    json_: JsonOption = False,
    dry_run: DryRunOption = False,
) -> int:
    """Compare distillation methods, each tuned as hard, over several seeds; 0 when every student could be trained."""
    from edgekd import recipe as recipes
    from edgekd import study as studies

    loaded = recipes.load(recipe, overrides=tuple(overrides or ()))
    folder = out or Path("runs") / loaded.name
    names = None if methods is None else tuple(name.strip() for name in methods.split(",") if name.strip())
    if dry_run:
        chosen = studies.usual_methods(loaded) if names is None else names
        return _print_plan(studies.plan(loaded, methods=chosen, seeds=seeds, count=candidates), folder, json_)
    with console.progress() as listener:
        outcome = studies.run(
            loaded,
            folder=folder,
            methods=names,
            seeds=seeds,
            candidates=candidates,
            jobs=jobs,
            origin=str(recipe),
            overrides=tuple(overrides or ()),
            listener=listener,
        )
    if outcome.study["set_aside"]:
        console.stderr.print(f"each arm has its own; not used of the recipe: {', '.join(outcome.study['set_aside'])}")
    for failure in (failure for arm in outcome.study["arms"] for failure in arm["failures"]):
        console.stderr.print(f"error: {failure['cell']}: {failure['message']}", markup=False)
    if json_:
        console.print_json(outcome.study)
    else:
        _print_study(outcome.study, folder)
    return int(outcome.exit_code)


def _print_study(found, folder: Path) -> None:  # type: ignore[no-untyped-def]
    from edgekd.study import markdown

    console.say(f"{markdown.teacher_line(found)}\n")
    console.table(markdown.columns(found), markdown.result_rows(found))
    console.say("\n" + "\n".join(found["conclusions"]))
    console.say(f"\nstudy  {folder / 'study.md'}")


def _print_plan(plan, folder: Path, as_json: bool) -> int:  # type: ignore[no-untyped-def]
    from edgekd.study import trained_before

    there = trained_before(plan, folder)
    rows = [
        (arm.method, cell.setting or "–", str(cell.seed), "there" if cell.name in there else "train")
        for arm in plan.arms
        for cell in arm.tuning
    ]
    rest = len(plan.seeds) - 1
    if as_json:
        cells = [dict(zip(("method", "setting", "seed", "state"), row, strict=True)) for row in rows]
        console.print_json({"folder": str(folder), "cells": plan.cells, "tuning": cells, "seeds": list(plan.seeds)})
    else:
        console.table(["method", "candidate", "seed", "state"], rows, title=f"plan for {folder}")
        console.say(f"then {rest} more seed(s) of the best candidate of each method: {plan.cells} students in all")
    return 0
