"""From a teacher that takes a batch of tensors to one that is asked with arrays, as every kind is."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgekd.rows import Inputs
from edgekd.teachers.interface import Ids

if TYPE_CHECKING:
    import torch
    from torch import Tensor

BATCH = 256
"""Samples asked at a time, as `edgekd.core.forward.predict` asks a network."""


def asking(
    on_device: "Callable[[Tensor], Tensor]", *, data_kind: str, device: "torch.device"
) -> Callable[[Inputs, Ids | None], npt.NDArray[np.float32]]:
    """A function from inputs (n, ...) as `Samples.inputs` has them to (n, outputs) float32, in batches."""

    def ask(inputs: Inputs, ids: Ids | None) -> npt.NDArray[np.float32]:
        import torch

        from edgekd import front

        parts = []
        with torch.no_grad():
            for start in range(0, len(inputs), BATCH):
                batch = front.of(data_kind).to_tensor(np.ascontiguousarray(inputs[start : start + BATCH]), device)
                parts.append(on_device(batch).float().cpu().numpy())
        return np.concatenate(parts)

    return ask
