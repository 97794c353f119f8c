"""`language`: distills a causal transformer on text."""

from pathlib import Path

from edgekd.cli import console
from edgekd.cli.options import DryRunOption, JsonOption, OutOption, RecipeArgument, SetOption


def language(
    recipe: RecipeArgument,
    out: OutOption = None,
    overrides: SetOption = None,
    json_: JsonOption = False,
    dry_run: DryRunOption = False,
) -> int:
    """Distill a small language model on text, export, quantize and time it; exit with the verdict."""
    from edgekd.language import recipe as recipes
    from edgekd.language import report as reports
    from edgekd.language import run as runs

    changed = tuple(overrides or ())
    loaded = recipes.load(recipe, overrides=changed)
    folder = out or Path("runs") / loaded.name
    if dry_run:
        return console.plan(runs.plan(loaded, folder=folder), folder, json_)
    with console.timing() as listener:
        outcome = runs.run(loaded, folder=folder, origin=str(recipe), overrides=changed, listener=listener)
    if json_:
        console.print_json(outcome.report)
        return int(outcome.exit_code)
    console.cached_line(outcome.cached)
    console.table(reports.ARM_HEADER, reports.arm_rows(outcome.report))
    console.stdout.print()
    console.table(reports.FILE_HEADER, reports.variant_rows(outcome.report))
    console.stdout.print()
    console.verdict_table(outcome.report["gate"], outcome.report["target"])
    console.say(f"report  {folder / 'report.html'}")
    console.bundle_line(folder / "bundle", outcome.report["gate"])
    return int(outcome.exit_code)
