"""Samples for rapidocr's three nets: lines of printed text, alone, upside down, and on photographs.

The nets' own preprocessing (rapidocr_onnxruntime 1.4.4): pixels scaled to -1 … 1, lines 48 pixels high at their own
width, filled up with 0 on the right.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL import Image

PACKAGE = "rapidocr-onnxruntime==1.4.4"
HEIGHT = 48
LINE_WIDTH = 320
DIRECTION_WIDTH = 192
SCENE = 320
WORDS = Path(__file__).resolve().parents[2] / "LICENSE"

Floats = npt.NDArray[np.float32]


def lines(count: int, *, seed: int, backgrounds: Any = ()) -> Floats:
    """Lines of text for the recogniser: (count, 3, 48, 320)."""
    generator = np.random.default_rng(seed)
    return np.stack([_fit(_line(generator), LINE_WIDTH) for _ in range(count)])


def directions(count: int, *, seed: int, backgrounds: Any = ()) -> Floats:
    """Lines for the net that tells 0 from 180 degrees, half of them upside down: (count, 3, 48, 192)."""
    generator = np.random.default_rng(seed)
    drawn = [_line(generator) for _ in range(count)]
    turned = [line.rotate(180) if generator.random() < 0.5 else line for line in drawn]
    return np.stack([_fit(line, DIRECTION_WIDTH) for line in turned])


def scenes(count: int, *, seed: int, backgrounds: Any) -> Floats:
    """Photographs with lines of text pasted on: (count, 3, 320, 320). backgrounds: photographs of `pictures`."""
    from PIL import Image

    generator = np.random.default_rng(seed)
    made = []
    for number in range(count):
        pixels = backgrounds[number % len(backgrounds)]
        scene = Image.fromarray(pixels).resize((SCENE, SCENE)).convert("RGB")
        for row in range(int(generator.integers(1, 6))):
            line = _line(generator)
            scale = generator.uniform(0.35, 0.9)
            line = line.resize((max(8, int(line.width * scale)), max(8, int(line.height * scale))))
            scene.paste(line, (int(generator.integers(0, 120)), row * 60 + int(generator.integers(0, 12))))
        made.append(_scaled(np.asarray(scene)))
    return np.stack(made)


def _line(generator: np.random.Generator) -> "Image.Image":
    """One line of one to three words in a colour on another, cut close."""
    from PIL import Image, ImageDraw, ImageFont

    words = [word for word in WORDS.read_text(encoding="utf-8").split() if word.isascii()]
    content = " ".join(generator.choice(words, size=int(generator.integers(1, 4))))
    font = ImageFont.load_default(size=float(generator.integers(22, 40)))
    left, top, right, bottom = (int(edge) for edge in font.getbbox(content))
    margin = int(generator.integers(2, 7))
    paper, ink = _colours(generator)
    image = Image.new("RGB", (right - left + 2 * margin, bottom - top + 2 * margin), paper)
    ImageDraw.Draw(image).text((margin - left, margin - top), content, fill=ink, font=font)
    return image.rotate(float(generator.uniform(-2, 2)), fillcolor=paper)


def _colours(generator: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Paper and ink: light and dark, either way round."""
    light, dark = generator.integers(160, 256, 3), generator.integers(0, 96, 3)
    pair = (light, dark) if generator.random() < 0.7 else (dark, light)
    paper, ink = (tuple(int(value) for value in colour) for colour in pair)
    return paper, ink


def _fit(line: "Image.Image", width: int) -> Floats:
    """(3, 48, width): scaled to 48 pixels of height, as wide as that makes it, at most `width`."""
    wide = min(width, max(1, round(line.width * HEIGHT / line.height)))
    filled = np.zeros((3, HEIGHT, width), dtype=np.float32)
    filled[:, :, :wide] = _scaled(np.asarray(line.resize((wide, HEIGHT))))
    return filled


def _scaled(pixels: npt.NDArray[np.uint8]) -> Floats:
    """(height, width, 3) uint8 to (3, height, width) from -1 to 1."""
    scaled: Floats = pixels.astype(np.float32).transpose(2, 0, 1) / 127.5 - 1
    return scaled
