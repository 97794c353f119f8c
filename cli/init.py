"""`init`: a recipe to start from."""

from pathlib import Path
from typing import Annotated

import typer

from edgekd.cli import console
from edgekd.cli.options import TargetOption, file
from edgekd.errors import BadInputError


def init(
    data: Annotated[
        str, typer.Argument(help="A folder of class folders of images, an .npz, or fashion-mnist.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", parser=file, metavar="<file>", help="The recipe to write.")
    ] = Path("recipe.toml"),
    target: TargetOption = "x86-1t",
    resize: Annotated[
        str | None, typer.Option(help="Resize a folder's images to HEIGHTxWIDTH.", show_default=False)
    ] = None,
    force: Annotated[bool, typer.Option(help="Overwrite an existing recipe.")] = False,
) -> int:
    """Write a commented recipe for your own data."""
    from edgekd import files, starter, targets

    if out.exists() and not force:
        raise BadInputError(f"{out} exists; choose another --out, or --force to overwrite it")
    targets.load(target)
    text = starter.starter_recipe(data, out=out, target=target, resize=_size(resize))
    out.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomic(out, text)
    console.say(f"{out}: look it over, then: edgekd run {out}")
    return 0


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        height, width = (int(part) for part in text.lower().split("x"))
        if min(height, width) < 1:
            raise ValueError("no pixels")
    except ValueError as err:
        raise BadInputError(f"--resize {text}: expected HEIGHTxWIDTH, for example 32x32") from err
    return height, width
