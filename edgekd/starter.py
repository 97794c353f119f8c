"""A commented recipe for the user's own data, with what the data itself says filled in."""

import json
import re
from pathlib import Path

from edgekd import data
from edgekd.data import Dataset
from edgekd.errors import BadInputError

SMALL = 2_000
"""Below so many training images a longer training is still short, and needed."""


def starter_recipe(source: str, *, out: Path, target: str, resize: tuple[int, int] | None) -> str:
    """The text of a recipe that runs on `source` as it stands, from `out`'s folder.

    Raises:
        BadInputError: the data cannot be used as it is; the message says what to change.
    """
    calibration = 500
    try:
        dataset = data.load(source, resize=resize, calibration_samples=calibration)
    except BadInputError:  # small data, or broken data: then this one fails too, and its message is the one to show
        dataset = data.load(source, resize=resize, calibration_samples=2)
    available = len(dataset.train) + len(dataset.calibration)
    if available < 5 * calibration:
        calibration = max(len(dataset.classes), available // 8)
        dataset = data.load(source, resize=resize, calibration_samples=calibration)
    anchored = source if source in data.BUILTIN else str(Path(source).resolve())
    profile = str(Path(target).resolve()) if target.endswith(".toml") else target
    return _text(dataset, anchored, out=out, target=profile, resize=resize, calibration=calibration)


def _text(
    dataset: Dataset, source: str, *, out: Path, target: str, resize: tuple[int, int] | None, calibration: int
) -> str:
    height, width, channels = dataset.input_shape
    chance = max(1 / len(dataset.classes), 0.01)
    resize_line = f"resize = [{resize[0]}, {resize[1]}]\n" if resize else ""
    epochs = 60 if len(dataset.train) < SMALL else 30
    # A padding of an eighth of the picture is the field's 4 pixels at 32.
    padding = max(1, min(height, width) // 8)
    return f"""# Written by `edgekd init`. Run it: edgekd run {out.name} --out runs/{_name(out)}
# {len(dataset.classes)} classes, images of {height}x{width}x{channels}: {dataset.counts()}
# Every key and its default: docs/recipe.md, or `edgekd run {out.name} --dry-run` to check your edits.
name = {json.dumps(_name(out))}
seed = 0

[data]
source = {_quoted(source)}
{resize_line}calibration_samples = {calibration} # held out of training, to find int8 ranges
augment = "crop-flip" # "crop" if left and right matter in your pictures
crop_padding = {padding}

[student]
model = "resnet8" # `edgekd models --size {height}x{width}x{channels}` lists the others, with their cost

[distill]
# No teacher yet, so the student learns from the labels alone. To distill, train a larger network first:
#   edgekd distill {out.name} --out runs/teacher --set 'student.model="resnet20"'
# then uncomment [teacher] and set method = "cist" (per-sample adaptive temperatures) or "kd".
method = "ce"
epochs = {epochs}
learning_rate = 0.1

# [teacher]
# model = "resnet20"
# weights = "runs/teacher/student.safetensors"

[export]
input_layout = "nhwc" # what the device feeds: raw uint8 pixels, height x width x channels

[validate]
target = {_quoted(target)} # `edgekd targets`

[gate]
# What must hold for the file to ship. Limits that are not set here come from the target's budgets.
min_top1 = {chance + (1 - chance) * 0.25:.2f} # well above chance ({chance:.2f}); raise it to what you need
max_top1_drop = 0.03 # against the fp32 file, on the same test images
# max_p90_ms = 5.0
# max_size_bytes = 400_000
"""


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON leaves DEL bare, TOML forbids it


def _name(out: Path) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", out.stem).strip("-._") or "run"
