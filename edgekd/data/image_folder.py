"""A folder of images in class folders, decoded once into raw pixels."""

import os
from functools import partial
from pathlib import Path

import numpy as np

from edgekd.data.dataset import UNLABELLED, Pool, Samples
from edgekd.data.parts import draw
from edgekd.data.pictures import OTHER_PICTURES, SUFFIXES, stack
from edgekd.data.read_picture import Resize
from edgekd.data.sample_file import SampleFile, of_path
from edgekd.decoded import MEMORY, Storage
from edgekd.errors import BadInputError

UNLABELLED_FOLDERS = ("unlabelled", "unlabeled")
"""Names of a folder, beside the class folders, whose images have no label."""


def read_folder(
    folder: Path,
    *,
    resize: Resize | None,
    channels: int | None,
    classes: tuple[str, ...] | None = None,
    storage: Storage = MEMORY,
) -> Pool:
    """The images anywhere below `folder/CLASS`, or the same below `folder/train` and `folder/test`.

    Images without a label: those in a folder `unlabelled` beside the class folders, and all of a folder (or of
    `train/`) that has images and no folders. The classes are then those of `test/`, else `classes`.

    resize: the size to which all are brought. channels: 1 or 3; None takes 1 when every image is grey.

    Raises:
        BadInputError: no class folders or one whose name is not UTF-8, other folders beside train/ and test/, an
            unreadable image, mixed sizes without `resize`, or images without labels and no classes.
        EnvironmentFault: pillow is not installed.
    """
    parts = folder / "train", folder / "test"
    if not any(part.is_dir() for part in parts):
        names = _class_names([folder], classes)
        samples = _read(folder, names, resize=resize, channels=channels, unlabelled=True, storage=storage)
        return Pool(classes=names, train=samples, original=partial(_original, folder))
    found = _folders(folder)
    if found != ("test", "train"):
        raise BadInputError(
            f"{folder}: found the folders {', '.join(found)}; expected train and test, both and nothing beside them "
            "(the validation split is cut out of train), or class folders alone"
        )
    names = _class_names([*parts], classes)
    kept = partial(_read, classes=names, resize=resize, unlabelled=True, source=folder, storage=storage)
    train = kept(parts[0], channels=channels)
    depth = train.inputs.shape[-1]
    test = kept(parts[1], channels=depth)
    return Pool(classes=names, train=train, test=test, original=partial(_original, folder))


def _original(folder: Path, name: str) -> SampleFile:
    """The picture behind a sample. name: its id, the path below the source."""
    return of_path(folder / name, name)


def _class_names(folders: list[Path], classes: tuple[str, ...] | None) -> tuple[str, ...]:
    """The classes of these parts of a source: their class folders', else those that were given."""
    labelled = [part for part in folders if not is_unlabelled(part)]
    if not labelled:
        if classes is None:
            raise BadInputError(
                f"{folders[0]}: has images and no class folders, so nothing says which classes there are; expected one "
                "folder a class, or data.classes = [...], what the teacher tells apart, in its order"
            )
        return classes
    if classes is not None:
        raise BadInputError(
            f"data.classes is set, but {labelled[0]} has class folders, which say it; remove data.classes"
        )
    names = class_folders(labelled[0])
    if len(labelled) > 1 and class_folders(labelled[1]) != names:
        raise BadInputError(
            f"{folders[0].parent}: train/ has the classes {names}, test/ {class_folders(labelled[1])}; expected the "
            "same"
        )
    return names


def is_unlabelled(folder: Path) -> bool:
    """Whether a folder has images and no class folders."""
    return not [name for name in _folders(folder) if name not in UNLABELLED_FOLDERS] and any(
        path.suffix.lower() in SUFFIXES for path in folder.rglob("*") if path.is_file()
    )


def read_labelled_folder(
    folder: Path,
    *,
    classes: tuple[str, ...] | None,
    resize: Resize | None,
    channels: int | None,
    limit: int | None = None,
) -> Samples:
    """All images below `folder/test` where it exists, else below `folder`, labelled by the order of `classes`.

    limit: decode at most so many, with the same share of every class: those that `edgekd.data.parts.part` draws, with
    its seed 0, out of all.
    """
    root = evaluation_root(folder)
    found = class_folders(root)
    unknown = sorted(set(found) - set(classes)) if classes is not None else []
    if unknown:
        raise BadInputError(f"{root}: folder '{unknown[0]}' is none of the model's classes: {', '.join(classes or ())}")
    return _read(root, classes or found, resize=resize, channels=channels, limit=limit)


def evaluation_root(folder: Path) -> Path:
    """`folder/test` of a folder that has train and test, else the folder itself."""
    return folder / "test" if (folder / "test").is_dir() and (folder / "train").is_dir() else folder


def class_folders(folder: Path) -> tuple[str, ...]:
    """The names of the class folders, sorted: the classes, in the order of their numbers."""
    names = tuple(name for name in _folders(folder) if name not in UNLABELLED_FOLDERS)
    if len(names) < 2:
        raise BadInputError(f"{folder}: found {len(names)} class folder(s); expected one folder a class, at least 2")
    return names


def _folders(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        raise BadInputError(f"{folder}: no such folder; expected a folder with one folder of images a class")
    names = tuple(sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")))
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError as err:  # Linux keeps any bytes as a name; a report, a recipe or JSON does not
            raise BadInputError(
                f"{folder}: found a folder whose name is not UTF-8, {os.fsencode(name)!r}; expected the name of a "
                "class; rename it"
            ) from err
    return names


def _read(
    folder: Path,
    classes: tuple[str, ...],
    *,
    resize: Resize | None,
    channels: int | None,
    limit: int | None = None,
    unlabelled: bool = False,
    source: Path | None = None,
    storage: Storage = MEMORY,
) -> Samples:
    """The images of the class folders, and with `unlabelled` those that have no label.

    source: the folder from which their ids are relative paths; None: this one.
    """
    paths = [(p, k) for k, name in enumerate(classes) for p in _images(folder / name)]
    if unlabelled:
        bare = [folder] if not paths and is_unlabelled(folder) else [folder / name for name in UNLABELLED_FOLDERS]
        paths += [(p, UNLABELLED) for place in bare for p in _images(place)]
    if not paths:
        raise BadInputError(f"{folder}: found no images; expected {', '.join(sorted(SUFFIXES))} in the class folders")
    if limit is not None:
        labels = np.array([k for _, k in paths], dtype=np.int64)
        paths = [paths[place] for place in draw(labels, len(paths), max(1, limit), seed=0)]
    names = [path.relative_to(source or folder).as_posix() for path, _ in paths]
    inputs = stack(
        [(str(path), path) for path, _ in paths],
        resize=resize,
        channels=channels,
        storage=storage,
        source=folder,
        files=[(name, path) for name, (path, _) in zip(names, paths, strict=True)],
    )
    return Samples(inputs=inputs, labels=np.array([k for _, k in paths], dtype=np.int64), ids=np.array(names))


def _images(folder: Path) -> list[Path]:
    """The pictures below a class folder; one in another format is an error: leaving it out would say nothing."""
    found = sorted(p for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else []
    other = [p for p in found if p.suffix.lower() in OTHER_PICTURES]
    if other:
        raise BadInputError(
            f"{other[0]}: found a {other[0].suffix} picture; expected PNG or JPEG; convert or delete it"
        )
    return [p for p in found if p.suffix.lower() in SUFFIXES]
