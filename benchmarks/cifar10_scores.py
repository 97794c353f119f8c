"""A table of an ONNX teacher's probabilities for every image of a folder: what a black box would have answered.

    python -m benchmarks.cifar10_scores runs/teacher-cifar10/model.onnx runs/data/cifar10 scores.parquet

The file's first output is taken as logits, and its softmax is written in four decimals, as an API would give it;
nothing else of the teacher is left. Needs `edgekd[cpu,parquet]`.
"""

import argparse
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

BATCH = 500


def main() -> None:
    """Ask for every image once, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="takes (n, height, width, 3) uint8, gives (n, classes) logits")
    parser.add_argument("folder", type=Path, help="of class folders, in train/ and test/")
    parser.add_argument("out", type=Path, help="the .parquet to write")
    given = parser.parse_args()
    print(f"{write(given.model, given.folder, given.out)} rows in {given.out}")


def write(model: Path, folder: Path, out: Path) -> int:
    """How many rows were written."""
    files = sorted(folder.glob("*/*/*.jpg"))
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    parts = []
    for start in range(0, len(files), BATCH):
        pixels = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files[start : start + BATCH]])
        parts.append(session.run(None, {name: pixels})[0])
    scores = softmax(np.concatenate(parts).astype(np.float64)).round(4)
    classes = sorted(entry.name for entry in (folder / "train").iterdir())
    columns = {label: pa.array(scores[:, column]) for column, label in enumerate(classes)}
    ids = [file.relative_to(folder).as_posix() for file in files]
    pq.write_table(pa.table({"id": ids} | columns), out)
    return len(files)


def softmax(logits: np.ndarray) -> np.ndarray:
    """(n, classes) probabilities."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


if __name__ == "__main__":
    main()
