"""The study of docs/study-cifar10.md: methods compared on CIFAR-10 (JPEG re-encoded), resnet56 -> resnet8.

    python -m benchmarks.study_cifar10 PATH/TO/cifar10_jpeg.npz --out runs/cifar10

PATH holds all 60,000 images as JPEG bytes: arrays blob, off, label, test, names. Everything is kept under --out and
goes on where it was stopped: the decoded images, the teacher (`edgekd distill`), the study (`edgekd study`).
"""

import argparse
import io
import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

METHODS = "ce,kd,cist,entropy,dkd,lskd,dkd+cist"

TEACHER = """name = "cifar10-teacher"
seed = 0
[data]
source = "cifar10.npz"
augment = "crop-flip"
[student]
model = "resnet56"
[distill]
method = "ce"
epochs = {epochs}
batch_size = 128
learning_rate = 0.1
precision = "bf16"
"""

STUDY = """name = "cifar10-study"
seed = 0
[data]
source = "cifar10.npz"
augment = "crop-flip"
{train_samples}
[teacher]
model = "resnet56"
weights = {weights}
[student]
model = "resnet8"
[distill]
epochs = {epochs}
batch_size = 128
learning_rate = 0.1
precision = "bf16"
n_views = {views}
teacher_cache = "fp16"
cache_folder = "cache"
"""


def main() -> None:
    """Decode, train the teacher, run the study; each only where it is not there yet."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path, help="the .npz of JPEG bytes")
    arguments.add_argument("--out", type=Path, default=Path("runs/cifar10"))
    arguments.add_argument("--teacher", type=Path, help="weights of a resnet56 trained before; default: train one")
    arguments.add_argument("--teacher-epochs", type=int, default=20)
    arguments.add_argument("--train-samples", type=int, help="images the students see; default all")
    arguments.add_argument("--epochs", type=int, default=100)
    arguments.add_argument("--views", type=int, default=4)
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--candidates", type=int, default=6)
    arguments.add_argument("--methods", default=METHODS)
    chosen = arguments.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    decode(chosen.data, chosen.out / "cifar10.npz")
    samples = "" if chosen.train_samples is None else f"train_samples = {chosen.train_samples}"
    (chosen.out / "teacher.toml").write_text(TEACHER.format(epochs=chosen.teacher_epochs))
    weights = chosen.teacher or chosen.out / "teacher" / "student.safetensors"
    if chosen.teacher is None:
        edgekd("distill", chosen.out / "teacher.toml", "--out", chosen.out / "teacher")
    quoted = json.dumps(str(weights.absolute()))
    recipe = STUDY.format(train_samples=samples, epochs=chosen.epochs, views=chosen.views, weights=quoted)
    (chosen.out / "study.toml").write_text(recipe)
    options = ["--methods", chosen.methods, "--seeds", chosen.seeds, "--candidates", chosen.candidates]
    edgekd("study", chosen.out / "study.toml", "--out", chosen.out / "study", *options)
    print(json.dumps({"report": str(chosen.out / "study" / "study.md")}))


def decode(source: Path, out: Path) -> None:
    """The JPEG bytes as one .npz of uint8 pixels that a recipe takes."""
    if out.exists():
        return
    with np.load(source) as arrays:
        blob, ends, labels, test = (arrays[name] for name in ("blob", "off", "label", "test"))
        names = arrays["names"]
    images = np.stack(
        [np.asarray(Image.open(io.BytesIO(blob[start:end].tobytes())).convert("RGB")) for start, end in pairwise(ends)]
    )
    held = test.astype(bool)
    partial = out.with_name("partial.npz")
    np.savez(
        partial,
        x_train=images[~held],
        y_train=labels[~held].astype(np.int64),
        x_test=images[held],
        y_test=labels[held].astype(np.int64),
        classes=names,
    )
    partial.replace(out)  # a kill leaves no half of it


def edgekd(*arguments: object) -> None:
    """Run the command; stop where it does."""
    line = [sys.executable, "-P", "-m", "edgekd.cli", *map(str, arguments)]
    print("$ edgekd", *map(str, arguments), file=sys.stderr, flush=True)
    code = subprocess.run(line, check=False).returncode
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
