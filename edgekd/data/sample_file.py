"""A sample as a device would get it: a file. Bundles carry a few, so that what reads them there can be checked."""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

ENCODED_PICTURE = (
    "encoded losslessly from the pixels that the network was evaluated on, channels taken as red, green, blue"
)
ENCODED_ARRAY = "the numbers that the network was evaluated on"


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleFile:
    """suffix: of its name, `.png`; origin: where it is from, in words."""

    suffix: str
    content: bytes
    origin: str


Original = Callable[[str], SampleFile]
"""The id of a sample -> its file, or its part of one."""


def of_path(path: Path, name: str) -> SampleFile:
    """The file itself. name: what to call it, relative to its source."""
    return SampleFile(suffix=path.suffix.lower(), content=path.read_bytes(), origin=name)


def encoded(sample: npt.NDArray[Any]) -> SampleFile:
    """A PNG of pixels (height, width, 1 or 3) uint8, an .npy of other numbers."""
    if sample.dtype == np.uint8 and sample.ndim == 3 and sample.shape[2] in (1, 3):
        return SampleFile(suffix=".png", content=png(sample), origin=ENCODED_PICTURE)
    whole = BytesIO()
    np.save(whole, sample, allow_pickle=False)
    return SampleFile(suffix=".npy", content=whole.getvalue(), origin=ENCODED_ARRAY)


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """A PNG of pixels (height, width, 1 or 3), grey or RGB, 8 bits, no filter: the same bytes on every machine.

    Source: https://www.w3.org/TR/png-3/, sections 5 and 11.
    """
    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 0, 0, 0, 0)
    lines = np.zeros((height, 1 + width * channels), dtype=np.uint8)  # each begins with its filter, 0
    lines[:, 1:] = pixels.reshape(height, -1)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    chunks = (struct.pack(">I", len(d)) + kind + d + struct.pack(">I", zlib.crc32(kind + d)) for kind, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
