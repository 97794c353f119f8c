"""`fit-student`: the largest student of a family that meets a budget, found before anything is trained."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgekd.cli import console
from edgekd.cli.limits import LimitOption, parse_limits
from edgekd.cli.options import JsonOption, RecipeArgument, file, parse_fraction
from edgekd.errors import BadInputError, Interrupted

if TYPE_CHECKING:
    from edgekd.fit import Trial
    from edgekd.fit_student import Outcome


def fit_student(
    recipe: RecipeArgument,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            "-t",
            help="A name from `edgekd targets`, or a .toml path. Default: the recipe's.",
            show_default=False,
        ),
    ] = None,
    limit: LimitOption = None,
    scale: Annotated[
        list[str] | None,
        typer.Option(
            "--scale",
            help="An option of the network and the values to try, e.g. width=0.25,0.5,1; its width, and repeated its "
            "depth. Default: the family's own (`edgekd models`).",
            show_default=False,
        ),
    ] = None,
    margin: Annotated[
        str, typer.Option(help="How far below a limit of time the untrained student has to stay.")
    ] = "10%",
    max_trials: Annotated[int, typer.Option(min=1, max=100, help="Networks to build and measure at most.")] = 8,
    max_seconds: Annotated[
        float, typer.Option(min=1.0, max=86_400.0, help="No trial begins after so many seconds.")
    ] = 120.0,
    out: Annotated[
        Path, typer.Option("--out", "-o", parser=file, metavar="<file>", help="The recipe to write.")
    ] = Path("fitted.toml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing recipe.")] = False,
    json_: JsonOption = False,
) -> int:
    """Find the largest student of the recipe's family that meets the target's latency, size and memory, by measuring.

    Trains nothing. Exit code 0: OUT holds the recipe with that student; 1: even the smallest is too slow or too large;
    3: time or trials were over before one was found.
    """
    from edgekd import fit_student as fitting
    from edgekd import recipe as recipes

    _check_out(out, recipe, force=force)
    asked = fitting.Asked(
        target=target,
        limits=parse_limits(limit),
        scales=_scales(scale),
        margin=_margin(margin),
        max_trials=max_trials,
        max_seconds=max_seconds,
    )
    loaded = recipes.load(recipe)
    with console.timing() as listener:
        outcome = fitting.fit_student(loaded, asked, listener=listener)
    if outcome.recipe is not None:
        _write(out, fitting.written(outcome, origin=recipe.name))
    if json_:
        console.print_json(outcome.as_dict() | {"recipe": None if outcome.recipe is None else str(out)})
    else:
        _show(outcome, out)
    if outcome.fitted.status == "interrupted":
        kept = "nothing that was tried fits" if outcome.recipe is None else f"the best so far is in {out}"
        raise Interrupted(f"interrupted after {len(outcome.fitted.trials)} trial(s); {kept}")
    return int(outcome.fitted.exit_code)


def _check_out(out: Path, recipe: Path, *, force: bool) -> None:
    if out.exists() and recipe.exists() and out.samefile(recipe):
        raise BadInputError(f"--out {out} is the recipe itself, whose comments would be lost; name another file")
    if out.exists() and not force:
        raise BadInputError(f"{out} exists; choose another --out, or --force to overwrite it")


def _margin(text: str) -> float:
    margin = parse_fraction(text, "--margin")
    if margin < 0:
        raise BadInputError(f"--margin {text}: expected 0% or more, below 100%")
    return margin


def _scales(texts: list[str] | None) -> dict[str, tuple[float | int, ...]]:
    """`width=0.25,0.5,1` as {"width": (0.25, 0.5, 1)}; whole numbers stay whole. Raises BadInputError."""
    found: dict[str, tuple[float | int, ...]] = {}
    for text in texts or ():
        name, _, values = text.partition("=")
        try:
            numbers = tuple(int(one) if one.strip().isdigit() else float(one) for one in values.split(","))
        except ValueError:
            numbers = ()
        if not name.strip() or name.strip() in found or not numbers or not all(0 < one < 1e9 for one in numbers):
            raise BadInputError(
                f"--scale {text}: expected an option and its values, all above 0, each option once, for example "
                "width=0.25,0.5,1"
            )
        found[name.strip()] = numbers
    if len(found) > 2:
        raise BadInputError(f"--scale names {len(found)} options; expected at most two: a width, then a depth")
    return found


def _write(out: Path, text: str) -> None:
    from edgekd.errors import EnvironmentFault
    from edgekd.files import write_atomic

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(out, text)
    except OSError as err:
        raise EnvironmentFault(f"cannot write {out}: {err.strerror}; choose another place with --out") from err


def _show(outcome: "Outcome", out: Path) -> None:
    fitted, limits = outcome.fitted, outcome.limits
    rows = [_row(trial, chosen=trial is fitted.best) for trial in fitted.trials]
    console.table(["student", "parameters", "MACs", "size", "p50", "p90", "peak memory", "fits", "decided by"], rows)
    console.stdout.print()
    for name, limit in limits.asked.items():
        console.say(
            f"limit   {name} = {_number(name, limit)}, set by the {_WHO[limits.sources[name]]}; judged here at "
            f"{_number(name, limits.fitted[name])}"
        )
    if outcome.unjudged:
        console.say(f"        not judged, because training decides them: {', '.join(outcome.unjudged)}")
    if fitted.too_large:
        console.say(
            f"        {fitted.too_large} of {fitted.sizes} sizes left out: their weights alone are over max_size_bytes"
        )
    console.stdout.print()
    _verdict(outcome)
    if outcome.recipe is not None:
        console.say(f"recipe  {out}: edgekd run {out}")


_WHO = {"recipe": "recipe", "target": "target", "given": "command line"}


def _verdict(outcome: "Outcome") -> None:
    from edgekd.fit import said

    fitted = outcome.fitted
    where = f"{outcome.target['name']}{' (proxy: measured on this machine)' if outcome.target['proxy'] else ''}"
    if fitted.best is None:
        smallest = min(fitted.trials, key=lambda trial: trial.size.macs, default=None)
        if smallest is None:
            return
        check = next(check for check in smallest.checks if check.name == smallest.decided_by)
        miss = f"{_number(check.name, check.value or 0)} is {smallest.use:.2f} times {check.name} less its margin"
        miss = f"{check.name} could not be judged: {check.note}" if check.value is None else miss
        if fitted.status == "none" and smallest.fit == "misses":
            console.say(f"none    of {outcome.model} fits {where}: of the smallest, {said(smallest.size)}, {miss}")
        else:
            console.say(f"none    found yet on {where}: of the smallest that was tried, {said(smallest.size)}, {miss}")
            console.say("        give it more --max-seconds or --max-trials")
        return
    console.say(f"student {outcome.model} with {said(fitted.best.size)} on {where}, {fitted.seconds:.0f} s")
    if fitted.next_larger is None:
        console.say("        it is the largest of its family; a larger family may fit as well")
    elif fitted.status == "largest":
        console.say(f"        the next larger, {said(fitted.next_larger)}, {_why_not(outcome)}")
    else:
        console.say("        a larger one may fit: give it more --max-seconds or --max-trials to find out")


def _why_not(outcome: "Outcome") -> str:
    after = [trial for trial in outcome.fitted.trials if trial.size == outcome.fitted.next_larger]
    if not after:
        return "is over max_size_bytes by its weights alone"
    if after[0].fit == "misses":
        return f"misses {after[0].decided_by}"
    return f"is too close to {after[0].decided_by} to tell, which counts as not fitting"


def _row(trial: "Trial", *, chosen: bool) -> list[str]:
    from edgekd.fit import said

    return [
        ("▶ " if chosen else "  ") + said(trial.size),
        f"{trial.size.parameters:,}",
        f"{trial.size.macs / 1e6:,.2f} M",
        f"{trial.size_bytes / 1024:,.0f} KiB",
        *("–" if value is None else f"{value:.3f} ms" for value in (trial.p50_ms, trial.p90_ms)),
        "–" if trial.peak_rss_bytes is None else f"{trial.peak_rss_bytes / 2**20:.0f} MiB",
        _FIT[trial.fit],
        f"{trial.decided_by}, {trial.use:.0%} used" + (f"; {trial.note}" if trial.note else ""),
    ]


_FIT: dict[Any, str] = {"fits": "yes", "misses": "no", "unclear": "unclear"}


def _number(name: str, value: float) -> str:
    return f"{value:,.0f} B" if name.endswith("_bytes") else f"{value:.4g} ms"
