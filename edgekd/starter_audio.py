"""A commented recipe for a folder of WAV files, with what the files themselves say filled in."""

import json

from edgekd.data import Dataset

SMALL = 2_000
"""Below so many training clips a longer training is still short, and needed."""

UNTAUGHT = """\
# No teacher yet, so the student learns from the labels alone. To distill, train a larger network first:
#   edgekd distill {file} --out runs/teacher --set student.options.width=2.0
# then uncomment [teacher] and set method = "cist" (per-sample adaptive temperatures) or "kd".
method = "ce"
"""
NO_TEACHER = """\
# [teacher]
# model = "ds_cnn"
# options = { width = 2.0 }
# weights = "runs/teacher/student.safetensors"
"""
TAUGHT = """\
method = "cist" # per-sample adaptive temperatures; "kd" has one fixed temperature, "ce" no teacher
"""


def audio_recipe(
    dataset: Dataset,
    *,
    name: str,
    file: str,
    source: str,
    target: str,
    calibration: int,
    teacher: tuple[str, str] | None,
) -> str:
    """The text of a recipe that runs on these files as they stand.

    name: of the run; file: of the recipe; source, target: quoted for TOML. teacher: the kind of a teacher's file, and
    where it lies, quoted.
    """
    front = dataset.front
    rate, samples = front["sample_rate"], dataset.input_shape[0]
    chance = max(1 / len(dataset.classes), 0.01)
    learn, section = UNTAUGHT.format(file=file), NO_TEACHER
    if teacher is not None:
        learn, section = TAUGHT, f'[teacher]\nkind = "{teacher[0]}"\npath = {teacher[1]}\n'
    return f"""# Written by `edgekd init`. Run it: edgekd run {file} --out runs/{name}
# {len(dataset.classes)} classes, clips of {samples / rate:.3g} s at {rate} Hz: {dataset.counts()}
# Every key and its default: docs/recipe.md, or `edgekd run {file} --dry-run` to check your edits.
name = {json.dumps(name)}
seed = 0

[data]
source = {source}
calibration_samples = {calibration} # held out of training, to find int8 ranges

[data.audio]
seconds = {samples / rate:.6g} # longer files are cut, shorter ones get silence at the end
# Without speakers, one may stand in training and in test, and the test is too easy. Say how to find them:
# group_pattern = "([^/]+)_[0-9]+[.]wav$" # in each file's path, the part in parentheses; or group_file, a CSV
window_ms = 30.0
hop_ms = 20.0
mels = {front["mels"]}

[student]
model = "ds_cnn" # options = {{ width = 0.5 }} halves the channels

[distill]
{learn}epochs = {60 if len(dataset.train) < SMALL else 30}
batch_size = 64
learning_rate = 0.05

{section}
[validate]
target = {target} # `edgekd targets`

[gate]
# What must hold for the file to ship. Limits that are not set here come from the target's budgets.
min_top1 = {chance + (1 - chance) * 0.25:.2f} # well above chance ({chance:.2f}); raise it to what you need
max_top1_drop = 0.03 # against the fp32 file, on the same test clips
# max_p90_ms = 5.0
# max_size_bytes = 800_000
"""
