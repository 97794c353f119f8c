"""From the name of a source to a dataset: a built-in name, a folder of images, or an .npz file."""

from pathlib import Path

from edgekd.data.dataset import Dataset, Pool, Samples, split
from edgekd.data.fashion_mnist import read_debian, read_vendored
from edgekd.data.image_folder import read_folder, read_labelled_folder
from edgekd.data.npz import read_npz
from edgekd.errors import BadInputError, nearest

BUILTIN = {"fashion-mnist": read_vendored, "fashion-mnist-full": read_debian}


def load(
    source: str,
    *,
    seed: int = 0,
    resize: tuple[int, int] | None = None,
    channels: int | None = None,
    classes: tuple[str, ...] | None = None,
    validation_fraction: float = 0.1,
    calibration_samples: int = 500,
    test_fraction: float = 0.2,
    train_samples: int | None = None,
) -> Dataset:
    """The source in four splits. `source` is a built-in name or an absolute or relative path.

    resize: (height, width) in pixels, for folders. channels: 1 or 3, for folders. classes: names, for .npz. One that
    the source does not take is an error.

    Raises:
        BadInputError: the source is missing, unreadable or cannot be split.
        EnvironmentFault: a package that the source needs is not installed.
    """
    return split(
        _pool(source, resize=resize, channels=channels, classes=classes),
        source=source,
        seed=seed,
        validation_fraction=validation_fraction,
        calibration_samples=calibration_samples,
        test_fraction=test_fraction,
        train_samples=train_samples,
    )


def _pool(
    source: str, *, resize: tuple[int, int] | None, channels: int | None, classes: tuple[str, ...] | None
) -> Pool:
    path = Path(source)
    if source in BUILTIN:
        _refuse(source, resize=resize, channels=channels, classes=classes)
        return BUILTIN[source]()
    if path.is_dir():
        _refuse(source, classes=classes)
        return read_folder(path, resize=resize, channels=channels)
    if path.suffix == ".npz" and path.is_file():
        _refuse(source, resize=resize, channels=channels)
        return read_npz(path, classes=classes)
    known = ", ".join(BUILTIN)
    raise BadInputError(
        f"data source '{source}' is neither a folder, nor an .npz file, nor one of: {known}"
        f"{nearest(path.name, list(BUILTIN))}"  # the last part: recipes make every path absolute
    )


def _refuse(source: str, **settings: object) -> None:
    """An error for the first of these settings that is set: this kind of source has no use for it."""
    for name, value in settings.items():
        if value is not None:
            raise BadInputError(f"data.{name} is set, but {source} is not a source that takes it; remove data.{name}")


def load_labelled(
    folder: Path, *, classes: tuple[str, ...] | None, resize: tuple[int, int] | None, channels: int | None
) -> Samples:
    """All images of a folder of class folders (its `test/` where it has one), labelled in the order of `classes`.

    Without `classes`, in the sorted order of the folders.
    """
    return read_labelled_folder(folder, classes=classes, resize=resize, channels=channels)
