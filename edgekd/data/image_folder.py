"""A folder of images in class folders, decoded once into raw pixels."""

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekd.data.dataset import Pool, Samples
from edgekd.data.parts import draw
from edgekd.errors import BadInputError, EnvironmentFault

SUFFIXES = {".png", ".jpg", ".jpeg"}
OTHER_PICTURES = {".bmp", ".gif", ".heic", ".tif", ".tiff", ".webp"}


def read_folder(folder: Path, *, resize: tuple[int, int] | None, channels: int | None) -> Pool:
    """The images anywhere below `folder/CLASS`, or the same below `folder/train` and `folder/test`.

    resize: (height, width), bilinear with antialiasing. channels: 1 or 3; None takes 1 when every image is grey.

    Raises:
        BadInputError: no class folders or one whose name is not UTF-8, other folders beside train/ and test/, an
            unreadable image, mixed sizes without `resize`.
        EnvironmentFault: pillow is not installed.
    """
    parts = folder / "train", folder / "test"
    if not any(part.is_dir() for part in parts):
        classes = class_folders(folder)
        samples = _read(folder, classes, resize=resize, channels=channels)
        return Pool(classes=classes, train=samples)
    names = _folders(folder)
    if names != ("test", "train"):
        raise BadInputError(
            f"{folder}: found the folders {', '.join(names)}; expected train and test, both and nothing beside them "
            "(the validation split is cut out of train), or class folders alone"
        )
    classes = class_folders(parts[0])
    if class_folders(parts[1]) != classes:
        raise BadInputError(
            f"{folder}: train/ has the classes {classes}, test/ {class_folders(parts[1])}; expected the same"
        )
    train = _read(parts[0], classes, resize=resize, channels=channels)
    test = _read(parts[1], classes, resize=resize, channels=train.images.shape[-1])
    return Pool(classes=classes, train=train, test=test)


def read_labelled_folder(
    folder: Path,
    *,
    classes: tuple[str, ...] | None,
    resize: tuple[int, int] | None,
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
    names = _folders(folder)
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
    resize: tuple[int, int] | None,
    channels: int | None,
    limit: int | None = None,
) -> Samples:
    paths = [(p, k) for k, name in enumerate(classes) for p in _images(folder / name)]
    if not paths:
        raise BadInputError(f"{folder}: found no images; expected {', '.join(sorted(SUFFIXES))} in the class folders")
    if limit is not None:
        labels = np.array([k for _, k in paths], dtype=np.int64)
        paths = [paths[place] for place in draw(labels, len(paths), max(1, limit), seed=0)]
    pictures = [_decode(path, resize) for path, _ in paths]
    depth = channels or max(1 if picture.ndim == 2 else 3 for picture in pictures)
    pictures = [_with_channels(picture, depth) for picture in pictures]
    for (path, _), picture in zip(paths, pictures, strict=True):
        if picture.shape != pictures[0].shape:
            raise BadInputError(
                f"{path} is {picture.shape[1]}x{picture.shape[0]} pixels, {paths[0][0]} is "
                f"{pictures[0].shape[1]}x{pictures[0].shape[0]}; set data.resize = [height, width]"
            )
    return Samples(images=np.stack(pictures), labels=np.array([k for _, k in paths], dtype=np.int64))


def _images(folder: Path) -> list[Path]:
    """The pictures below a class folder; one in another format is an error: leaving it out would say nothing."""
    found = sorted(p for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else []
    other = [p for p in found if p.suffix.lower() in OTHER_PICTURES]
    if other:
        raise BadInputError(
            f"{other[0]}: found a {other[0].suffix} picture; expected PNG or JPEG; convert or delete it"
        )
    return [p for p in found if p.suffix.lower() in SUFFIXES]


def _decode(path: Path, resize: tuple[int, int] | None) -> npt.NDArray[np.uint8]:
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError as err:
        raise EnvironmentFault('a folder of images needs pillow; install it: pip install "edgekd[train]"') from err
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            if image.mode.startswith("I"):  # Pillow would clip all above 255 to white
                raise BadInputError(f"{path}: has 16 bits a pixel; expected 8, as a camera gives; convert the file")
            upright = ImageOps.exif_transpose(image)  # as every viewer shows it
            picture: Image.Image = upright.convert("L" if image.mode in ("L", "LA", "1") else "RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as err:
        raise BadInputError(f"{path}: not a readable PNG or JPEG ({err}); replace or delete the file") from err
    if resize is not None and (picture.height, picture.width) != resize:
        picture = picture.resize((resize[1], resize[0]), Image.Resampling.BILINEAR)
    return np.asarray(picture, dtype=np.uint8)


def _with_channels(picture: npt.NDArray[np.uint8], channels: int) -> npt.NDArray[np.uint8]:
    if picture.ndim == 2:
        return np.repeat(picture[..., None], channels, axis=-1)
    if channels == 3:
        return picture
    # ITU-R 601 luma, as Pillow's own conversion to "L".
    luma = picture @ np.array([299, 587, 114]) / 1000
    grey: npt.NDArray[np.uint8] = np.round(luma).astype(np.uint8)
    return grey[..., None]
