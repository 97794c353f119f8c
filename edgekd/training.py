"""A recipe's student, trained: its data on the device, its teacher's answers, its method and settings."""

from contextlib import ExitStack
from functools import partial
from pathlib import Path

from edgekd import __version__, distill, pixels, settings, teacher
from edgekd.core.optimizer import Settings
from edgekd.core.parallel import Ranks
from edgekd.data import Dataset
from edgekd.distill import Distilled
from edgekd.keys import logits_key
from edgekd.progress import Listener
from edgekd.recipe import Recipe
from edgekd.teacher import CachePlan


def student(recipe: Recipe, dataset: Dataset, *, folder: Path, key: str, ranks: Ranks, listener: Listener) -> Distilled:
    """Train the recipe's student into `folder`. key: the hash of all that the result depends on."""
    chosen = recipe.distill
    device = pixels.choose_device(chosen.device, local=ranks.local)
    train = settings.training(recipe, precision=pixels.choose_precision(chosen.precision, device))
    source = pixels.place(dataset.train, device, workers=chosen.workers)
    with ExitStack() as stack:
        targets = None
        if chosen.method != "ce":
            answering = teacher.answering(
                partial(settings.load_teacher, recipe, dataset),
                source,
                classes=len(dataset.classes),
                settings=train,
                cache=_cache_plan(recipe, dataset, train),
                ranks=ranks,
                listener=listener,
            )
            targets = stack.enter_context(answering)
        return distill.distill(
            dataset,
            source,
            student=recipe.student.model,
            options=recipe.student.options,
            method=settings.method(recipe, classes=len(dataset.classes)),
            settings=train,
            folder=folder,
            key=key,
            targets=targets,
            label_smoothing=chosen.label_smoothing,
            early_stop_epochs=chosen.early_stop_epochs,
            ranks=ranks,
            facts={"recipe_hash": key, "seed": train.seed, "edgekd": __version__},
            listener=listener,
        )


def _cache_plan(recipe: Recipe, dataset: Dataset, train: Settings) -> CachePlan | None:
    """Where the teacher's logits are kept; None where the recipe keeps none."""
    chosen = recipe.distill
    if chosen.teacher_cache == "off":
        return None
    return CachePlan(
        folder=settings.cache_folder(recipe) / "teacher-logits",
        key=logits_key(recipe, dataset, train),
        top_k=chosen.cache_top_k,
        limit_bytes=int(chosen.cache_limit_gb * 1e9),
    )
