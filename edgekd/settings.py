"""What a recipe says, as the stages take it: its data, teacher and settings, and the hashes of what they decide."""

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekd import __version__, compete, data, models
from edgekd.data import Dataset
from edgekd.errors import BadInputError
from edgekd.files import sha256
from edgekd.recipe import Recipe
from edgekd.recipe.schema import Section, Student, Teacher
from edgekd.store import key_of

if TYPE_CHECKING:
    from edgekd.core.trainer import Settings
    from edgekd.distill import Method, TeacherFacts
    from edgekd.network import Network


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


def load_teacher(recipe: Recipe, dataset: Dataset) -> "Network | None":
    """The recipe's teacher, checked against the data; None where it has none."""
    from edgekd.distill import load_teacher as load

    chosen = recipe.teacher
    if chosen is None:
        return None
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
    from edgekd import distill

    teacher, network = recipe.teacher, load_teacher(recipe, dataset)
    assert teacher is not None and network is not None
    return distill.measure_teacher(
        network,
        dataset,
        model=teacher.model,
        sha256=sha256(teacher_weights(teacher)),
        rho=rho(recipe, classes=len(dataset.classes)),
        device=distill.choose_device(recipe.distill.device),
    )


def rho(recipe: Recipe, *, classes: int) -> float:
    """The number behind distill.rho."""
    from edgekd.distill import resolve_rho

    return resolve_rho(recipe.distill.rho, classes=classes, normalised_entropy=recipe.distill.rho_entropy)


def method(recipe: Recipe, *, classes: int) -> "Method":
    """The recipe's objective, with the default weight of the method where it sets none."""
    from edgekd.distill import Method

    chosen = recipe.distill
    if chosen.method == "ce":
        return Method(name="ce")
    if chosen.method == "kd":
        weight = 0.9 if chosen.kd_weight is None else chosen.kd_weight
        return Method(name="kd", temperature=chosen.temperature, kd_weight=weight, ce_weight=chosen.ce_weight)
    weight = 8.0 if chosen.kd_weight is None else chosen.kd_weight
    return Method(name="cist", rho=rho(recipe, classes=classes), kd_weight=weight)


def training(recipe: Recipe, *, precision: str) -> "Settings":
    """The recipe's training section as the trainer takes it. precision: `fp32` or `bf16`."""
    from edgekd.core.trainer import Settings

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
        precision=precision,
        crop_padding=recipe.data.crop_padding if "crop" in recipe.data.augment else 0,
        flip="flip" in recipe.data.augment,
        seed=recipe.seed,
    )


def timing(recipe: Recipe) -> compete.Timing:
    """How long the recipe times each file."""
    chosen = recipe.validate_
    return compete.Timing(
        rounds=chosen.rounds,
        seconds=chosen.seconds,
        min_samples=chosen.min_samples,
        batch_size=chosen.batch_size,
    )


def teacher_key(recipe: Recipe, dataset: Dataset) -> str:
    """The hash of all that the teacher's facts depend on, which is nothing that only the student's training sees."""
    import torch

    return key_of(
        "teacher",
        [__version__, torch.__version__, _device(recipe)],
        [_described(recipe.teacher), rho(recipe, classes=len(dataset.classes))],
        [dataset.content_hash, dataset.index_hash, _weights(recipe), *_code(recipe.teacher)],
    )


def weights_key(recipe: Recipe, dataset: Dataset) -> str:
    """The hash of all that decides the student's weights; also the recipe hash inside model.onnx."""
    import torch

    return key_of(
        [__version__, torch.__version__, torch.get_num_threads(), _device(recipe)],
        [recipe.seed, *map(_described, (recipe.data, recipe.teacher, recipe.student, recipe.distill))],
        [dataset.content_hash, dataset.index_hash, _weights(recipe), *_code(recipe.student), *_code(recipe.teacher)],
    )


def _device(recipe: Recipe) -> list[str]:
    """What `auto` comes to here: another device or precision gives other weights."""
    from edgekd.distill import choose_device, choose_precision

    device = choose_device(recipe.distill.device)
    return [device.type, choose_precision(recipe.distill.precision, device)]


def _described(section: Section | None) -> dict[str, Any] | None:
    """A section without where its contents lie: a moved folder is the same data."""
    return None if section is None else section.model_dump(exclude={"source", "weights"})


def _weights(recipe: Recipe) -> str | None:
    return None if recipe.teacher is None else sha256(teacher_weights(recipe.teacher))


def _code(section: Student | Teacher | None) -> list[str]:
    """The hash of a network's code where it is the user's own."""
    return [sha256(Path(section.model.rpartition(":")[0]))] if section and models.is_own(section.model) else []
