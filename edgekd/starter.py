"""A commented recipe for the user's own data, with what the data itself says filled in."""

import json
import re
from functools import partial
from pathlib import Path

from edgekd import data, starter_audio, starter_gate, starter_series, starter_text
from edgekd.data import Dataset
from edgekd.data.manifest import is_manifest
from edgekd.data.read_picture import Resize
from edgekd.data.series_guess import guess_windows
from edgekd.errors import BadInputError

SMALL = 2_000
"""Below so many training samples a longer training is still short, and needed."""


def starter_recipe(
    source: str,
    *,
    out: Path,
    target: str,
    resize: tuple[int, int] | None,
    teacher: tuple[str, Path] | None = None,
    classes: tuple[str, ...] | None = None,
) -> str:
    """The text of a recipe that runs on `source` as it stands, from `out`'s folder.

    teacher: the kind of a teacher's file, as [teacher] names it, and where it lies. classes: of data without labels.

    Raises:
        BadInputError: the data cannot be used as it is; the message says what to change.
    """
    calibration = 500
    load = partial(data.load, source, resize=None if resize is None else Resize(*resize), classes=classes)
    if starter_text.is_text_source(source):
        load = partial(load, text=starter_text.UNCUT)
    several = starter_gate.TASK if starter_gate.has_several(source) else ""
    if several:
        load = partial(load, task="multi-label")
    windows = None
    if not (starter_text.is_text_source(source) or is_manifest(Path(source))):
        windows = guess_windows(Path(source))
    if windows is not None:
        load = partial(load, series=windows)
    try:
        dataset = load(calibration_samples=calibration)
    except BadInputError:  # small data, or broken data: then this one fails too, and its message is the one to show
        dataset = load(calibration_samples=2)
    available = len(dataset.train) + len(dataset.calibration)
    if available < 5 * calibration:
        calibration = max(len(dataset.classes), available // 8)
        dataset = load(calibration_samples=calibration)
    if teacher is None and not dataset.train.labelled.any():
        raise BadInputError(
            f"{source}: no training sample has a label, so only a teacher can say what to learn; name its "
            "file: --teacher"
        )
    anchored = source if source in data.BUILTIN else str(Path(source).resolve())
    profile = str(Path(target).resolve()) if target.endswith(".toml") else target
    facts = {"name": _name(out), "file": out.name, "source": _quoted(anchored), "target": _quoted(profile)}
    if dataset.kind == "series":
        taught = None if teacher is None else (teacher[0], _quoted(str(teacher[1].resolve())))
        return starter_series.series_recipe(dataset, windows, **facts, calibration=calibration, teacher=taught)
    if dataset.kind == "audio":
        taught = None if teacher is None else (teacher[0], _quoted(str(teacher[1].resolve())))
        return starter_audio.audio_recipe(dataset, **facts, calibration=calibration, teacher=taught)
    if dataset.kind == "text":
        named = None if classes is None else f"classes = [{', '.join(map(_quoted, classes))}]\n"
        taught = None if teacher is None else (teacher[0], _quoted(str(teacher[1].resolve())))
        return starter_text.text_recipe(
            dataset, **facts, calibration=calibration, classes=several + (named or ""), teacher=taught
        )
    learn = _untaught(out) if teacher is None else _taught(*teacher, dataset)
    return _text(
        dataset,
        anchored,
        out=out,
        target=profile,
        resize=resize,
        classes=classes,
        calibration=calibration,
        several=several,
        learn=learn,
    )


def _text(
    dataset: Dataset,
    source: str,
    *,
    out: Path,
    target: str,
    resize: tuple[int, int] | None,
    classes: tuple[str, ...] | None,
    calibration: int,
    several: str,
    learn: tuple[str, str],
) -> str:
    height, width, channels = dataset.input_shape
    resize_line = several
    resize_line += f"resize = [{resize[0]}, {resize[1]}]\n" if resize else ""
    if classes:
        resize_line += f"classes = [{', '.join(map(_quoted, classes))}] # in the order of the teacher's outputs\n"
    bare = {name: count for name, count in dataset.unlabelled().items() if count}
    unlabelled = f"\n# Without a label: {bare}" if bare else ""
    epochs = 60 if len(dataset.train) < SMALL else 30
    # A padding of an eighth of the picture is the field's 4 pixels at 32.
    padding = max(1, min(height, width) // 8)
    return f"""# Written by `edgekd init`. Run it: edgekd run {out.name} --out runs/{_name(out)}
# {len(dataset.classes)} classes, images of {height}x{width}x{channels}: {dataset.counts()}{unlabelled}
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
{learn[0]}epochs = {epochs}
learning_rate = 0.1

{learn[1]}
[export]
input_layout = "nhwc" # what the device feeds: raw uint8 pixels, height x width x channels

[validate]
target = {_quoted(target)} # `edgekd targets`

[gate]
# What must hold for the file to ship. Limits that are not set here come from the target's budgets.
{starter_gate.limits(dataset, "images")}
# max_p90_ms = 5.0
# max_size_bytes = 400_000
"""


def _untaught(out: Path) -> tuple[str, str]:
    """The head of [distill], and the section [teacher], where there is no teacher yet."""
    return (
        f"""# No teacher yet, so the student learns from the labels alone. To distill, train a larger network first:
#   edgekd distill {out.name} --out runs/teacher --set 'student.model="resnet20"'
# then uncomment [teacher] and set method = "cist" (per-sample adaptive temperatures) or "kd".
method = "ce"
""",
        """# [teacher]
# model = "resnet20"
# weights = "runs/teacher/student.safetensors"
""",
    )


def _taught(kind: str, path: Path, dataset: Dataset) -> tuple[str, str]:
    """The same where a teacher's file is at hand; what only its maker knows stands there to be filled in."""
    lines = [f"kind = {_quoted(kind)}", f"path = {_quoted(str(path.resolve()))}"]
    if kind == "scores":
        lines += ["fixed = true # its answer to a picture stands for every crop and mirror of it; see data.augment"]
    else:
        lines += [
            "# If it takes floats, say how raw pixels become them, as it was trained: (pixels × scale - mean) / std",
            "# scale = 0.00392156862745098 # pixels in 0 to 1",
            "# mean = [0.485, 0.456, 0.406] # one number a channel, here ImageNet's",
            "# std = [0.229, 0.224, 0.225]",
        ]
    if kind == "pt2":
        lines += ["# trust = true # needed: loading a .pt2 can run code of whoever made it"]
    names = ", ".join(_quoted(name) for name in dataset.classes[:20])
    if len(dataset.classes) <= 20:
        lines += [f"# classes = [{names}] # its outputs in their order, where that is not the data's"]
    head = 'method = "cist" # per-sample adaptive temperatures; "kd" has one fixed temperature, "ce" no teacher\n'
    return head, "\n".join(["[teacher]", *lines, ""])


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON leaves DEL bare, TOML forbids it


def _name(out: Path) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", out.stem).strip("-._") or "run"
