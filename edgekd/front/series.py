"""Series of sensor readings: each channel z-scored with the training split's own mean and deviation."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from edgekd.data import read_window
from edgekd.front.base import Front
from edgekd.rows import Inputs, chunks


class Series(Front):
    """(readings - mean) / std, then channels before time, as 1-D convolutions take them.

    mean, std: one number a channel, in the sensor's own unit. channels: their names, which say in which order the
    device has to feed them; empty where the data has none. length: readings a window; None in older files.
    """

    INPUT: ClassVar[str] = "series"
    LAYOUT: ClassVar[str] = "nlc"

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        channels: tuple[str, ...] = (),
        length: int | None = None,
    ) -> None:
        super().__init__()
        self.channels, self.length = channels, length
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, 1, -1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, 1, -1))

    def forward(self, readings: Tensor) -> Tensor:
        """readings: (batch, length, channels) float32. Returns (batch, channels, length) float32."""
        return ((readings.float() - self.mean) / self.std).transpose(1, 2)

    @classmethod
    def build(cls, facts: Mapping[str, Any], *, mean: tuple[float, ...], std: tuple[float, ...]) -> Self:
        """See `Front`. facts: `channels`, names in their order, and `length`."""
        return cls(mean=mean, std=std, channels=tuple(facts.get("channels", ())), length=facts.get("length"))

    @staticmethod
    def statistics(inputs: Inputs, facts: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel over all readings; a constant channel gets deviation 1.

        In float64: a sensor's offset can be a thousand times what it varies by. A channel is constant where it varies
        by less than float32 resolves of its mean.
        """
        total = np.zeros(inputs.shape[-1])
        for chunk in chunks(inputs):
            total += chunk.sum(axis=(0, 1), dtype=np.float64)
        mean = total / math.prod(inputs.shape[:-1])
        variance = np.zeros_like(mean)
        for window in (window for chunk in chunks(inputs) for window in chunk):  # a float64 copy of all is too much
            variance += np.square(window - mean).mean(axis=0)
        std = np.sqrt(variance / max(1, len(inputs)))
        constant = std <= np.maximum(np.abs(mean), 1.0) * np.finfo(np.float32).eps
        return tuple(mean.tolist()), tuple(np.where(constant, 1.0, std).tolist())

    def describe(self) -> dict[str, Any]:
        """See `Front`."""
        mean, std = self.mean.flatten().tolist(), self.std.flatten().tolist()
        names = list(self.channels)
        window = {"channels": names} if self.length is None else read_window.describe(self.length, names)
        return {"inside_graph": True, "mean": mean, "std": std, "unit": "the sensor's own", "series": window}
