"""What a recipe says, as the stages take it: its data, teacher, method and settings."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgekd import compete, data, models, teacher_kinds
from edgekd.data import Dataset, label_sets
from edgekd.data.read_picture import Resize
from edgekd.data.reading import Reading
from edgekd.data.series_csv import Windows
from edgekd.data.text import Columns
from edgekd.data.text_source import TextSettings
from edgekd.data.wav_folder import Clips
from edgekd.decoded import Storage
from edgekd.errors import BadInputError
from edgekd.progress import Listener, silent
from edgekd.quantize import Wanted
from edgekd.recipe import Recipe, data_of
from edgekd.recipe.audio import Audio
from edgekd.recipe.distill import Distill
from edgekd.recipe.schema import Data
from edgekd.recipe.series import Series
from edgekd.recipe.text import Text
from edgekd.store import cache_home
from edgekd.teachers import OpenTeacher

if TYPE_CHECKING:
    import torch

    from edgekd.core.augment import Augmenting, Viewed
    from edgekd.core.optimizer import Settings
    from edgekd.distill import Method
    from edgekd.network import Network
    from edgekd.teacher import TeacherFacts


def check_models(recipe: Recipe) -> None:
    """Refuse an unknown network, or missing weights, before the data is read. Raises BadInputError."""
    teacher_kinds.check_model(recipe.student.model, recipe.student.options)
    if recipe.teacher is not None:
        teacher_kinds.check(recipe.teacher)


def load_data(recipe: Recipe, *, listener: Listener = silent) -> Dataset:
    """The recipe's data in four splits."""
    chosen = recipe.data
    return data.load(
        chosen.source,
        seed=recipe.seed,
        resize=_resize(chosen),
        channels=chosen.channels,
        classes=chosen.classes,
        validation_fraction=chosen.validation_fraction,
        calibration_samples=chosen.calibration_samples,
        test_fraction=chosen.test_fraction,
        train_samples=chosen.train_samples,
        series=None if chosen.series is None or not chosen.series.cuts else _windows(chosen.series),
        audio=None if chosen.audio is None else _clips(chosen.audio),
        text=None if chosen.text is None else _texts(chosen.text),
        task=chosen.task,
        label_separator=chosen.label_separator,
        storage=Storage(mode=chosen.storage, folder=cache_folder(recipe) / "decoded", listener=listener),
    )


def reading(source: Path, overrides: tuple[str, ...]) -> Reading:
    """How to read `source` for a network that is there already. overrides: `data.key=value`, as `--set` takes them."""
    chosen = data_of(str(source), overrides)
    return Reading(
        task=chosen.task,
        classes=chosen.classes,
        separator=chosen.label_separator or label_sets.SEPARATOR if chosen.task == "multi-label" else None,
        resize=_resize(chosen),
        series=None if chosen.series is None else _windows(chosen.series),
        audio=None if chosen.audio is None else _clips(chosen.audio),
        text=None if chosen.text is None else _texts(chosen.text),
        given=tuple(override.partition("=")[0].strip() for override in overrides),
    )


def _resize(chosen: Data) -> Resize | None:
    if chosen.resize is None:
        return None
    return Resize(*chosen.resize, filter=chosen.resize_filter, mode=chosen.resize_mode)


def _texts(chosen: Text) -> TextSettings:
    return TextSettings(
        columns=Columns(text=chosen.column, label=chosen.label_column, id=chosen.id_column, group=chosen.group_column),
        max_tokens=chosen.max_tokens,
        tokenizer=None if chosen.tokenizer is None else Path(chosen.tokenizer),
        vocabulary_size=chosen.vocabulary_size,
        lowercase=chosen.lowercase,
    )


def _windows(chosen: Series) -> Windows:
    return Windows(**chosen.model_dump(include={"columns", "label", "group", "id", "window", "stride"}))


def _clips(chosen: Audio) -> Clips:
    keys = chosen.model_dump(exclude={"shift_ms", "noise", "group_file"})
    return Clips(**keys, group_file=None if chosen.group_file is None else Path(chosen.group_file))


def load_teacher(
    recipe: Recipe, dataset: Dataset, device: "torch.device", *, listener: Listener = silent
) -> "Network | OpenTeacher":
    """The recipe's teacher, checked against the data; the recipe has one. A plain network comes as itself."""
    chosen = recipe.teacher
    assert chosen is not None
    if chosen.kind == "network":
        return teacher_kinds.load_network(chosen, dataset)
    return teacher_kinds.open_teacher(chosen, dataset, device, listener=listener)


