"""A PNG or JPEG -> raw pixels, as a network was trained on. Bundles carry this file: it needs numpy and Pillow."""

from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FILTERS = ("nearest", "box", "bilinear", "bicubic", "lanczos")
"""Pillow's resampling filters; all but `nearest` are antialiased, their support grows as a picture shrinks."""

MODES = ("stretch", "crop", "pad")

COLOURS = {1: "grey", 3: "RGB"}
"""Channels -> what they are."""

FIXED = {"orientation": "exif", "alpha": "dropped", "dtype": "uint8"}
"""What is done to every picture: turned as its EXIF orientation says, and transparency ignored."""


class Resize(NamedTuple):
    """The size, in pixels, to which every picture is brought.

    mode: `stretch` takes the whole picture, whatever its shape. `crop` resizes it until it just covers the size, and
    takes the middle, as torchvision's Resize and CenterCrop do. `pad` resizes it until it just fits in, and puts black
    around it.
    """

    height: int
    width: int
    filter: str = "bilinear"
    mode: str = "stretch"


def describe(shape: tuple[int, ...], *, resize: Resize | None) -> dict[str, Any]:
    """What `read` needs to know, JSON-ready. shape: (height, width, channels) of what it gives."""
    how = None if resize is None else {"filter": resize.filter, "mode": resize.mode}
    return {"size": [shape[0], shape[1]], "colour": COLOURS[shape[2]], "resize": how, **FIXED}


def resize_of(facts: dict[str, Any]) -> Resize | None:
    """How the pictures of these facts were brought to their size; None: they had it.

    Raises:
        ValueError: the facts ask for what this file does not do.
    """
    for key, value in FIXED.items():
        if facts[key] != value:
            raise ValueError(f"pictures whose {key} is '{facts[key]}'; this reader knows '{value}' alone")
    if facts["colour"] not in COLOURS.values():
        raise ValueError(f"pictures of colour '{facts['colour']}'; this reader knows {', '.join(COLOURS.values())}")
    how = facts["resize"]
    if how is not None and (how["filter"] not in FILTERS or how["mode"] not in MODES):
        raise ValueError(f"pictures resized by '{how['filter']}', '{how['mode']}'; this reader does not know that")
    height, width = facts["size"]
    return None if how is None else Resize(height, width, how["filter"], how["mode"])


def read(path: Path, facts: dict[str, Any]) -> Any:
    """The pixels (height, width, channels) uint8 of a picture file. facts: as `describe` gives them.

    Raises:
        ValueError: no readable PNG or JPEG, one of another size where nothing is resized, or facts that this file does
            not know.
        ImportError: Pillow is not installed.
    """
    picture = decode(path, resize_of(facts), name=str(path))
    height, width = facts["size"]
    if picture.shape[:2] != (height, width):
        raise ValueError(
            f"{path}: is {picture.shape[1]}x{picture.shape[0]} pixels; expected {width}x{height}: the network was "
            "trained on pictures of that size, and none was resized"
        )
    return with_channels(picture, 1 if facts["colour"] == COLOURS[1] else 3)


def decode(content: Path | BytesIO, resize: Resize | None, *, name: str) -> Any:
    """The pixels of a PNG or JPEG, uint8: (height, width) of a grey one, else (height, width, 3) RGB, upright.

    Raises:
        ValueError: no readable PNG or JPEG of 8 bits; the message begins with `name`.
        ImportError: Pillow is not installed.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(content, formats=("PNG", "JPEG")) as image:
            if image.mode.startswith("I"):  # Pillow would clip all above 255 to white
                raise ValueError("has 16 bits a pixel; expected 8, as a camera gives; convert the file")
            upright = ImageOps.exif_transpose(image)  # as every viewer shows it
            picture: Any = upright.convert("L" if image.mode in ("L", "LA", "1") else "RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as err:
        found = str(err) if "16 bits" in str(err) else f"not a readable PNG or JPEG ({err}); replace or delete the file"
        raise ValueError(f"{name}: {found}") from err
    if resize is not None and (picture.height, picture.width) != (resize.height, resize.width):
        picture = _resized(picture, resize)
    return np.asarray(picture, dtype=np.uint8)


def with_channels(picture: Any, channels: int) -> Any:
    """(height, width, channels) of a decoded picture; grey is repeated, colour becomes luma (ITU-R 601)."""
    if picture.ndim == 2:
        return np.repeat(picture[..., None], channels, axis=-1)
    if channels == 3:
        return picture
    luma = picture @ np.array([299, 587, 114]) / 1000  # as Pillow's own conversion to "L"
    return np.round(luma).astype(np.uint8)[..., None]


def _resized(picture: Any, to: Resize) -> Any:
    """A Pillow image of the wanted size. Sizes and places are rounded as torchvision's `crop` mode does."""
    from PIL import Image

    by = Image.Resampling[to.filter.upper()]
    if to.mode == "stretch":
        return picture.resize((to.width, to.height), by)
    shares = to.width / picture.width, to.height / picture.height
    share = max(shares) if to.mode == "crop" else min(shares)
    width, height = (max(1, int(size * share + 1e-9)) for size in picture.size)
    scaled = picture.resize((width, height), by)
    left, top = round((width - to.width) / 2), round((height - to.height) / 2)
    return scaled.crop((left, top, left + to.width, top + to.height))  # black where the picture does not reach
