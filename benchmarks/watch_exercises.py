"""Shoulder exercises recorded by a smartwatch, 10 subjects, out of the wheel of seglearn, as a CSV that a recipe takes.

    pip download --no-deps seglearn==1.2.5 --dest runs/wheels
    python -m benchmarks.watch_exercises runs/wheels/seglearn-1.2.5-py3-none-any.whl runs/watch.csv

The data: Burns et al. 2018, "Shoulder physiotherapy exercise recognition: machine learning the inertial signals from a
smartwatch", Physiological Measurement 39, arxiv.org/abs/1802.01489; 140 recordings at 50 Hz of acceleration and angular
rate, seven exercises. The wheel (BSD licence) is read, not imported. The array in it is a pickle, which is not loaded:
its opcodes are listed with pickletools, which builds and calls nothing, and the numbers are taken out of its strings.
"""

import argparse
import csv
import io
import math
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

MEMBER = "seglearn/data/watch_dataset.npy"
CHANNELS = ("ax", "ay", "az", "wx", "wy", "wz")
DTYPES = {"X": "<f8", "y": "<i8", "subject": "<i8"}
"""Key of the dictionary in the file -> how the numbers of its arrays lie there; they are not called what they are."""

KEYS = (*DTYPES, "y_labels", "X_labels", "side")


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, help="seglearn-1.2.5-py3-none-any.whl")
    parser.add_argument("out", type=Path, help="CSV file to write, with the columns label and group")
    given = parser.parse_args()
    rows = write(given.wheel, given.out)
    print(f"{rows:,} readings in {given.out}")


def write(wheel: Path, out: Path) -> int:
    """The number of readings written."""
    data = read(wheel)
    with out.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow([*CHANNELS, "label", "group"])
        count = 0
        for readings, label, subject in zip(data["X"], data["y"], data["subject"], strict=True):
            name, group = str(data["y_labels"][int(label)]), f"subject {int(subject)}"
            table.writerows([*(f"{value:.6g}" for value in row), name, group] for row in readings)
            count += len(readings)
    return count


def read(wheel: Path) -> dict[str, Any]:
    """The dictionary in the wheel, as seglearn's own load_watch gives it, without the side.

    Raises:
        ValueError: the file is not laid out as that of seglearn 1.2.5.
    """
    with zipfile.ZipFile(wheel) as archive:
        file = io.BytesIO(archive.read(MEMBER))
    np.lib.format.read_magic(file)
    np.lib.format.read_array_header_1_0(file)
    found: dict[str, list[Any]] = {key: [] for key in KEYS}
    for key, value in strings(file):
        if isinstance(value, np.ndarray) or key == "y_labels":
            found[key].append(value)
    if not (found["X"] and len(found["y"]) == len(found["subject"]) == 1 and found["y_labels"]):
        raise ValueError(f"{wheel}: {MEMBER} is laid out in another way; expected seglearn 1.2.5")
    return {
        "X": found["X"],
        "y": found["y"][0],
        "subject": found["subject"][0],
        "y_labels": found["y_labels"],
    }


def strings(file: io.BytesIO) -> Iterator[tuple[str, Any]]:
    """(key, array or word) for every string under a key; those that describe arrays come too, and mean nothing.

    An array's state is (1, shape, dtype, whether in Fortran's order, the numbers as a string of Latin letters): see
    numpy's ndarray.__reduce__, in pickle protocol 2.
    """
    key, fortran = "", False
    shape: tuple[int, ...] = ()
    numbers: list[int] = []
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name == "MARK":
            numbers = []
        elif opcode.name in ("BININT", "BININT1", "BININT2"):
            numbers.append(int(str(argument)))
        elif opcode.name in ("TUPLE1", "TUPLE2") and len(numbers) == 1 + int(opcode.name[-1]) and numbers[0] == 1:
            shape = tuple(numbers[1:])
        elif opcode.name in ("NEWTRUE", "NEWFALSE"):
            fortran = opcode.name == "NEWTRUE"
        elif opcode.name == "BINUNICODE" and argument in KEYS:
            key = str(argument)
        elif opcode.name == "BINUNICODE":
            raw = str(argument)
            if key in DTYPES and len(raw) == 8 * math.prod(shape):
                flat = np.frombuffer(raw.encode("latin1"), DTYPES[key])
                yield key, flat.reshape(shape, order="F" if fortran else "C")
            else:
                yield key, raw


if __name__ == "__main__":
    main()
