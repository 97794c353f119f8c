"""What a recipe says, as the stages take it: its data, teacher, method and settings."""

import math
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from edgekd import compete, data, models
from edgekd.data import Dataset
from edgekd.errors import BadInputError
from edgekd.files import sha256
from edgekd.quantize import Wanted
from edgekd.recipe import Recipe
from edgekd.recipe.distill import Distill
from edgekd.recipe.schema import Teacher
from edgekd.store import cache_home

if TYPE_CHECKING:
    from edgekd.core.optimizer import Settings
    from edgekd.distill import Method
    from edgekd.network import Network
    from edgekd.teacher import TeacherFacts


def check_models(recipe: Recipe) -> None:
    """Refuse an unknown network, or missing weights, before the data is read. Raises BadInputError."""
    for section in (recipe.student, recipe.teacher):
        if section is not None and models.is_own(section.model):
            check_own(section.model)
        elif section is not None:
            models.check_name(section.model, options=section.options)
    if recipe.teacher is not None:
        teacher_weights(recipe.teacher)


def check_own(model: str) -> None:
    """Refuse a network of the user's own whose file is not there. Raises BadInputError."""
    path, _, attribute = model.rpartition(":")
    if not attribute or not Path(path).is_file():
        raise BadInputError(f"model '{model}': no such file; expected path/to/file.py:callable")


def load_data(recipe: Recipe) -> Dataset:
    """The recipe's data in four splits."""
    chosen = recipe.data
    return data.load(
        chosen.source,
        seed=recipe.seed,
        resize=chosen.resize,
        channels=chosen.channels,
        classes=chosen.classes,
        validation_fraction=chosen.validation_fraction,
        calibration_samples=chosen.calibration_samples,
        test_fraction=chosen.test_fraction,
        train_samples=chosen.train_samples,
    )


def teacher_weights(teacher: Teacher) -> Path:
    """The file behind teacher.weights.

    Raises:
        BadInputError: it is missing, or no teacher of that name ships with edgekd.
    """
    weights = teacher.weights
    if not weights.startswith("builtin:"):
        if not Path(weights).is_file():
            raise BadInputError(f"teacher.weights {weights}: no such file; expected a .safetensors file")
        return Path(weights)
    folder = Path(str(files("edgekd.models")))
    path = folder / f"{weights.removeprefix('builtin:')}.safetensors"
    if not path.is_file():
        known = ", ".join(sorted(f"builtin:{p.stem}" for p in folder.glob("*.safetensors"))) or "none"
        raise BadInputError(f"teacher.weights = '{weights}' does not ship with edgekd; known: {known}")
    return path


def load_teacher(recipe: Recipe, dataset: Dataset) -> "Network":
    """The recipe's teacher, checked against the data; the recipe has one."""
    from edgekd.teacher import load_teacher as load

    chosen = recipe.teacher
    assert chosen is not None
    return load(
        teacher_weights(chosen),
        dataset,
        model=chosen.model,
        options=chosen.options,
        mean=chosen.mean,
        std=chosen.std,
    )


def teacher_facts(recipe: Recipe, dataset: Dataset) -> "TeacherFacts":
    """What the recipe's teacher is worth on the data. Raises BadInputError where it is at chance."""
    from edgekd import pixels, teacher

    assert recipe.teacher is not None
    return teacher.measure_teacher(
        load_teacher(recipe, dataset),
        dataset,
        model=recipe.teacher.model,
        sha256=sha256(teacher_weights(recipe.teacher)),
        device=pixels.choose_device(recipe.distill.device),
    )


def wanted(recipe: Recipe, *, variants: tuple[str, ...], limits: Mapping[str, float]) -> Wanted:
    """What the search for variants may do. limits: the gate's, which say how much accuracy may be lost."""
    chosen = recipe.quantize
    return Wanted(
        variants=variants,
        method=None if chosen.calibration_method == "auto" else chosen.calibration_method,
        per_channel=None if chosen.per_channel == "auto" else chosen.per_channel,
        portable=chosen.portable,
        saturation=chosen.saturation,
        tolerable_drop=compete.tolerable_drop(limits),
        smallest_sqnr_db=limits.get("min_sqnr_db"),
        budget_seconds=chosen.time_budget,
        max_memory_bytes=chosen.max_memory_bytes,
    )


