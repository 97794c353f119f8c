"""`init`: a recipe to start from."""

from pathlib import Path
from typing import Annotated

import typer

from edgekd.cli import console
from edgekd.cli.options import TargetOption, file
from edgekd.errors import BadInputError


def init(
    data: Annotated[
        str,
        typer.Argument(
            help="A folder of images, a table of images, a saved data set, an .npz, or fashion-mnist.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", parser=file, metavar="<file>", help="The recipe to write.")
    ] = Path("recipe.toml"),
    target: TargetOption = "x86-1t",
    resize: Annotated[
        str | None, typer.Option(help="Resize a folder's images to HEIGHTxWIDTH.", show_default=False)
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(help="A teacher: .onnx, .pt (TorchScript), .pt2, or a table of scores.", show_default=False),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(help="Class names, separated by commas, where the data has no labels.", show_default=False),
    ] = None,
    force: Annotated[bool, typer.Option(help="Overwrite an existing recipe.")] = False,
) -> int:
    """Write a commented recipe for your own data."""
    from edgekd import files, starter, targets

    if out.exists() and not force:
        raise BadInputError(f"{out} exists; choose another --out, or --force to overwrite it")
    targets.load(target)
    text = starter.starter_recipe(
        data, out=out, target=target, resize=_size(resize), teacher=_teacher(teacher), classes=_classes(classes)
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomic(out, text)
    console.say(f"{out}: look it over, then: edgekd run {out}")
    return 0


def _classes(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    names = tuple(name.strip() for name in text.split(","))
    if len(names) < 2 or "" in names:
        raise BadInputError(f"--classes {text}: expected at least two names, separated by commas")
    return names


def _teacher(path: Path | None) -> tuple[str, Path] | None:
    from edgekd.recipe.teacher import SUFFIXES, kind_of

    if path is None:
        return None
    kind = kind_of(path.name)
    if kind is None or not path.is_file():
        known = ", ".join(end for ends in SUFFIXES.values() for end in ends)
        found = "no such file" if kind is not None else "is no teacher's file"
        raise BadInputError(f"--teacher {path}: {found}; expected a file that ends in {known}")
    return kind, path


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
