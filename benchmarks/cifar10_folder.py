"""CIFAR-10, JPEG re-encoded, as a folder of class folders of JPEG files, the way people keep their own pictures.

    python -m benchmarks.cifar10_folder PATH/TO/cifar10_jpeg.npz runs/data/cifar10

PATH holds all 60,000 images as JPEG bytes: arrays blob, off, label, test, names. They are written as they are, nothing
is decoded: runs/data/cifar10/train/frog/00000.jpg and so on.
"""

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the .npz of JPEG bytes")
    parser.add_argument("out", type=Path, help="folder for train/CLASS/*.jpg and test/CLASS/*.jpg")
    given = parser.parse_args()
    print(f"{write(given.data, given.out)} images in {given.out}")


def write(source: Path, out: Path) -> int:
    """How many files were written."""
    with np.load(source, allow_pickle=False) as arrays:
        blob, ends, labels, test = (arrays[name] for name in ("blob", "off", "label", "test"))
        names = arrays["names"].tolist()
    for part in ("train", "test"):
        for name in names:
            (out / part / name).mkdir(parents=True, exist_ok=True)
    for number, (start, end) in enumerate(pairwise(ends.tolist())):
        part = "test" if test[number] else "train"
        (out / part / names[labels[number]] / f"{number:05}.jpg").write_bytes(blob[start:end].tobytes())
    return len(labels)


if __name__ == "__main__":
    main()
