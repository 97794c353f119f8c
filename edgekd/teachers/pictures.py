"""What a teacher's own input is, and how the samples become it; every step declared, none guessed."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekd.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """value = (raw × scale - mean) / std, mean and std one number a channel of images; and the size they are drawn at.

    scale: 1/255 where only mean and std are given, their unit being pixels / 255. None for each that is not declared.
    resize: (height, width) in pixels, bilinear with antialiasing as torch's interpolate computes it.
    """

    scale: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    resize: tuple[int, int] | None = None

    @property
    def declared(self) -> bool:
        """Whether it says how raw numbers become the teacher's."""
        return self.scale is not None or self.mean is not None


def prepare(
    scaling: Scaling, *, data_kind: str, dtype: str, layout: str, channels: int
) -> "Callable[[Tensor], Tensor]":
    """A function from a batch as training holds it to the teacher's own input.

    data_kind: `image` (a batch is (batch, channels, height, width) uint8), `series`, `audio` or `text`. dtype: torch's
    name of the teacher's input. layout: `nchw` or `nhwc`, for images.

    Raises:
        BadInputError: float inputs of images or audio without declared scaling, or scaling that does not apply.
    """
    real = dtype.startswith("float") or dtype == "bfloat16"
    needed = data_kind in ("image", "audio")
    if real and needed and not scaling.declared:
        raise BadInputError(
            f"takes {dtype}, and nothing says how raw {'pixels 0 to 255' if data_kind == 'image' else 'int16 samples'} "
            "become its numbers; set teacher.scale (1.0 for raw values, 0.00392156862745098 for 0 to 1), or "
            "teacher.mean and teacher.std in units of pixels / 255"
        )
    if not real and scaling.declared:
        raise BadInputError(f"takes raw {dtype}, so teacher.scale, mean and std have nothing to apply to; remove them")
    if data_kind != "image" and (scaling.mean is not None or scaling.resize is not None):
        raise BadInputError(
            f"teacher.mean, std and resize are for images, the data is of kind {data_kind}; remove them"
        )
    for name in ("mean", "std"):
        given = getattr(scaling, name)
        if given is not None and len(given) != channels:
            raise BadInputError(f"teacher.{name} has {len(given)} numbers, the data {channels} channel(s)")
    return _steps(scaling, dtype=dtype, nhwc=data_kind == "image" and layout == "nhwc", real=real)


def _steps(scaling: Scaling, *, dtype: str, nhwc: bool, real: bool) -> "Callable[[Tensor], Tensor]":
    def steps(raw: "Tensor") -> "Tensor":
        import torch

        value = raw
        if scaling.resize is not None:
            value = torch.nn.functional.interpolate(
                value.float(), size=scaling.resize, mode="bilinear", antialias=True, align_corners=False
            )
            value = value if real else value.round().clamp(0, 255)
        if scaling.declared:
            value = value.float() * (1 / 255 if scaling.scale is None else scaling.scale)
        if scaling.mean is not None and scaling.std is not None:
            mean, std = (torch.tensor(v, device=raw.device).view(1, -1, 1, 1) for v in (scaling.mean, scaling.std))
            value = (value - mean) / std
        value = value.to(getattr(torch, dtype))
        return value.permute(0, 2, 3, 1).contiguous() if nhwc else value.contiguous()

    return steps
