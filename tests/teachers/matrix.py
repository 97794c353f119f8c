"""Which teacher goes with which data: the one table that the tests run, and README.md and docs/teachers.md show."""

from typing import Any, Literal

import pytest

KINDS = ("image", "series", "audio", "text")

Cell = Literal["same", "learns", "refused"]
"""same: it teaches the same student as the network that it was made of, up to float noise, and is as right. learns: it
is far from chance and a student learns from it. refused: with the kinds that it takes, before anything is trained."""

MATRIX: dict[str, tuple[Cell, Cell, Cell, Cell]] = {
    "network": ("same", "same", "same", "same"),
    "onnx": ("same", "same", "same", "same"),
    "torchscript": ("same", "same", "same", "same"),
    "pt2": ("same", "same", "same", "same"),
    "scores .npy": ("same", "same", "same", "same"),
    "scores .npz": ("same", "same", "same", "same"),
    "scores .csv": ("same", "same", "same", "same"),
    "scores .parquet": ("same", "same", "same", "same"),
    "endpoint": ("same", "same", "same", "same"),
    "ensemble": ("same", "same", "same", "same"),
    "transformers": ("learns", "refused", "learns", "learns"),
    "timm": ("learns", "refused", "refused", "refused"),
}
"""Teacher -> its cell for each of KINDS."""

QUICK = {"pt2": "text", "scores .npz": "image", "scores .csv": "series", "scores .parquet": "audio"}
"""Teacher -> the one kind of data with which it is run by default, where the others tell little more: with -m slow."""

WORDS = {"same": "yes", "learns": "yes", "refused": "refused"}
PLACE = "<!-- Written from tests/teachers/matrix.py, whose every cell a test runs. -->"


def cells(wanted: Cell) -> list[Any]:
    """(teacher, kind of data) of all cells that are `wanted`, to parametrize with."""
    found = []
    for teacher, row in MATRIX.items():
        for kind, cell in zip(KINDS, row, strict=True):
            slow = [pytest.mark.slow] if QUICK.get(teacher, kind) != kind else []
            if cell == wanted:
                found.append(pytest.param(teacher, kind, marks=slow))
    return found


def markdown() -> str:
    """The table as the pages have it, with the comment before it."""
    rows = [["teacher", *KINDS], ["---"] * 5]
    for teacher, row in MATRIX.items():
        kind, _, suffix = teacher.partition(" ")
        rows.append([f"`{kind}`{suffix and f' {suffix}'}", *(WORDS[cell] for cell in row)])
    return "\n".join([PLACE, "", *(f"| {' | '.join(row)} |" for row in rows)])
