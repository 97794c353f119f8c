"""Arguments and options that several commands share."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from edgekd.errors import BadInputError

DATA_HELP = (
    "Samples: all that a recipe's data.source takes (images, WAV files, readings, texts; folder, table or saved data "
    "set), or an .npz with x in the network's own input layout and optional y."
)


def folder(text: str) -> Path:
    """An --out that is not empty: an unset variable of the shell must not fill the current folder."""
    if not text:
        raise typer.BadParameter("is empty; expected a path (. for the current folder)")
    return Path(text)


def file(text: str) -> Path:
    """An --out that is neither empty nor a folder."""
    path = folder(text)
    if path.is_dir():
        raise typer.BadParameter(f"file '{text}' is a directory")
    return path


def parse_bytes(text: str) -> int:
    """`500MB`, `2GB` or plain bytes as a number. Raises BadInputError for anything else."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMG]?)B?\s*", text, re.IGNORECASE)
    if found is None or float(found[1]) == 0:
        raise BadInputError(f"'{text}' is no amount of memory; expected for example 500MB or 2GB")
    return int(float(found[1]) * {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}[found[2].upper()])


def reading_of(data: Path | None, overrides: list[str] | None) -> Any:
    """How --data is read, as `edgekd.data.reading.Reading`. Raises BadInputError for keys that are none."""
    from edgekd import settings

    if data is None and overrides:
        raise BadInputError(f"--set {overrides[0]}: says how --data is read, and there is no --data; remove it")
    return settings.reading(data or Path(), tuple(overrides or ()))


def entries(texts: list[str] | None) -> dict[str, str]:
    """`--session-config name=value`, repeated, as a dictionary. Raises BadInputError for anything else."""
    found = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise BadInputError(f"--session-config {text}: expected name=value, e.g. session.x64quantprecision=1")
        found[name.strip()] = value.strip()
    return found


def parse_fraction(text: str, option: str) -> float:
    """`5%` or `0.05` as 0.05. Raises BadInputError for anything else, such as 5, which would be 500 %."""
    found = re.fullmatch(r"\s*([+-]?\d+(?:\.\d+)?)\s*(%?)\s*", text)
    value = float(found[1]) / (100 if found[2] else 1) if found else 1.0
    if not -1 < value < 1:
        raise BadInputError(f"{option} {text}: expected a percentage below 100%, for example 5%")
    return value


def parse_shapes(texts: list[str] | None) -> dict[str, tuple[int, ...]]:
    """`x=1,3,224,224` as {"x": (1, 3, 224, 224)}. Raises BadInputError for anything else, or an input named twice."""
    shapes: dict[str, tuple[int, ...]] = {}
    for text in texts or ():
        name, _, sizes = text.rpartition("=")
        if not name or name in shapes or not re.fullmatch(r"\s*[1-9]\d*(\s*,\s*[1-9]\d*)*\s*", sizes):
            raise BadInputError(f"--shape {text}: expected NAME=SIZES, each input once, for example x=1,3,224,224")
        shapes[name] = tuple(int(size) for size in sizes.split(","))
    return shapes


RecipeArgument = Annotated[Path, typer.Argument(help="Recipe TOML.", show_default=False)]
ModelArgument = Annotated[Path, typer.Argument(help="An .onnx file.", show_default=False)]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        parser=folder,
        metavar="<path>",
        help="Folder to write to. Default: runs/NAME.",
        show_default=False,
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a recipe key, e.g. --set distill.epochs=3. Repeatable.", show_default=False),
]
DataSetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="How to read --data: a key of a recipe's [data], e.g. --set data.series.label=activity. Repeatable.",
        show_default=False,
    ),
]
AllowDownloadOption = Annotated[
    bool, typer.Option("--allow-download", help="Fetch the teacher from its hub where it is not on this machine.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Print the plan and what is cached; run nothing.")]
TargetOption = Annotated[str, typer.Option("--target", "-t", help="A name from `edgekd targets`, or a .toml path.")]
DataOption = Annotated[
    Path,
    typer.Option(
        "--data",
        "-d",
        help=DATA_HELP,
        show_default=False,
    ),
]
SessionOption = Annotated[
    Path | None,
    typer.Option(
        "--session",
        help="Session options in place of the target's: a session.json of `edgekd tune` or of a bundle.",
        show_default=False,
    ),
]
SessionConfigOption = Annotated[
    list[str] | None,
    typer.Option(
        "--session-config",
        help="An ONNX Runtime session entry, e.g. session.x64quantprecision=1. Repeatable.",
        show_default=False,
    ),
]
