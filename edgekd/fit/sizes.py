"""A family and its steps -> the list of its sizes in ascending cost, each counted without being trained or timed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekd import models
from edgekd.data import Dataset
from edgekd.errors import BadInputError, nearest
from edgekd.models.scale import Scale

if TYPE_CHECKING:
    from torch import Tensor

FEW = 64
"""Samples that the preprocessing of a network which only counts or is timed takes its mean and deviation from."""

Options = Mapping[str, float | int | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """One network of the family. weights: of its parameters those in matrices, each of which a file has to hold.

    macs: multiply-accumulates of one inference.
    """

    options: Options
    parameters: int
    weights: int
    macs: int


def scales_of(model: str, given: Mapping[str, Sequence[float | int]]) -> tuple[Scale, ...]:
    """The options that scale the model, its width and then its depth. given: option -> values, in place of its own.

    Raises:
        BadInputError: nothing scales it, or an option that it does not have.
    """
    if given:
        return tuple(_given(model, option, values) for option, values in given.items())
    if models.is_own(model):
        raise BadInputError(
            f"student.model '{model}' is your own network, and nothing says how it is scaled; name a keyword of it and "
            "values, for example --scale width=0.25,0.5,1,2"
        )
    models.check_name(model)
    found = models.MODELS[model].scales
    if not found:
        known = [name for name, info in models.MODELS.items() if info.scales]
        raise BadInputError(f"model '{model}' has no option that scales it; those that have: {', '.join(known)}")
    return found


def _given(model: str, option: str, values: Sequence[float | int]) -> Scale:
    if not models.is_own(model):
        models.check_name(model)
        allowed = list(models.MODELS[model].options)
        if option not in allowed:
            raise BadInputError(
                f"--scale {option}: model '{model}' has no such option; known: "
                f"{', '.join(allowed) or 'none'}{nearest(option, allowed)}"
            )
    own = [] if models.is_own(model) else [one for one in models.MODELS[model].scales if one.option == option]
    ascending = tuple(sorted(set(values)))
    return Scale(option=option, usual=own[0].usual if own else ascending[0], values=ascending)


def steps(scales: Sequence[Scale], options: Options) -> Iterator[Options]:
    """The options of each size, from the smallest on: width first, at the depth that the recipe or the family has.

    Where the widths end, depth goes on: shallower networks of the smallest width before, deeper ones of the largest
    after. options: the recipe's; what does not scale stays as it is, and a value of the recipe's own is a step too.
    """
    width, depth = scales[0], scales[1] if len(scales) > 1 else None
    widths = _values(width, options)
    if depth is None:
        yield from ({**options, width.option: value} for value in widths)
        return
    own = options.get(depth.option, depth.usual)
    depths = _values(depth, options)
    path = [(widths[0], value) for value in depths if value < own]  # type: ignore[operator]
    path += [(value, own) for value in widths]  # type: ignore[misc]
    path += [(widths[-1], value) for value in depths if value > own]  # type: ignore[operator]
    for wide, deep in path:
        # The depth that the name stands for need not be written down.
        said = depth.option in options or deep != depth.usual
        yield {**options, width.option: wide} | ({depth.option: deep} if said else {})


def _values(scale: Scale, options: Options) -> list[float | int]:
    own = options.get(scale.option)
    if isinstance(own, str | bool):
        raise BadInputError(f"student.options.{scale.option} is {own!r}; expected a number: it scales the network")
    return sorted({*scale.values, *([] if own is None else [own])})


def sizes(dataset: Dataset, model: str, scales: Sequence[Scale], options: Options) -> tuple[Size, ...]:
    """The sizes in ascending cost, without those that are equal to one before. Nothing is trained or timed.

    Raises:
        BadInputError: a network that cannot be built, or cannot take the data.
    """
    import torch

    # Other people's code may read values while it builds, which meta tensors do not have.
    device = torch.device("cpu" if models.is_own(model) else "meta")
    example = _example(dataset).to(device)
    counted = [_counted(dataset, model, chosen, example) for chosen in steps(scales, options)]
    kept: list[Size] = []
    for size in sorted(counted, key=lambda size: (size.macs, size.parameters)):
        if not kept or (size.macs, size.parameters) != (kept[-1].macs, kept[-1].parameters):
            kept.append(size)
    return tuple(kept)


def _example(dataset: Dataset) -> "Tensor":
    """One sample as the network's body takes it."""
    import torch

    from edgekd import front

    few = np.asarray(dataset.train.inputs[:FEW])
    mean, std = front.statistics(dataset.kind, few, dataset.front)
    with torch.no_grad():
        raw = front.of(dataset.kind).to_tensor(few[:1], torch.device("cpu"))
        example: Tensor = front.build(dataset.kind, dataset.front, mean=mean, std=std)(raw)
    return example


def _counted(dataset: Dataset, model: str, options: Options, example: "Tensor") -> Size:
    import torch

    from edgekd.models.count import count_macs_of, count_parameters

    with torch.random.fork_rng(devices=[]), example.device:
        body = models.build(
            model, num_classes=len(dataset.classes), in_channels=dataset.channels, options=dict(options)
        )
    return Size(
        options=dict(options),
        parameters=count_parameters(body),
        weights=sum(tensor.numel() for tensor in body.parameters() if tensor.ndim > 1),
        macs=count_macs_of(body, example),
    )
