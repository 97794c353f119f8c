"""A table of one window -> readings, as a network was trained on. Bundles carry this file: it needs numpy alone."""

import csv
from pathlib import Path
from typing import Any

import numpy as np

FIXED = {"other_lengths": "refused"}
"""What is done to a table of more or fewer rows."""


def describe(length: int, channels: list[str]) -> dict[str, Any]:
    """What `read` needs to know, JSON-ready. channels: names in the order of the network's; empty where it has none."""
    return {"channels": channels, "length": length, **FIXED}


def read(path: Path, facts: dict[str, Any]) -> Any:
    """The window (length, channels) float32 of a CSV or TSV with a header line, a row a reading, oldest first.

    Channels go by name, where the network knows their names, in whatever order the columns stand; else by place.

    Raises:
        ValueError: no such column, a cell that is no finite number, or more or fewer rows than the network takes.
    """
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header, *rows = [row for row in csv.reader(file, delimiter=separator, strict=True) if row] or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise ValueError(f"{path}: not a readable table ({err}); expected CSV with a header line") from err
    header = [name.strip() for name in header]
    names = facts["channels"] or header
    if missing := [name for name in names if name not in header]:
        raise ValueError(f"{path}: has no column '{missing[0]}'; expected {', '.join(names)}")
    if len(rows) != facts["length"]:
        raise ValueError(f"{path}: has {len(rows)} readings; expected {facts['length']}, one window")
    try:
        window = np.stack([as_numbers([row[header.index(name)] for row in rows]) for name in names], axis=1)
    except (ValueError, IndexError) as err:
        raise ValueError(f"{path}: {err}; expected a number in every column") from err
    if not np.isfinite(window).all():
        row, channel = np.argwhere(~np.isfinite(window))[0]
        raise ValueError(
            f"{path}: found {window[row, channel]} in reading {row}, channel {channel}; expected finite numbers"
        )
    return window


def as_numbers(cells: list[str]) -> Any:
    """(n,) float32 of cells, by way of float64; what float32 cannot hold becomes infinite.

    Raises:
        ValueError: a cell that is no number.
    """
    with np.errstate(over="ignore"):
        return np.array(cells, dtype=np.float64).astype(np.float32)
