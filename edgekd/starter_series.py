"""A commented recipe for sensor readings, with what the data itself says filled in."""

import json

from edgekd import starter_gate
from edgekd.data import Dataset
from edgekd.data.series_csv import Windows

SMALL = 2_000
"""Below so many training windows a longer training is still short, and needed."""

UNTAUGHT = """\
# No teacher yet, so the student learns from the labels alone. To distill, train a larger network first:
#   edgekd distill {file} --out runs/teacher --set 'student.model="resnet_1d"'
# then uncomment [teacher] and set method = "cist" (per-sample adaptive temperatures) or "kd".
method = "ce"
"""
NO_TEACHER = """\
# [teacher]
# model = "resnet_1d"
# weights = "runs/teacher/student.safetensors"
"""
TAUGHT = """\
method = "cist" # per-sample adaptive temperatures; "kd" has one fixed temperature, "ce" no teacher
"""


def series_recipe(
    dataset: Dataset,
    windows: Windows | None,
    *,
    name: str,
    file: str,
    source: str,
    target: str,
    calibration: int,
    teacher: tuple[str, str] | None,
) -> str:
    """The text of a recipe that runs on these readings as they stand.

    windows: how the table was cut; None for an .npz. name: of the run; file: of the recipe; source, target: quoted for
    TOML. teacher: the kind of a teacher's file, and where it lies, quoted.
    """
    length, channels = dataset.input_shape
    learn, section = UNTAUGHT.format(file=file), NO_TEACHER
    if teacher is not None:
        learn, section = TAUGHT, f'[teacher]\nkind = "{teacher[0]}"\npath = {teacher[1]}\n'
    grouped = (
        "split by group" if dataset.train.groups is not None else "without groups: windows of one subject or machine"
    )
    whose = "" if dataset.train.groups is not None else '\n# may stand in training and test; name a column, group = "…"'
    return f"""# Written by `edgekd init`. Run it: edgekd run {file} --out runs/{name}
# {len(dataset.classes)} classes, windows of {length} readings of {channels} channels: {dataset.counts()}
# {grouped}{whose}
# Every key and its default: docs/recipe.md, or `edgekd run {file} --dry-run` to check your edits.
name = {json.dumps(name)}
seed = 0

[data]
source = {source}
calibration_samples = {calibration} # held out of training, to find int8 ranges

[data.series]
{_cutting(windows)}jitter = 0.05 # training-time augmentation: noise, in deviations of a channel
scaling = 0.1 # of each channel, around its mean
shift = 0.1 # in time, a share of the window

[student]
model = "ds_cnn_1d" # or resnet_1d; options = {{ width = 0.5 }} halves the channels

[distill]
{learn}epochs = {60 if len(dataset.train) < SMALL else 30}
batch_size = 64
optimizer = "adamw"
learning_rate = 0.004
weight_decay = 0.05

{section}
[validate]
target = {target} # `edgekd targets`

[gate]
# What must hold for the file to ship. Limits that are not set here come from the target's budgets.
{starter_gate.limits(dataset, "windows")}
# max_p90_ms = 5.0
# max_size_bytes = 400_000
"""


def _cutting(windows: Windows | None) -> str:
    """The keys that say how a table is cut, from the names of its columns: for its owner to correct."""
    if windows is None:
        return ""
    lines = []
    if windows.columns is not None:
        names = ", ".join(_quoted(name) for name in windows.columns)
        lines.append(f"columns = [{names}] # the channels, in the order in which the device feeds them")
    lines += [f"{key} = {_quoted(value)}" for key in ("label", "group", "id") if (value := getattr(windows, key))]
    if windows.window is not None:
        lines.append(
            f"window = {windows.window} # rows a window; stride = {max(1, windows.window // 2)} lets them overlap"
        )
    return "\n".join([*lines, ""])


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON leaves DEL bare, TOML forbids it
