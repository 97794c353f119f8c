"""Arguments and options that several commands share."""

import re
from pathlib import Path
from typing import Annotated

import typer

from edgekd.errors import BadInputError

DATA_HELP = "An .npz with x in the network's own input layout and optional y, or a folder of class folders of images."


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