def rho(recipe: Recipe, *, classes: int) -> float:
    """The number behind distill.rho."""
    from edgekd.core import auto_rho

    chosen = recipe.distill
    return auto_rho(classes, normalised_entropy=chosen.rho_entropy) if chosen.rho == "auto" else float(chosen.rho)


def method(recipe: Recipe, *, classes: int) -> "Method":
    """The recipe's objective: the knobs that it sets, over the method's own defaults."""
    from edgekd.core import methods
    from edgekd.distill import Method

    chosen = recipe.distill
    own = methods.defaults(chosen.method)
    given = {name: getattr(chosen, KEY_OF_KNOB.get(name, name), None) for name in own}
    knobs: dict[str, float] = own | {name: value for name, value in given.items() if value is not None}
    if "rho" in own:
        knobs["rho"] = rho(recipe, classes=classes)
    if chosen.method == "entropy":
        knobs |= _entropy_target(chosen, classes=classes)
    return Method(name=chosen.method, knobs=knobs)


KEY_OF_KNOB = {"warmup_epochs": "kd_warmup_epochs"}
"""Knob of a loss -> its key in [distill], where a plainer name is taken there."""


def _entropy_target(chosen: Distill, *, classes: int) -> dict[str, float]:
    if chosen.match_fixed is not None:
        return {"match_fixed": chosen.match_fixed}
    nats = chosen.entropy * math.log(classes) if chosen.entropy_nats is None else chosen.entropy_nats
    if nats >= math.log(classes):
        raise BadInputError(
            f"distill.entropy_nats is {nats}; {classes} classes have at most ln {classes} = {math.log(classes):.3f} "
            "nats, expected less"
        )
    return {"target_nats": nats}


def training(recipe: Recipe, *, precision: str) -> "Settings":
    """The recipe's training section as the trainer takes it. precision: `fp32` or `bf16`."""
    from edgekd.core.augment import Augmentation
    from edgekd.core.optimizer import Settings

    chosen = recipe.distill
    return Settings(
        epochs=chosen.epochs,
        batch_size=chosen.batch_size,
        optimizer=chosen.optimizer,
        learning_rate=chosen.learning_rate,
        momentum=chosen.momentum,
        weight_decay=chosen.weight_decay,
        schedule=chosen.schedule,
        warmup_epochs=chosen.warmup_epochs,
        milestones=chosen.milestones,
        step_factor=chosen.step_factor,
        clip_norm=chosen.clip_norm,
        ema_decay=chosen.ema_decay,
        accumulate=chosen.accumulate,
        precision=precision,
        channels_last=chosen.channels_last,
        compile=chosen.compile,
        max_skipped=chosen.max_skipped_steps,
        augmentation=Augmentation(
            crop_padding=recipe.data.crop_padding if "crop" in recipe.data.augment else 0,
            flip="flip" in recipe.data.augment,
            mixup=chosen.mixup,
            cutmix=chosen.cutmix,
        ),
        views=min(chosen.n_views, chosen.epochs),  # more are never seen
        seed=recipe.seed if chosen.seed is None else chosen.seed,
        view_seed=recipe.seed,
    )


def cache_folder(recipe: Recipe) -> Path:
    """Where teachers' logits and facts are kept for every run: the recipe's, $EDGEKD_CACHE, or the user's cache."""
    return cache_home(recipe.distill.cache_folder)


def timing(recipe: Recipe) -> compete.Timing:
    """How long the recipe times each file."""
    chosen = recipe.validate_
    return compete.Timing(
        rounds=chosen.rounds,
        seconds=chosen.seconds,
        min_samples=chosen.min_samples,
        batch_size=chosen.batch_size,
    )
