"""Picture files, or their bytes, as raw pixels of one size."""

from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError, EnvironmentFault

SUFFIXES = {".png", ".jpg", ".jpeg"}
OTHER_PICTURES = {".bmp", ".gif", ".heic", ".tif", ".tiff", ".webp"}


def stack(
    pictures: Iterable[tuple[str, Path | BytesIO]], *, resize: tuple[int, int] | None, channels: int | None
) -> npt.NDArray[np.uint8]:
    """(n, height, width, channels) uint8 of pictures, each with the name that errors call it by.

    resize: (height, width), bilinear with antialiasing. channels: 1 or 3; None takes 1 when every picture is grey.

    Raises:
        BadInputError: an unreadable picture, or mixed sizes without `resize`.
        EnvironmentFault: pillow is not installed.
    """
    decoded = [(name, decode(content, resize, name=name)) for name, content in pictures]
    depth = channels or max(1 if picture.ndim == 2 else 3 for _, picture in decoded)
    first_name, first = decoded[0]
    for name, picture in decoded:
        if picture.shape[:2] != first.shape[:2]:
            raise BadInputError(
                f"{name} is {picture.shape[1]}x{picture.shape[0]} pixels, {first_name} is "
                f"{first.shape[1]}x{first.shape[0]}; set data.resize = [height, width]"
            )
    return np.stack([with_channels(picture, depth) for _, picture in decoded])


def decode(content: Path | BytesIO, resize: tuple[int, int] | None, *, name: str) -> npt.NDArray[np.uint8]:
    """The pixels of a PNG or JPEG: (height, width) of a grey one, else (height, width, 3), upright."""
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError as err:
        raise EnvironmentFault('image files need pillow; install it: pip install "edgekd[train]"') from err
    try:
        with Image.open(content, formats=("PNG", "JPEG")) as image:
            if image.mode.startswith("I"):  # Pillow would clip all above 255 to white
                raise BadInputError(f"{name}: has 16 bits a pixel; expected 8, as a camera gives; convert the file")
            upright = ImageOps.exif_transpose(image)  # as every viewer shows it
            picture: Image.Image = upright.convert("L" if image.mode in ("L", "LA", "1") else "RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as err:
        raise BadInputError(f"{name}: not a readable PNG or JPEG ({err}); replace or delete the file") from err
    if resize is not None and (picture.height, picture.width) != resize:
        picture = picture.resize((resize[1], resize[0]), Image.Resampling.BILINEAR)
    return np.asarray(picture, dtype=np.uint8)


def with_channels(picture: npt.NDArray[np.uint8], channels: int) -> npt.NDArray[np.uint8]:
    """(height, width, channels) of a decoded picture; grey is repeated, colour becomes luma (ITU-R 601)."""
    if picture.ndim == 2:
        return np.repeat(picture[..., None], channels, axis=-1)
    if channels == 3:
        return picture
    luma = picture @ np.array([299, 587, 114]) / 1000  # as Pillow's own conversion to "L"
    grey: npt.NDArray[np.uint8] = np.round(luma).astype(np.uint8)
    return grey[..., None]
