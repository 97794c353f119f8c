"""`run`, `distill`, `export`: what takes a recipe."""

from pathlib import Path
from typing import Annotated

import typer

from edgekd.cli import console
from edgekd.cli.options import (
    AllowDownloadOption,
    DataOption,
    DataSetOption,
    DryRunOption,
    JsonOption,
    OutOption,
    RecipeArgument,
    SetOption,
    file,
    reading_of,
)

HtmlPath = "report.html"


def run(
    recipe: RecipeArgument,
    out: OutOption = None,
    overrides: SetOption = None,
    json_: JsonOption = False,
    dry_run: DryRunOption = False,
    allow_download: AllowDownloadOption = False,
) -> int:
    """Distill, export, quantize, validate, gate, report and bundle; exit with the verdict."""
    from edgekd import pipeline

    loaded, folder = _load(recipe, out, overrides, allow_download=allow_download)
    if dry_run:
        return console.plan(pipeline.plan(loaded, folder=folder), folder, json_)
    with console.progress() as listener:
        outcome = pipeline.run(
            loaded, folder=folder, origin=str(recipe), overrides=tuple(overrides or ()), listener=listener
        )
    if not outcome.report:
        return 0  # one of several processes that train together: rank 0 speaks for all
    if json_:
        console.print_json(outcome.report)
    else:
        console.cached_line(outcome.cached)
        _student_lines(outcome.report)
        console.variants_table(outcome.report)
        console.stdout.print()
        console.verdict_table(outcome.report["gate"], outcome.report["target"])
        console.say(f"report  {folder / HtmlPath}")
        console.bundle_line(folder / "bundle", outcome.report["gate"])
    return int(outcome.exit_code)


def distill(
    recipe: RecipeArgument,
    out: OutOption = None,
    overrides: SetOption = None,
    json_: JsonOption = False,
    dry_run: DryRunOption = False,
    allow_download: AllowDownloadOption = False,
) -> int:
    """Train the recipe's student; stop at its weights, OUT/student.safetensors."""
    from edgekd import pipeline

    loaded, folder = _load(recipe, out, overrides, allow_download=allow_download)
    if dry_run:
        return console.plan(pipeline.plan(loaded, folder=folder, until="distill"), folder, json_)
    with console.progress() as listener:
        outcome = pipeline.run(loaded, folder=folder, origin=str(recipe), until="distill", listener=listener)
    if not outcome.report:
        return 0
    if json_:
        console.print_json({"teacher": outcome.report["teacher"], "student": outcome.report["student"]})
    else:
        console.cached_line(outcome.cached)
        _student_lines(outcome.report)
        console.say(f"weights  {folder / 'student.safetensors'}")
    return 0


def export(
    weights: Annotated[
        Path, typer.Argument(help="A .safetensors file that `edgekd distill` wrote.", show_default=False)
    ],
    data: DataOption,
    overrides: DataSetOption = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", parser=file, metavar="<file>", help="The .onnx file to write.")
    ] = Path("model.onnx"),
    opset: Annotated[int, typer.Option(help="ONNX opset, at least 18.")] = 18,
    input_layout: Annotated[str, typer.Option("--layout", help="Layout of the raw pixels: nhwc or nchw.")] = "nhwc",
    json_: JsonOption = False,
) -> int:
    """Write a trained student as ONNX and compare it with torch on real samples."""
    from edgekd import deploy

    exported = deploy.export_weights(
        weights,
        source=data,
        reading=reading_of(data, overrides),
        path=out,
        opset=opset,
        input_layout=input_layout,
    )
    if json_:
        console.print_json(exported)
    else:
        console.say(
            f"{out}: at most {exported['max_difference']:.1e} from torch, same class on "
            f"{exported['top1_agreement']:.1%} of {exported['n']} samples"
        )
    return 0


def _load(recipe: Path, out: Path | None, overrides: list[str] | None, *, allow_download: bool):  # type: ignore[no-untyped-def]  # Recipe needs pydantic
    from edgekd import recipe as recipes

    loaded = recipes.load(recipe, overrides=tuple(overrides or ()), allow_download=allow_download)
    return loaded, out or Path("runs") / loaded.name


def _student_lines(report) -> None:  # type: ignore[no-untyped-def]
    teacher, student = report["teacher"], report["student"]
    if teacher:
        size = teacher["parameters"]
        known = "parameters unknown" if size is None else f"{size:,} parameters"
        console.say(f"teacher {teacher['model']}: {_on_test(teacher)}, {known}")
        if teacher.get("class_order") == "assumed":
            console.say("nothing names its outputs, so they are taken to be in the data's order of classes")
        if teacher.get("runs_on"):
            console.say(f"it runs on {teacher['runs_on']}")
    method = student["method"]
    numbers = [f"{name} {value:.3g}" for name, value in method["knobs"].items()]
    console.say(
        f"student {student['model']}: {_on_test(student)}, {student['parameters']:,} parameters, "
        f"{' '.join([method['name'], *numbers])}, {student['seconds']:.0f} s on {student['device']}\n"
    )


def _on_test(network) -> str:  # type: ignore[no-untyped-def]
    if network.get("test_micro_f1") is not None:
        return f"{network['test_micro_f1']:.1%} micro F1, {network['test_map']:.1%} mAP on test"
    top1 = network["test_top1"]
    return "not measured on test (no labels)" if top1 is None else f"{top1:.1%} on test"
