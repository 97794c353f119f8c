"""The hashes under which what a recipe makes is kept: of all that it depends on, and of nothing else."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekd import __version__, models
from edgekd.data import Dataset
from edgekd.files import sha256
from edgekd.recipe import Recipe
from edgekd.recipe.schema import Student, Teacher
from edgekd.recipe.section import Section
from edgekd.settings import teacher_weights
from edgekd.store import key_of

if TYPE_CHECKING:
    from edgekd.core.optimizer import Settings


def teacher_key(recipe: Recipe, dataset: Dataset) -> str:
    """The hash of all that the teacher's facts depend on, which is nothing that only the student's training sees."""
    import torch

    return key_of(
        "teacher",
        [__version__, torch.__version__, _device(recipe)],
        [_described(recipe.teacher)],
        [dataset.content_hash, dataset.index_hash, _weights(recipe), *_code(recipe.teacher)],
    )


def weights_key(recipe: Recipe, dataset: Dataset) -> str:
    """The hash of all that decides the student's weights; also the recipe hash inside model.onnx."""
    import torch

    from edgekd.core.parallel import from_environment

    return key_of(
        [__version__, torch.__version__, np.__version__, torch.get_num_threads(), _device(recipe)],
        [from_environment().world],
        [recipe.seed, *map(_described, (recipe.data, recipe.teacher, recipe.student, recipe.distill))],
        [dataset.content_hash, dataset.index_hash, _weights(recipe), *_code(recipe.student), *_code(recipe.teacher)],
    )


def logits_key(recipe: Recipe, dataset: Dataset, train: "Settings") -> str:
    """The hash of all that the teacher's logits depend on, of every view of every training picture."""
    import torch

    return key_of(
        "teacher-logits",
        [__version__, torch.__version__, np.__version__, torch.get_num_threads(), _device(recipe)],
        [train.batch_size, train.compile, train.channels_last],
        [asdict(train.augmentation), train.views, train.view_seed],
        [_described(recipe.teacher), _weights(recipe), *_code(recipe.teacher)],
        [dataset.content_hash, dataset.index_hash],
    )


def _device(recipe: Recipe) -> list[str]:
    """What `auto` comes to here: another device or precision gives other weights."""
    from edgekd.pixels import choose_device, choose_precision

    device = choose_device(recipe.distill.device)
    return [device.type, choose_precision(recipe.distill.precision, device)]


def _described(section: Section | None) -> dict[str, Any] | None:
    """A section without where its contents lie and how they get there: a moved folder is the same data."""
    return None if section is None else section.model_dump(exclude=NO_MATTER)


NO_MATTER = {"source", "weights", "cache_folder", "cache_limit_gb", "workers"}
"""Keys that change no bit of what is trained."""


def _weights(recipe: Recipe) -> str | None:
    return None if recipe.teacher is None else sha256(teacher_weights(recipe.teacher))


def _code(section: Student | Teacher | None) -> list[str]:
    """The hash of a network's code where it is the user's own."""
    return [sha256(Path(section.model.rpartition(":")[0]))] if section and models.is_own(section.model) else []
