"""What every kind of data says of itself."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy.typing as npt
import torch
from torch import Tensor, nn

from edgekd.rows import Inputs

Numbers = tuple[float, ...]


class Front(nn.Module):
    """Raw samples as the device gives them -> the float32 input of a network's body; its numbers are its buffers."""

    INPUT: ClassVar[str]
    """Name of the exported network's input."""

    LAYOUT: ClassVar[str]
    """How the device lays a sample out, for the file's metadata; empty for images, where the recipe chooses."""

    OPEN_AXES: ClassVar[tuple[int, ...]] = ()
    """Axes of the input, beside the batch, that an exported file leaves open where the body takes any size of them."""

    @classmethod
    def build(cls, facts: Mapping[str, Any], *, mean: Numbers, std: Numbers) -> Self:
        """The module. facts: `edgekd.data.Dataset.front`; mean, std: as `statistics` gives them."""
        raise NotImplementedError

    @staticmethod
    def statistics(inputs: Inputs, facts: Mapping[str, Any]) -> tuple[Numbers, Numbers]:
        """Mean and standard deviation that the body's input is standardised with. inputs: of the training split."""
        raise NotImplementedError

    @staticmethod
    def to_tensor(inputs: npt.NDArray[Any], device: torch.device) -> Tensor:
        """Raw samples on the device, laid out as `forward` takes them."""
        return torch.from_numpy(inputs).to(device)

    def describe(self) -> dict[str, Any]:
        """What is done to a sample before the first layer, JSON-ready, for the file's metadata."""
        raise NotImplementedError