def teacher_facts(recipe: Recipe, dataset: Dataset, *, listener: Listener = silent) -> "TeacherFacts":
    """What the recipe's teacher is worth on the data. Raises BadInputError where it is at chance."""
    from edgekd import pixels, teacher

    chosen = recipe.teacher
    assert chosen is not None
    device = pixels.choose_device(recipe.distill.device)
    opened = load_teacher(recipe, dataset, device, listener=listener)
    return teacher.measure_teacher(
        opened,
        dataset,
        model=opened.name if isinstance(opened, OpenTeacher) else str(chosen.model),
        sha256=teacher_kinds.content_hash(chosen),
        device=device,
    )


def check_kind(recipe: Recipe, dataset: Dataset) -> None:
    """Refuse networks that are not for the data's kind, or need longer windows. Raises BadInputError."""
    length = dataset.input_shape[0] if dataset.kind == "series" else None
    models.check_kind(recipe.student.model, kind=dataset.kind, length=length)
    if recipe.teacher is not None:
        teacher_kinds.check_kind(recipe.teacher, kind=dataset.kind, length=length)


def check_labels(recipe: Recipe, dataset: Dataset) -> None:
    """Refuse what needs labels that the data does not have. Raises BadInputError."""
    from edgekd.core.methods import NEED_EVERY_LABEL

    chosen, unlabelled = recipe.distill, dataset.unlabelled()["train"]
    found = f"{unlabelled} of {len(dataset.train)} training samples have no label"
    if unlabelled and chosen.method in NEED_EVERY_LABEL:
        raise BadInputError(
            f"{found}, and method = '{chosen.method}' treats the true class apart; give all a label, or take another "
            "method, such as 'cist' or 'kd'"
        )
    if unlabelled == len(dataset.train):
        needing = {
            "distill.method = 'ce'": chosen.method == "ce",
            "data.balance = 'sample'": recipe.data.balance != "none",
            f"distill.class_weights = {chosen.class_weights!r}": chosen.class_weights != "none",
        }
        for key, asked in needing.items():
            if asked:
                raise BadInputError(f"{found}, and {key} needs labels; bring some, or distill without ('cist', 'kd')")
    if chosen.early_stop_epochs is not None and dataset.validation.known_labels is None:
        raise BadInputError(
            "distill.early_stop_epochs looks at validation accuracy, and the validation split has no labels; remove "
            "it, or bring labelled samples"
        )
    class_weights(recipe, dataset)


def check_task(recipe: Recipe, dataset: Dataset) -> None:
    """Refuse what a multi-label task has no form of. Raises BadInputError."""
    from edgekd.core.methods import BINARY, check_multi_label

    if not dataset.multi_label:
        return
    chosen = recipe.distill
    try:
        check_multi_label(chosen.method)
    except BadInputError as err:
        raise BadInputError(f"distill.method: {err}") from err
    told = f"{recipe.data.source} is multi-label"
    if recipe.data.balance != "none":
        raise BadInputError(
            f"data.balance = '{recipe.data.balance}', and {told}: samples of several classes cannot be drawn equally "
            "often for each; remove it, and set distill.class_weights = 'balanced'"
        )
    if chosen.label_smoothing:
        raise BadInputError(
            f"distill.label_smoothing spreads one class over all, and {told}; remove it (methods: {', '.join(BINARY)})"
        )
    if chosen.teacher_cache == "top-k":
        raise BadInputError(
            f"distill.teacher_cache = 'top-k' drops small logits, and {told}: every logit is a decision; take 'fp16'"
        )


def predicted(predictions: Sequence[Any], dataset: Dataset) -> npt.NDArray[Any]:
    """What a teacher said of the test samples, as files are compared with it: (n,) classes, or (n, K) bool, sets."""
    if not dataset.multi_label:
        return np.array(predictions)
    sets = np.zeros((len(predictions), len(dataset.classes)), dtype=np.bool_)
    for row, numbers in enumerate(predictions):
        sets[row, list(numbers)] = True
    return sets


def class_weights(recipe: Recipe, dataset: Dataset) -> tuple[float, ...] | None:
    """The weight of each class in the label term; None: all 1. Raises BadInputError where there are too many or few."""
    import torch

    from edgekd.core.balance import inverse_frequencies, negatives_per_positive

    chosen = recipe.distill.class_weights
    if chosen == "none":
        return None
    if chosen == "balanced" and dataset.multi_label:
        return negatives_per_positive(torch.from_numpy(dataset.train.labels))
    if chosen == "balanced":
        return inverse_frequencies(torch.from_numpy(dataset.train.labels), len(dataset.classes))
    if len(chosen) != len(dataset.classes):
        raise BadInputError(
            f"distill.class_weights has {len(chosen)} numbers; expected {len(dataset.classes)}, one for each of: "
            f"{', '.join(dataset.classes)}"
        )
    return tuple(chosen)


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


