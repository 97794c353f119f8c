"""Picture files, or their bytes, as raw pixels of one size."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekd.data import read_picture
from edgekd.data.read_picture import Resize
from edgekd.decoded import MEMORY, Storage
from edgekd.decoded.storage import File
from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.rows import CHUNK_BYTES, Inputs

SUFFIXES = {".png", ".jpg", ".jpeg"}
OTHER_PICTURES = {".bmp", ".gif", ".heic", ".tif", ".tiff", ".webp"}

NO_PILLOW = 'image files need pillow; install it: pip install "edgekd[train]"'

ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)
"""EXIF's tag, and its values by which height and width change places (CIPA DC-008, 4.6.5.1.6)."""

DECODERS = 8
"""Threads at most that decode into a file: Pillow decodes outside of Python's lock."""

Picture = tuple[str, Path | BytesIO]
"""The name that errors call it by, and its file or the file's bytes."""


def stack(
    pictures: Sequence[Picture],
    *,
    resize: Resize | None,
    channels: int | None,
    storage: Storage = MEMORY,
    source: Path = Path(),
    files: Sequence[File] = (),
) -> Inputs:
    """(n, height, width, channels) uint8 of pictures, in memory or where `storage` keeps them.

    resize: the size to which all are brought. channels: 1 or 3; None takes 1 when every picture is grey. source, files:
    what they come from, for `storage`.

    Raises:
        BadInputError: an unreadable picture, or mixed sizes without `resize`.
        EnvironmentFault: pillow is not installed.
    """
    if storage.mode != "memory" and storage.on_disk(_most_bytes(pictures, resize, channels)):
        depth = channels or _depth(pictures)
        if storage.on_disk(_most_bytes(pictures, resize, depth)):
            return _kept(pictures, resize, depth, storage, source, files)
    decoded = [(name, decode(content, resize, name=name)) for name, content in pictures]
    depth = channels or max(1 if picture.ndim == 2 else 3 for _, picture in decoded)
    first_name, first = decoded[0]
    for name, picture in decoded:
        _check_size(name, picture.shape, first_name, first.shape)
    return np.stack([with_channels(picture, depth) for _, picture in decoded])


def _check_size(name: str, shape: tuple[int, ...], first_name: str, first: tuple[int, ...]) -> None:
    if shape[:2] != first[:2]:
        raise BadInputError(
            f"{name} is {shape[1]}x{shape[0]} pixels, {first_name} is {first[1]}x{first[0]}; set data.resize = "
            "[height, width]"
        )


def _most_bytes(pictures: Sequence[Picture], resize: Resize | None, channels: int | None) -> int:
    """What they take decoded, in three channels where it is not known yet; the first one's size is that of all."""
    height, width = resize[:2] if resize is not None else header(pictures[0])[:2]
    return len(pictures) * height * width * (channels or 3)


def _depth(pictures: Sequence[Picture]) -> int:
    """1 where every picture is grey, by their headers, else 3."""
    return 1 if all(header(picture)[2] for picture in pictures) else 3


def header(picture: Picture) -> tuple[int, int, bool]:
    """Height and width in pixels of a picture when it is upright, and whether it is grey; nothing is decoded.

    Raises:
        BadInputError: no readable PNG or JPEG.
        EnvironmentFault: pillow is not installed.
    """
    name, content = picture
    try:
        from PIL import Image

        with Image.open(content, formats=("PNG", "JPEG")) as image:
            turned = image.getexif().get(ORIENTATION) in TURNED
            height, width = (image.width, image.height) if turned else (image.height, image.width)
            return height, width, image.mode in ("L", "LA", "1")
    except ImportError as err:
        raise EnvironmentFault(NO_PILLOW) from err
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as err:
        raise BadInputError(f"{name}: not a readable PNG or JPEG ({err}); replace or delete the file") from err


def _kept(
    pictures: Sequence[Picture],
    resize: Resize | None,
    depth: int,
    storage: Storage,
    source: Path,
    files: Sequence[File],
) -> Inputs:
    """As `stack`, decoded into a file by several threads, a chunk at a time."""
    from PIL import __version__

    first_name = pictures[0][0]
    size = resize[:2] if resize is not None else header(pictures[0])[:2]
    step = max(1, CHUNK_BYTES // (size[0] * size[1] * depth))

    def one(number: int) -> npt.NDArray[np.uint8]:
        name, content = pictures[number]
        picture = decode(content, resize, name=name)
        _check_size(name, picture.shape, first_name, size)
        return with_channels(picture, depth)

    def read(start: int) -> Iterator[npt.NDArray[np.uint8]]:
        with ThreadPoolExecutor(min(DECODERS, os.cpu_count() or 1)) as threads:
            for at in range(start, len(pictures), step):
                yield np.stack(list(threads.map(one, range(at, min(at + step, len(pictures))))))

    return storage.keep(
        source=source,
        files=files,
        settings={"kind": "pictures", "resize": resize and list(resize), "pillow": __version__},
        row=(*size, depth),
        dtype=np.uint8,
        count=len(pictures),
        read=read,
    )


def decode(content: Path | BytesIO, resize: Resize | None, *, name: str) -> npt.NDArray[np.uint8]:
    """The pixels of a PNG or JPEG: (height, width) of a grey one, else (height, width, 3), upright."""
    try:
        picture: npt.NDArray[np.uint8] = read_picture.decode(content, resize, name=name)
    except ImportError as err:
        raise EnvironmentFault(NO_PILLOW) from err
    except ValueError as err:
        raise BadInputError(str(err)) from err
    return picture


def with_channels(picture: npt.NDArray[np.uint8], channels: int) -> npt.NDArray[np.uint8]:
    """(height, width, channels) of a decoded picture; grey is repeated, colour becomes luma (ITU-R 601)."""
    whole: npt.NDArray[np.uint8] = read_picture.with_channels(picture, channels)
    return whole
