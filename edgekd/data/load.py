"""From the name of a source to a dataset: a built-in name, a folder, a table, a saved data set or an .npz file."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekd.data import label_sets, read_picture
from edgekd.data.dataset import Dataset, Pool, Samples, split
from edgekd.data.fashion_mnist import read_debian, read_vendored
from edgekd.data.image_folder import read_folder, read_labelled_folder
from edgekd.data.manifest import is_manifest, read_manifest
from edgekd.data.npz import read_npz
from edgekd.data.read_picture import Resize
from edgekd.data.saved_dataset import is_saved_dataset, read_saved_dataset
from edgekd.data.series import holds_series, read_series_npz
from edgekd.data.series_csv import SUFFIXES as TABLES
from edgekd.data.series_csv import Windows, read_series_csv
from edgekd.data.text_source import TextSettings, is_text_source, numbered, read_pool
from edgekd.data.wav_folder import Clips, holds_sound, read_wav_folder
from edgekd.decoded import Storage
from edgekd.errors import BadInputError, nearest

BUILTIN = {"fashion-mnist": read_vendored, "fashion-mnist-full": read_debian}


def load(
    source: str,
    *,
    seed: int = 0,
    resize: Resize | None = None,
    channels: int | None = None,
    classes: tuple[str, ...] | None = None,
    validation_fraction: float = 0.1,
    calibration_samples: int = 500,
    test_fraction: float = 0.2,
    train_samples: int | None = None,
    series: Windows | None = None,
    audio: Clips | None = None,
    text: TextSettings | None = None,
    task: str = "auto",
    label_separator: str | None = None,
    storage: Storage | None = None,
) -> Dataset:
    """The source in four splits. `source` is a built-in name or an absolute or relative path.

    resize: the size of every picture, for image files. channels: 1 or 3, for image files. classes: names, for .npz,
    tables, and images without labels. series: for tables of readings. audio: for folders of WAV files. text: for tables
    of texts. One that the source does not take is an error. task: `classes`, one a sample; `multi-label`, as many as it
    has; `auto`: several where the source's labels can be nothing else, arrays (n, K) or lists of classes.
    label_separator: between the labels of a cell of a multi-label task. storage: where the decoded samples stay; None:
    in memory what fits there, else in a file.

    Raises:
        BadInputError: the source's labels are of another task, or the source is missing, unreadable or cannot be split.
        EnvironmentFault: a package that the source needs is not installed.
    """
    texts: Sequence[str] | None = None
    separator = label_separator or label_sets.SEPARATOR if task == "multi-label" else None
    storage = storage or Storage()
    if source not in BUILTIN and series is None and (text is not None or is_text_source(Path(source))):
        _refuse(source, resize=resize, channels=channels, audio=audio)
        pool, texts = read_pool(
            Path(source), text or TextSettings(), classes=classes, separator=separator, storage=storage
        )
    else:
        _refuse(source, text=text)
        pool = _pool(
            source,
            resize=resize,
            channels=channels,
            classes=classes,
            series=series,
            audio=audio,
            separator=separator,
            storage=storage,
        )
        pool = replace(pool, front=_facts(pool, resize))
    _check_task(pool, task, source)
    dataset = split(
        pool,
        source=source,
        seed=seed,
        validation_fraction=validation_fraction,
        calibration_samples=calibration_samples,
        test_fraction=test_fraction,
        train_samples=train_samples,
    )
    return dataset if texts is None else numbered(dataset, texts, text or TextSettings(), storage=storage)


def _pool(  # noqa: PLR0911  one return for each kind of source
    source: str,
    *,
    resize: Resize | None,
    channels: int | None,
    classes: tuple[str, ...] | None,
    series: Windows | None,
    audio: Clips | None,
    separator: str | None,
    storage: Storage,
) -> Pool:
    path = Path(source)
    if series is not None and path.suffix.lower() in TABLES and path.is_file():
        _refuse(source, resize=resize, channels=channels, audio=audio)
        return read_series_csv(path, series, classes=classes, storage=storage)
    _refuse(source, series=series)
    if source not in BUILTIN and path.is_dir() and not is_saved_dataset(path) and holds_sound(path):
        _refuse(source, resize=resize, channels=channels, classes=classes)
        return read_wav_folder(path, audio or Clips(), storage=storage)
    _refuse(source, audio=audio)
    if source in BUILTIN:
        _refuse(source, resize=resize, channels=channels, classes=classes)
        return BUILTIN[source]()
    if path.is_dir() and is_saved_dataset(path):
        return read_saved_dataset(path, resize=resize, channels=channels, classes=classes, storage=storage)
    if path.is_dir():
        return read_folder(path, resize=resize, channels=channels, classes=classes, storage=storage)
    if is_manifest(path):
        return read_manifest(
            path, resize=resize, channels=channels, classes=classes, separator=separator, storage=storage
        )
    if path.suffix == ".npz" and path.is_file():
        _refuse(source, resize=resize, channels=channels)
        read = read_series_npz if holds_series(path) else read_npz
        return read(path, classes=classes, storage=storage)
    known = ", ".join(BUILTIN)
    raise BadInputError(
        f"data source '{source}' is neither a folder, nor an .npz file, nor a table of images (.csv, .tsv or .parquet "
        f"with a column 'path'), nor a table of readings (set data.series.window), nor a file of texts (.csv, .tsv or "
        f".jsonl with a column 'text'), nor one of: {known}"
        f"{nearest(path.name, list(BUILTIN))}"  # the last part: recipes make every path absolute
    )


def _facts(pool: Pool, resize: Resize | None) -> dict[str, Any]:
    """What has to be known to make the same numbers of the same file elsewhere."""
    shape = pool.train.inputs.shape[1:]
    if pool.kind == "image":
        return read_picture.describe(shape, resize=resize)
    return {**pool.front, ("length" if pool.kind == "series" else "samples"): shape[0]}


def _check_task(pool: Pool, task: str, source: str) -> None:
    if task not in ("auto", pool.task):
        if pool.task == "multi-label":
            raise BadInputError(
                f"data.task = 'classes', and {source} has several classes a sample: set task = 'multi-label', or leave "
                "it out"
            )
        raise BadInputError(
            f"data.task = 'multi-label', and {source} says one class a sample; expected an .npz whose y is (n, K) of 0 "
            "and 1, a table of images or a file of texts with labels such as cat;dog in a cell, or a saved data set "
            "with a Sequence of ClassLabel. Folders of class folders cannot say it"
        )


def _refuse(source: str, **settings: object) -> None:
    """An error for the first of these settings that is set: this kind of source has no use for it."""
    for name, value in settings.items():
        if value is not None:
            raise BadInputError(f"data.{name} is set, but {source} is not a source that takes it; remove data.{name}")


def load_labelled(
    folder: Path, *, classes: tuple[str, ...] | None, resize: Resize | None, channels: int | None
) -> Samples:
    """All images of a folder of class folders (its `test/` where it has one), labelled in the order of `classes`.

    Without `classes`, in the sorted order of the folders.
    """
    return read_labelled_folder(folder, classes=classes, resize=resize, channels=channels)
