"""What a teacher's own input is, and how the samples become it; every step declared, none guessed."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekd.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

REAL = ("float32", "float16", "bfloat16")

WHOLE: dict[str, tuple[str, ...]] = {
    "image": ("uint8",),
    "series": (),
    "audio": ("int16",),
    "text": ("int64", "int32"),
}
"""Kind of data -> the input types that take its raw samples as they are; of the others numbers would be cut off."""

LAYOUTS = {"image": ("nhwc", "nchw"), "series": ("nlc", "ncl")}
"""Kind of data -> its layouts: channels last, as samples are kept, and channels first."""


def check_layout(layout: str | None, data_kind: str) -> None:
    """Refuse a layout of another kind of data. Raises BadInputError."""
    known = LAYOUTS.get(data_kind, ())
    if layout is not None and layout not in known:
        cure = f"expected {' or '.join(known)}" if known else "remove it: these samples have no channels"
        raise BadInputError(f"teacher.layout is '{layout}', and the data is of kind {data_kind}; {cure}")


def default_layout(data_kind: str) -> str:
    """Of a network in torch: images are channels first, windows as they are kept; "" where there are no channels."""
    return {"image": "nchw", "series": "nlc"}.get(data_kind, "")


def default_dtype(data_kind: str) -> str:
    """What a network in torch takes, usually: floats, and of texts the token numbers that nn.Embedding takes."""
    return "int64" if data_kind == "text" else "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """value = (raw × scale - mean) / std, mean and std one number a channel of images or series; and images' size.

    scale: where only mean and std are given, 1/255 for images, their unit being pixels / 255, and 1 for series, in the
    sensor's own. None for each that is not declared. resize: (height, width) in pixels, bilinear with antialiasing as
    torch's interpolate computes it.
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

    data_kind: `image` (a batch is (batch, channels, height, width) uint8), `series` ((batch, length, channels)
    float32), `audio` ((batch, samples) int16) or `text` ((batch, length) int32). dtype: torch's name of the teacher's
    input. layout: `nchw` or `nhwc` for images, `nlc` or `ncl` for series, "" for others. channels: of a sample.

    Raises:
        BadInputError: a type that cannot hold these samples, float inputs of images or audio without declared scaling,
            or scaling that does not apply.
    """
    real = dtype in REAL
    possible = WHOLE[data_kind] if data_kind == "text" else (*WHOLE[data_kind], *REAL)
    if dtype not in possible:
        raise BadInputError(
            f"takes {dtype}, and samples of kind {data_kind} can be given as {', '.join(possible)}; convert the model, "
            "or, for torchscript and pt2, say in teacher.dtype what it takes"
        )
    needed = data_kind in ("image", "audio")
    if real and needed and not scaling.declared:
        raw, cure = {
            "image": (
                "pixels 0 to 255",
                "1.0 for raw values, 0.00392156862745098 for 0 to 1), or teacher.mean and teacher.std in units of "
                "pixels / 255",
            ),
            "audio": ("int16 samples", "1.0 for raw values, 0.000030517578125 for -1 to 1)"),
        }[data_kind]
        raise BadInputError(
            f"takes {dtype}, and nothing says how raw {raw} become its numbers; set teacher.scale ({cure}"
        )
    if not real and scaling.declared:
        raise BadInputError(f"takes raw {dtype}, so teacher.scale, mean and std have nothing to apply to; remove them")
    if data_kind not in ("image", "series") and scaling.mean is not None:
        raise BadInputError(
            f"teacher.mean and std are for channels of images and series, the data is of kind {data_kind}; remove them"
        )
    if data_kind != "image" and scaling.resize is not None:
        raise BadInputError(f"teacher.resize is for images, the data is of kind {data_kind}; remove it")
    for name in ("mean", "std"):
        given = getattr(scaling, name)
        if given is not None and len(given) != channels:
            raise BadInputError(f"teacher.{name} has {len(given)} numbers, the data {channels} channel(s)")
    axes = (1, -1, 1, 1) if data_kind == "image" else (1, 1, -1)
    unit = 1 / 255 if data_kind == "image" else 1.0
    return _steps(scaling, dtype=dtype, order=PERMUTED.get(layout), unit=unit, axes=axes)


PERMUTED = {"nhwc": (0, 2, 3, 1), "ncl": (0, 2, 1)}
"""Layouts other than that of a batch in training, and the order of its axes in them."""


def _steps(
    scaling: Scaling, *, dtype: str, order: tuple[int, ...] | None, unit: float, axes: tuple[int, ...]
) -> "Callable[[Tensor], Tensor]":
    """unit: the scale where none is given. axes: the shape of mean and std against a batch."""
    real = dtype in REAL

    def steps(raw: "Tensor") -> "Tensor":
        import torch

        value = raw
        if scaling.resize is not None:
            value = torch.nn.functional.interpolate(
                value.float(), size=scaling.resize, mode="bilinear", antialias=True, align_corners=False
            )
            value = value if real else value.round().clamp(0, 255)
        if scaling.declared:
            value = value.float() * (unit if scaling.scale is None else scaling.scale)
        if scaling.mean is not None and scaling.std is not None:
            mean, std = (torch.tensor(v, device=raw.device).view(axes) for v in (scaling.mean, scaling.std))
            value = (value - mean) / std
        value = value.to(getattr(torch, dtype))
        return (value if order is None else value.permute(order)).contiguous()

    return steps
