"""What an int8 layer multiplies its weights with: rows of its input, or a convolution's receptive fields."""

from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.quantize.portable.pairs import CONVOLUTIONS
from edgekd.quantize.portable.sites import Site


def patches(
    site: Site, values: npt.NDArray[np.int32], *, count: int, generator: np.random.Generator
) -> npt.NDArray[np.int32]:
    """(groups, at most `count` positions, K) of one input, K as the kernels see it: (*kernel, inputs) of a convolution.

    values: the layer's integer input as uint8 in int32, (batch, inputs, *space) for a convolution, else (..., K).
    """
    if site.op_type not in CONVOLUTIONS:
        turned = np.swapaxes(values, -1, -2) if site.attributes.get("transA", 0) else values
        rows = turned.reshape(-1, turned.shape[-1])
        return rows[None, _draw(len(rows), count, generator)]
    windows = _windows(site, values)
    batch, channels, *space = windows.shape[: values.ndim]
    places = np.unravel_index(_draw(batch * int(np.prod(space)), count, generator), (batch, *space))
    where: tuple[Any, ...] = (places[0], slice(None), *places[1:])  # numpy puts the positions first
    taken = windows[where]
    fields = taken.reshape(len(taken), site.group, channels // site.group, -1)
    return np.ascontiguousarray(fields.transpose(1, 0, 3, 2)).reshape(site.group, len(taken), -1)


def _draw(total: int, count: int, generator: np.random.Generator) -> npt.NDArray[np.intp]:
    return np.sort(generator.choice(total, min(count, total), replace=False))


def _windows(site: Site, values: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """A view (batch, inputs, *output space, *kernel) of the padded input."""
    assert site.weight is not None
    kernel, own = site.weight.shape[2:], site.attributes
    strides = own.get("strides", [1] * len(kernel))
    dilations = own.get("dilations", [1] * len(kernel))
    reach = [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]
    pads = _pads(own, values.shape[2:], reach, strides)
    filling = site.zero_point + (128 if site.activation_type == "int8" else 0)
    padded = np.pad(values, [(0, 0), (0, 0), *pads], constant_values=filling)
    axes = tuple(range(2, values.ndim))
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=axes)
    steps = tuple(slice(None, None, step) for step in (*strides, *dilations))
    thinned: npt.NDArray[np.int32] = windows[(slice(None), slice(None), *steps)]
    return thinned


def _pads(own: dict[str, Any], space: tuple[int, ...], reach: list[int], strides: list[int]) -> list[tuple[int, int]]:
    """Padding before and after each axis; `auto_pad` as ONNX defines it for Conv."""
    automatic = own.get("auto_pad", b"NOTSET").decode()
    if automatic.startswith("SAME"):
        needed = [
            max(0, (-(-size // step) - 1) * step + width - size)
            for size, width, step in zip(space, reach, strides, strict=True)
        ]
        small = [total // 2 for total in needed]
        large = [total - half for total, half in zip(needed, small, strict=True)]
        return list(zip(*((small, large) if automatic == "SAME_UPPER" else (large, small)), strict=True))
    pads = own.get("pads", [0] * 2 * len(space))
    return list(zip(pads[: len(space)], pads[len(space) :], strict=True))