def method(recipe: Recipe, *, classes: int, multi_label: bool = False) -> "Method":
    """The recipe's objective: the knobs that it sets, over the method's own defaults.

    multi_label: each class is then a softmax of two, itself and 0, whatever `classes` is.
    """
    from edgekd.core import methods
    from edgekd.distill import Method

    chosen = recipe.distill
    own = methods.defaults(chosen.method, multi_label=multi_label)
    classes = 2 if multi_label else classes
    given = {name: getattr(chosen, KEY_OF_KNOB.get(name, name), None) for name in own}
    knobs: dict[str, float] = own | {name: value for name, value in given.items() if value is not None}
    if "rho" in own or (multi_label and chosen.method == "cist"):
        knobs["rho"] = rho(recipe, classes=classes)
    if chosen.method == "entropy":
        knobs |= _entropy_target(chosen, classes=classes)
    return Method(name=chosen.method, knobs=knobs, multi_label=multi_label)


KEY_OF_KNOB = {"warmup_epochs": "kd_warmup_epochs"}
"""Knob of a loss -> its key in [distill], where a plainer name is taken there."""


def _entropy_target(chosen: Distill, *, classes: int) -> dict[str, float]:
    if chosen.match_fixed is not None:
        return {"match_fixed": chosen.match_fixed}
    nats = chosen.entropy * math.log(classes) if chosen.entropy_nats is None else chosen.entropy_nats
    if nats >= math.log(classes):
        raise BadInputError(
            f"distill.entropy_nats is {nats:g}; {classes} classes have at most ln {classes} = {math.log(classes):.3f} "
            "nats, expected less"
        )
    return {"target_nats": nats}


def augmentation(recipe: Recipe, dataset: Dataset) -> "Augmenting[Viewed]":
    """What training does to each sample. Raises BadInputError where the recipe asks for what is for other data."""
    from edgekd.core.augment import Augmentation

    chosen = recipe.data
    if dataset.kind != "image":
        if chosen.augment not in ("auto", "none"):
            raise BadInputError(
                f"data.augment = '{chosen.augment}' is for images, and {chosen.source} holds data of kind "
                f"{dataset.kind}; set augment = 'none', or remove it and see [data.{dataset.kind}]"
            )
        if recipe.distill.mixup or recipe.distill.cutmix:
            raise BadInputError(
                f"distill.mixup and cutmix mix images, and {chosen.source} holds data of kind {dataset.kind}; remove "
                "them"
            )
        return AUGMENTATIONS[dataset.kind](recipe, dataset)
    wanted = "crop-flip" if chosen.augment == "auto" else chosen.augment
    return Augmentation(
        crop_padding=chosen.crop_padding if "crop" in wanted else 0,
        flip="flip" in wanted,
        mixup=recipe.distill.mixup,
        cutmix=recipe.distill.cutmix,
    )


def _series_augmentation(recipe: Recipe, dataset: Dataset) -> "Augmenting[Viewed]":
    from edgekd.core.augment_series import SeriesAugmentation
    from edgekd.pixels import channel_statistics

    chosen = recipe.data.series or Series()
    if recipe.data.augment == "none":
        return SeriesAugmentation()
    mean, deviation = channel_statistics(dataset)
    return SeriesAugmentation(
        jitter=chosen.jitter, scaling=chosen.scaling, shift=chosen.shift, mean=mean, deviation=deviation
    )


def _audio_augmentation(recipe: Recipe, dataset: Dataset) -> "Augmenting[Viewed]":
    from edgekd.core.augment_audio import AudioAugmentation

    chosen = recipe.data.audio or Audio()
    if recipe.data.augment == "none":
        return AudioAugmentation()
    shift = round(chosen.shift_ms / 1000 * dataset.front["sample_rate"])
    return AudioAugmentation(shift=min(shift, dataset.input_shape[0] - 1), noise=chosen.noise)


def _text_augmentation(recipe: Recipe, dataset: Dataset) -> "Augmenting[Viewed]":
    from edgekd.core.augment_text import TextAugmentation

    chosen = recipe.data.text or Text()
    return TextAugmentation(dropout=0.0 if recipe.data.augment == "none" else chosen.token_dropout)


AUGMENTATIONS: dict[str, Callable[[Recipe, Dataset], "Augmenting[Viewed]"]] = {
    "series": _series_augmentation,
    "audio": _audio_augmentation,
    "text": _text_augmentation,
}
"""Kind of data, other than images -> what training does to its samples."""


def training(recipe: Recipe, *, precision: str, augmentation: "Augmenting[Viewed]") -> "Settings":
    """The recipe's training section as the trainer takes it. precision: `fp32` or `bf16`."""
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
        augmentation=augmentation,
        balance=recipe.data.balance == "sample",
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
