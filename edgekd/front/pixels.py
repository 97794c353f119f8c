"""Images: raw uint8 pixels, standardised channel by channel."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgekd.front.base import Front
from edgekd.rows import Inputs, chunks


class Pixels(Front):
    """(pixels / 255 - mean) / std.

    mean, std: one number a channel, in units of pixels / 255; kept as buffers, so they travel with the weights. image:
    how a file becomes pixels, before the graph, as `edgekd.data.read_picture` describes it; empty where nobody said so.
    """

    INPUT: ClassVar[str] = "pixels"
    LAYOUT: ClassVar[str] = ""

    mean: Tensor
    std: Tensor

    def __init__(
        self, *, mean: tuple[float, ...], std: tuple[float, ...], image: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.image: dict[str, Any] = dict(image or {})
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels: (batch, channels, height, width), uint8 or float in 0..255. Returns the same shape, float32."""
        return (pixels.float() / 255.0 - self.mean) / self.std

    @classmethod
    def build(cls, facts: Mapping[str, Any], *, mean: tuple[float, ...], std: tuple[float, ...]) -> Self:
        """See `Front`. facts: `image`."""
        return cls(mean=mean, std=std, image=facts)

    @staticmethod
    def statistics(inputs: Inputs, facts: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of pixels / 255 of each channel; a constant channel gets deviation 1.

        Exact, from the counts of the 256 values: a float copy of all pixels would be eight times the data.
        """
        values = np.arange(256) / 255.0
        counts = np.zeros((inputs.shape[-1], 256), dtype=np.int64)
        for chunk in chunks(inputs):
            for channel, pixels in enumerate(chunk.reshape(-1, chunk.shape[-1]).T):
                counts[channel] += np.bincount(pixels, minlength=256)
        shares = counts / math.prod(inputs.shape[:-1])
        mean = shares @ values
        std = np.sqrt((shares * (values - mean[:, None]) ** 2).sum(axis=1))
        return tuple(mean.tolist()), tuple(np.where(std > 1e-6, std, 1.0).tolist())

    @staticmethod
    def to_tensor(inputs: npt.NDArray[np.uint8], device: torch.device) -> Tensor:
        """(n, height, width, channels) uint8 -> the same pixels as (n, channels, height, width) on the device."""
        # Not copied: (n, h, w, c) in memory is what torch calls channels last.
        return torch.from_numpy(inputs).to(device).permute(0, 3, 1, 2)

    def describe(self) -> dict[str, Any]:
        """See `Front`."""
        mean, std = self.mean.flatten().tolist(), self.std.flatten().tolist()
        numbers = {"inside_graph": True, "mean": mean, "std": std, "unit": "pixels / 255"}
        return numbers | ({"image": self.image} if self.image else {})
