"""What makes a family of networks smaller and larger: the options that scale it, their steps, and what they may be."""

from collections.abc import Mapping
from dataclasses import dataclass

from edgekd.errors import BadInputError

MOST_BLOCKS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """An option that scales a family. values: ascending, what is tried; usual: the value that the name stands for."""

    option: str
    usual: float | int
    values: tuple[float | int, ...]


def eighths(first: int, last: int) -> tuple[float, ...]:
    """Width factors in eighths from `first` up to 2, then in quarters up to `last`, both in eighths."""
    return tuple(n / 8 for n in range(first, last + 1) if n <= 16 or n % 2 == 0)


WIDTH = Scale(option="width", usual=1.0, values=eighths(1, 32))
"""Of 64 channels an eighth is 8, which fill a SIMD register; of fewer, steps that change nothing are left out."""


def blocks(usual: int, *, most: int = 9) -> Scale:
    """The blocks of each stage. most: 9 of three stages make the 56 layers that He et al. 2016 call deep."""
    return Scale(option="blocks", usual=usual, values=tuple(range(1, most + 1)))


RESNETS = {"resnet8": 1, "resnet20": 3, "resnet56": 9, "resnet8x4": 1, "resnet32x4": 5, "resnet8_tiny": 1}
"""Blocks a stage: depth is 6 * blocks + 2."""

WRNS = {"wrn_16_1": 2, "wrn_16_2": 2, "wrn_40_2": 6}
"""Blocks a stage: depth is 6 * blocks + 4."""

SCALES: Mapping[str, tuple[Scale, ...]] = {
    **{name: (WIDTH, blocks(usual)) for name, usual in (RESNETS | WRNS).items()},
    "mobilenet_v2": (
        Scale(option="width", usual=1.0, values=tuple(n / 10 for n in range(1, 21))),
    ),
    "ds_cnn": (WIDTH, blocks(4, most=12)),
    "ds_cnn_1d": (WIDTH, blocks(4, most=12)),
    "resnet_1d": (WIDTH,),
    "text_mean": (Scale(option="width", usual=64, values=tuple(range(8, 257, 8))),),
    "text_cnn": (
        Scale(option="width", usual=64, values=tuple(range(16, 257, 16))),
        Scale(option="filters", usual=100, values=tuple(range(25, 401, 25))),
    ),
    "text_transformer": (
        Scale(option="width", usual=64, values=tuple(range(16, 257, 16))),
        Scale(option="depth", usual=2, values=tuple(range(1, 9))),
    ),
}  # fmt: skip
"""Model -> its width, then its depth where it has one."""


def widened(channels: int, width: float, *, model: str) -> int:
    """Channels of a layer at this width factor: a multiple of 8, at least 8; at 1 as they are.

    Raises:
        BadInputError: width is not a number above 0.
    """
    if isinstance(width, str | bool) or not 0 < width <= 16:
        raise BadInputError(
            f"option width of {model} is {width!r}; expected a number above 0 and at most 16; 1.0 is the network as "
            "it is published"
        )
    return channels if width == 1 else max(8, 8 * round(channels * width / 8))


def repeated(count: float, *, model: str) -> int:
    """How many blocks a stage has. Raises BadInputError unless that is a whole number from 1 on."""
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MOST_BLOCKS:
        raise BadInputError(
            f"option blocks of {model} is {count!r}; expected a whole number from 1 to {MOST_BLOCKS}, the blocks of a "
            "stage"
        )
    return count
