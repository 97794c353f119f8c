"""Parameters and multiply-accumulates of a network."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from edgekd.errors import BadInputError


def count_parameters(module: nn.Module) -> int:
    """The number of trainable parameters; batch-norm statistics and frozen weights are not counted."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def count_macs(module: nn.Module, *, input_shape: tuple[int, ...]) -> int:
    """Multiply-accumulates of one input in inference, over the Conv1d, Conv2d and Linear layers.

    Biases, normalisation, activations and pooling are not counted, nor are functional calls without a
    module. The forward pass runs on the device of the weights (`meta` costs nothing); training modes are
    as before afterwards, and batch-norm statistics are untouched.

    Args:
        module: maps float (1, *input_shape) to anything.
        input_shape: (C, H, W) of an image, (C, L) of a series.

    Raises:
        BadInputError: the network cannot take an input of this shape.
    """
    weight = next(module.parameters(), torch.empty(0))
    return count_macs_of(module, torch.zeros(1, *input_shape, dtype=weight.dtype, device=weight.device))


def count_macs_of(module: nn.Module, example: Tensor) -> int:
    """As `count_macs`, of this one input, (1, …) on the device of the weights.

    Raises:
        BadInputError: the network cannot take it.
    """
    total = 0

    def add(layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        total += output.numel() * _macs_per_output(layer)

    layers = [layer for layer in module.modules() if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(add) for layer in layers]
    try:
        _run_once(module, example)
    finally:
        for handle in handles:
            handle.remove()
    return total


def _macs_per_output(layer: nn.Module) -> int:
    """Multiply-accumulates that one output element of a counted layer takes."""
    if isinstance(layer, nn.Linear):
        return layer.in_features
    assert isinstance(layer, nn.Conv1d | nn.Conv2d)
    return layer.in_channels // layer.groups * math.prod(layer.kernel_size)


def _run_once(module: nn.Module, example: Tensor) -> None:
    """Run the example through the network in evaluation mode, then restore the modes."""
    modes = [(layer, layer.training) for layer in module.modules()]
    module.eval()
    try:
        with torch.inference_mode():
            module(example)
    except (RuntimeError, ValueError) as err:
        raise BadInputError(
            f"{type(module).__name__} cannot take an input of {_axes(example)} = {tuple(example.shape[1:])}: "
            f"{err}; give it the size and channels that it was built for"
        ) from err
    finally:
        for layer, training in modes:
            layer.training = training


def _axes(example: Tensor) -> str:
    return {4: "(channels, height, width)", 3: "(channels, length)"}.get(example.ndim, "shape")
