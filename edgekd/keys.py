"""The hashes under which what a recipe makes is kept: of all that it depends on, and of nothing else."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekd import __version__, teacher_kinds
from edgekd.data import Dataset
from edgekd.recipe import Recipe
from edgekd.recipe.section import Section
from edgekd.store import key_of

if TYPE_CHECKING:
    from edgekd.core.optimizer import Settings


def teacher_key(recipe: Recipe, dataset: Dataset) -> str:
    """The hash of all that the teacher's facts depend on, which is nothing that only the student's training sees."""
    import torch

    return key_of(
        "teacher",
        [__version__, torch.__version__, _device(recipe)],
        [dataset.content_hash, dataset.index_hash, _teacher(recipe)],
    )


def weights_key(recipe: Recipe, dataset: Dataset) -> str:
    """The hash of all that decides the student's weights; also the recipe hash inside model.onnx."""
    import torch

    from edgekd.core.parallel import from_environment

    return key_of(
        [__version__, torch.__version__, np.__version__, torch.get_num_threads(), _device(recipe)],
        [from_environment().world],
        [recipe.seed, *map(_described, (recipe.data, recipe.student, recipe.distill))],
        [dataset.content_hash, dataset.index_hash, _teacher(recipe), *teacher_kinds.code(recipe.student.model)],
    )


def logits_key(recipe: Recipe, dataset: Dataset, train: "Settings") -> str:
    """The hash of all that the teacher's logits depend on, of every view of every training picture."""
    import torch

    return key_of(
        "teacher-logits",
        [__version__, torch.__version__, np.__version__, torch.get_num_threads(), _device(recipe)],
        [train.batch_size, train.compile, train.channels_last],
        _views(recipe, train),
        [_teacher(recipe)],
        [dataset.content_hash, dataset.index_hash],
    )


def _views(recipe: Recipe, train: "Settings") -> list[Any]:
    """What decides the views; nothing for a teacher that answers for samples as they are in the source."""
    if recipe.teacher is not None and recipe.teacher.by_sample:
        return []
    return [asdict(train.augmentation), train.views, train.view_seed]  # type: ignore[call-overload]  # all are dataclasses


def _device(recipe: Recipe) -> list[str]:
    """What `auto` comes to here: another device or precision gives other weights."""
    from edgekd.pixels import choose_device, choose_precision

    device = choose_device(recipe.distill.device)
    return [device.type, choose_precision(recipe.distill.precision, device)]


def _described(section: Section | None) -> dict[str, Any] | None:
    """A section without where its contents lie and how they get there: a moved folder is the same data."""
    left_out: dict[str, Any] = dict.fromkeys(NO_MATTER, True)
    left_out["audio"] = {"group_file"}  # whom it names is in the hash of the split
    return None if section is None else section.model_dump(exclude=left_out)


NO_MATTER = {"source", "storage", "cache_folder", "cache_limit_gb", "workers"}
"""Keys that change no bit of what is trained."""


def _teacher(recipe: Recipe) -> str | None:
    """What decides the teacher's answers; also its own code, where the network is the user's."""
    return None if recipe.teacher is None else teacher_kinds.identity(recipe.teacher)
