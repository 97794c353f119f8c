"""Shoulder exercises recorded by a smartwatch, 10 subjects, out of the wheel of seglearn, as a CSV that a recipe takes.

    pip download --no-deps seglearn==1.2.5 --dest runs/wheels
    python -m benchmarks.watch_exercises runs/wheels/seglearn-1.2.5-py3-none-any.whl runs/watch.csv

The data: Burns et al. 2018, "Shoulder physiotherapy exercise recognition: machine learning the inertial signals from a
smartwatch", Physiological Measurement 39, arxiv.org/abs/1802.01489; 140 recordings at 50 Hz of acceleration and angular
rate, seven exercises. The wheel (BSD licence) is read, not imported: the array in it is a pickle, of which nothing but
numpy's own arrays is let through.
"""

import argparse
import csv
import io
import pickle  # noqa: TID251  through OnlyArrays alone, which lets nothing run
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

MEMBER = "seglearn/data/watch_dataset.npy"
CHANNELS = ("ax", "ay", "az", "wx", "wy", "wz")
ALLOWED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
    ("numpy._core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
    ("_codecs", "encode"): lambda text, encoding: str(text).encode(str(encoding)),
}
"""What the pickle may name, and what that is."""


class OnlyArrays(pickle.Unpickler):
    """Reads a pickle of numpy arrays and of nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """The few things that an array is made of."""
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"the pickle names {module}.{name}; expected numpy arrays alone")
        return ALLOWED[module, name]


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
    """The dictionary in the wheel, as seglearn's own load_watch gives it."""
    with zipfile.ZipFile(wheel) as archive:
        file = io.BytesIO(archive.read(MEMBER))
    np.lib.format.read_magic(file)
    np.lib.format.read_array_header_1_0(file)
    array = OnlyArrays(file, encoding="latin1").load()
    data: dict[str, Any] = array.item()
    return data


if __name__ == "__main__":
    main()
