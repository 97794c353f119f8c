"""A recipe's student, trained: its data on the device, its teacher's answers, its method and settings."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from edgekd import __version__, distill, pixels, settings, teacher
from edgekd.core.forward import Targets
from edgekd.core.optimizer import Settings
from edgekd.core.parallel import ALONE, Ranks
from edgekd.core.source import Source
from edgekd.data import Dataset
from edgekd.distill import Distilled, Method
from edgekd.keys import logits_key
from edgekd.network import load_student
from edgekd.progress import Listener
from edgekd.recipe import Recipe
from edgekd.teacher import CachePlan


def student(recipe: Recipe, dataset: Dataset, *, folder: Path, key: str, ranks: Ranks, listener: Listener) -> Distilled:
    """Train the recipe's student into `folder`. key: the hash of all that the result depends on."""
    chosen = recipe.distill
    device = pixels.choose_device(chosen.device, local=ranks.local)
    train = settings.training(
        recipe,
        precision=pixels.choose_precision(chosen.precision, device),
        augmentation=settings.augmentation(recipe, dataset),
    )
    source = pixels.place(dataset.train, device, kind=dataset.kind, workers=chosen.workers)
    cache = _cache_plan(recipe, dataset, train)
    with _answers(recipe, dataset, source, train, cache=cache, ranks=ranks, listener=listener) as targets:
        return distill.distill(
            dataset,
            source,
            student=recipe.student.model,
            options=recipe.student.options,
            method=replace(
                settings.method(recipe, classes=len(dataset.classes), multi_label=dataset.multi_label),
                class_weights=settings.class_weights(recipe, dataset),
            ),
            settings=train,
            folder=folder,
            key=key,
            targets=targets,
            label_smoothing=chosen.label_smoothing,
            early_stop_epochs=chosen.early_stop_epochs,
            ranks=ranks,
            facts=_facts(dataset, key, seed=train.seed),
            listener=listener,
        )


def _facts(dataset: Dataset, key: str, *, seed: int) -> dict[str, str | int | float]:
    """What the student's card says of its training; of exclusive classes no task, as before there was another."""
    facts: dict[str, str | int | float] = {"recipe_hash": key, "seed": seed, "edgekd": __version__}
    return facts | {"task": dataset.task} if dataset.multi_label else facts


def quantized(
    recipe: Recipe,
    dataset: Dataset,
    *,
    weights: Path,
    method: Method,
    folder: Path,
    path: Path,
    key: str,
    listener: Listener,
) -> dict[str, Any]:
    """Fine-tune the trained student with fake quantization and write it to `path`; what is to be told of it.

    weights: the student's file. method: as the student learned, its numbers resolved.
    """
    from edgekd import qat
    from edgekd.export import describe

    chosen = recipe.quantize
    network, card = load_student(weights)
    device = pixels.choose_device(recipe.distill.device)
    train = qat.settings_for(
        settings.training(recipe, precision="fp32", augmentation=settings.augmentation(recipe, dataset)),
        epochs=chosen.qat_epochs,
        learning_rate=chosen.qat_learning_rate,
    )
    source = pixels.place(dataset.train, device, kind=dataset.kind, workers=recipe.distill.workers)
    # Not from the cache: its logits are of the student's own training, in its precision.
    with _answers(recipe, dataset, source, train, cache=None, ranks=ALONE, listener=listener) as targets:
        tuned = qat.fine_tune(
            network,
            dataset,
            source,
            method=method,
            settings=train,
            folder=folder,
            key=key,
            targets=targets,
            weight_bits=chosen.qat_weight_bits,
            safe=chosen.portable,
            label_smoothing=recipe.distill.label_smoothing,
            listener=listener,
        )
    layout = recipe.export.input_layout
    task = {"task": dataset.task} if dataset.multi_label else {}
    metadata = describe(network, classes=card.classes, input_layout=layout, recipe_hash=key, **task)
    path.parent.mkdir(parents=True, exist_ok=True)
    made = qat.export_qdq(
        tuned.network, path, dataset.test, opset=recipe.export.opset, input_layout=layout, metadata=metadata
    )
    facts = {field.name: getattr(tuned, field.name) for field in fields(tuned) if field.name != "network"}
    plain = {name: asdict(value) if is_dataclass(value) else value for name, value in facts.items()}  # type: ignore[arg-type]
    return plain | {"history": [asdict(epoch) for epoch in tuned.history]} | asdict(made)


@contextmanager
def _answers(
    recipe: Recipe,
    dataset: Dataset,
    source: Source,
    train: Settings,
    *,
    cache: CachePlan | None,
    ranks: Ranks,
    listener: Listener,
) -> Iterator[Targets | None]:
    """The teacher's answers to the training pictures; None for a method without a teacher."""
    if recipe.distill.method == "ce":
        yield None
        return
    with teacher.answering(
        partial(settings.load_teacher, recipe, dataset, source.device, listener=listener),
        source,
        samples=dataset.train if recipe.teacher is not None and recipe.teacher.by_sample else None,
        classes=len(dataset.classes),
        settings=train,
        cache=cache,
        ranks=ranks,
        listener=listener,
    ) as targets:
        yield targets


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
