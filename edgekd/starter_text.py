"""A commented recipe for texts, with what the data itself says filled in."""

import json
from pathlib import Path

import numpy as np

from edgekd import starter_gate
from edgekd.data import BUILTIN, Dataset
from edgekd.data import text_source as source_of_texts
from edgekd.data.text_source import TextSettings
from edgekd.rows import chunks

SMALL = 2_000
"""Below so many training texts a longer training is still short, and needed."""

UNCUT = TextSettings(max_tokens=512)
"""Where texts are cut while their lengths are looked at."""

UNTAUGHT = """\
# No teacher yet, so the student learns from the labels alone. To distill, train a larger network first:
#   edgekd distill {file} --out runs/teacher --set 'student.options={{width=128, filters=128}}'
# then uncomment [teacher] and set method = "cist" (per-sample adaptive temperatures) or "kd".
method = "ce"
"""
NO_TEACHER = """\
# [teacher]
# model = "text_cnn"
# weights = "runs/teacher/student.safetensors"
"""


def is_text_source(source: str) -> bool:
    """Whether a source holds texts: a file with a column `text`, or a folder with one called train."""
    return source not in BUILTIN and source_of_texts.is_text_source(Path(source))


def text_recipe(
    dataset: Dataset,
    *,
    name: str,
    file: str,
    source: str,
    target: str,
    calibration: int,
    classes: str,
    teacher: tuple[str, str] | None,
) -> str:
    """The text of a recipe that runs on these texts as they stand.

    dataset: loaded with UNCUT. name: of the run; file: of the recipe; source, target: quoted for TOML. classes: lines
    of [data], or nothing. teacher: the kind of a teacher's file, and where it lies, quoted.
    """
    lengths = np.concatenate([(chunk != 0).sum(axis=1) for chunk in chunks(dataset.train.inputs)])
    max_tokens = int(np.ceil(np.percentile(lengths, 90) / 16)) * 16
    learn, section = UNTAUGHT.format(file=file), NO_TEACHER
    dropout = "0.1 # training-time augmentation"
    if teacher is not None:
        learn = 'method = "cist" # per-sample adaptive temperatures; "kd" has one fixed temperature, "ce" no teacher\n'
        section = f'[teacher]\nkind = "{teacher[0]}"\npath = {teacher[1]}\n'
        classes += 'augment = "none" # the teacher answers for each text as it is\n'
        dropout = "0.0"
    epochs = 40 if len(dataset.train) < SMALL else 20
    return f"""# Written by `edgekd init`. Run it: edgekd run {file} --out runs/{name}
# {len(dataset.classes)} classes of texts: {dataset.counts()}
# Every key and its default: docs/recipe.md, or `edgekd run {file} --dry-run` to check your edits.
name = {json.dumps(name)}
seed = 0

[data]
source = {source}
{classes}calibration_samples = {calibration} # held out of training, to find int8 ranges

[data.text]
max_tokens = {max_tokens} # nine of ten training texts are no longer; time grows with it
vocabulary_size = 8000 # of the tokenizer, which is trained on the training split
token_dropout = {dropout}

[student]
model = "text_cnn" # or text_mean, the smallest, or text_transformer
options = {{ width = 32, filters = 32 }}

[distill]
{learn}epochs = {epochs}
optimizer = "adamw"
learning_rate = 0.001
weight_decay = 0.01
batch_size = 32

{section}
[validate]
target = {target} # `edgekd targets`

[gate]
# What must hold for the file to ship. Limits that are not set here come from the target's budgets.
{starter_gate.limits(dataset, "texts")}
# max_p90_ms = 5.0
# max_size_bytes = 400_000
"""
