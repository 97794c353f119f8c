"""What a pretrained vision model does to an image before its first layer, as its own files declare it.

Repeated on tensors, on whatever device, for every view of an image. Resizing goes across, then down, each rounded to
whole levels, as PIL does, with which such models are evaluated; it is within one level of it (two where both passes
round). Newer versions of PIL go down first where that is cheaper, which moves the overshoots of bicubic.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgekd.errors import BadInputError

if TYPE_CHECKING:
    from torch import Tensor

PIL_FILTERS = {0: "nearest", 2: "bilinear", 3: "bicubic"}
"""PIL's numbers of the filters that torch has too (PIL.Image.Resampling)."""

KNOWN_STEPS = {"do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb", "do_flip_channel_order"}
"""Steps of a processor of transformers that are repeated here; another one that is switched on is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """raw uint8 -> resized -> cropped -> (raw × scale - mean) / std, one number a channel.

    shortest_edge: the shorter side becomes so many pixels, the other keeps the shape; resize: (height, width), whatever
    the shape; at most one of them. interpolation: `nearest`, `bilinear` or `bicubic`. crop: (height, width) around the
    centre, padded with zeros where the image is smaller. rounded: where the margin is odd, the crop begins after its
    larger part if that is what rounding to even gives (torchvision), else after its smaller part (transformers). bgr:
    channels in reverse order.
    """

    resize: tuple[int, int] | None = None
    shortest_edge: int | None = None
    interpolation: str = "bilinear"
    crop: tuple[int, int] | None = None
    rounded: bool = False
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    bgr: bool = False
    channels: int = 3

    def __call__(self, images: "Tensor") -> "Tensor":
        """The model's input, float32 (batch, channels, …), of images (batch, channels, height, width) uint8.

        Grey images are repeated in every channel.
        """
        import torch

        value = self._cropped(self._resized(images))
        if value.shape[1] == 1 and self.channels > 1:
            value = value.expand(-1, self.channels, -1, -1)
        value = value.flip(1) if self.bgr else value
        mean, std = (torch.tensor(v, device=images.device).view(1, -1, 1, 1) for v in (self.mean, self.std))
        return (value.float() * self.scale - mean) / std

    def check(self, *, channels: int) -> None:
        """Raises BadInputError where images of so many channels cannot be given to it."""
        if channels not in (1, self.channels):
            raise BadInputError(f"takes {self.channels} channel(s), the data has {channels}; expected as many, or grey")
        if {len(self.mean), len(self.std)} - {1, self.channels}:
            raise BadInputError(
                f"declares {len(self.mean)} means and {len(self.std)} deviations for {self.channels} channel(s); its "
                "preprocessing cannot be right. Correct its preprocessor_config.json"
            )

    def words(self, *, channels: int) -> str:
        """The steps for a report. channels: of the data."""
        steps = []
        if self.resize is not None:
            steps.append(f"resize to {self.resize[0]}x{self.resize[1]} ({self.interpolation})")
        if self.shortest_edge is not None:
            steps.append(f"resize the shorter side to {self.shortest_edge} ({self.interpolation})")
        if self.crop is not None:
            steps.append(f"centre crop {self.crop[0]}x{self.crop[1]}")
        if channels < self.channels:
            steps.append(f"grey repeated in {self.channels} channels")
        steps += ["channels reversed"] if self.bgr else []
        numbers = ", ".join(f"{name} {[round(v, 6) for v in getattr(self, name)]}" for name in ("mean", "std"))
        return "; ".join([*steps, f"raw x {self.scale:.6g}, {numbers}"])

    def _resized(self, images: "Tensor") -> "Tensor":
        import torch.nn.functional as F

        height, width = images.shape[-2:]
        size = self.resize
        if self.shortest_edge is not None:
            short = min(height, width)
            size = tuple(  # type: ignore[assignment]
                self.shortest_edge if side == short else int(self.shortest_edge * side / short)
                for side in (height, width)
            )
        if size is None or size == (height, width):
            return images
        if self.interpolation == "nearest":
            return F.interpolate(images, size=size, mode="nearest-exact")
        value = images.float()
        for each in ((height, size[1]), size):  # PIL: first across, to whole levels, then down
            value = F.interpolate(value, size=each, mode=self.interpolation, antialias=True, align_corners=False)
            value = (value + 0.5).floor().clamp(0, 255)  # a half is rounded up
        return value

    def _cropped(self, images: "Tensor") -> "Tensor":
        import torch.nn.functional as F

        if self.crop is None:
            return images
        height, width = self.crop
        missing = [max(0, want - have) for want, have in zip(self.crop, images.shape[-2:], strict=True)]
        if any(missing):
            (down, across) = missing
            images = F.pad(images, (across // 2, across - across // 2, down // 2, down - down // 2))
        margins = (images.shape[-2] - height, images.shape[-1] - width)
        top, left = (round(margin / 2) if self.rounded else margin // 2 for margin in margins)
        return images[..., top : top + height, left : left + width]


def of_processor(config: Mapping[str, Any], *, channels: int) -> Preparation:
    """The steps in a preprocessor_config.json of transformers. channels: of the model.

    Raises:
        BadInputError: a step or a filter that cannot be repeated here.
    """
    foreign = sorted(k for k, v in config.items() if k.startswith("do_") and v and k not in KNOWN_STEPS)
    if foreign:
        raise BadInputError(
            f"its preprocessor_config.json switches {foreign[0]} on, which is not known here; expected of "
            f"{', '.join(sorted(KNOWN_STEPS))}. Export the model to ONNX with that step inside"
        )
    made = Preparation(
        channels=channels,
        bgr=bool(config.get("do_flip_channel_order", False)),
        scale=float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else 1.0,
    )
    if config.get("do_normalize", False):
        made = replace(made, mean=_numbers(config, "image_mean"), std=_numbers(config, "image_std"))
    if config.get("do_resize", False):
        made = _of_size(made, config)
    if config.get("do_center_crop", False):
        made = replace(made, crop=_pair(config.get("crop_size", config.get("size")), "crop_size"))
    return made


def of_timm(config: Mapping[str, Any]) -> Preparation:
    """The steps in a pretrained_cfg of timm, as `timm.data.create_transform` evaluates.

    Raises:
        BadInputError: a filter or a mode of cropping that cannot be repeated here.
    """
    channels, height, width = (int(number) for number in config.get("input_size", (3, 224, 224)))
    share, mode = float(config.get("crop_pct") or 0.875), str(config.get("crop_mode") or "center")
    interpolation = str(config.get("interpolation") or "bicubic")
    if interpolation not in PIL_FILTERS.values():
        raise BadInputError(f"resizes by '{interpolation}'; expected nearest, bilinear or bicubic")
    larger = (math.floor(height / share), math.floor(width / share))
    made = Preparation(
        channels=channels,
        interpolation=interpolation,
        crop=(height, width),
        rounded=True,
        mean=tuple(map(float, config.get("mean", (0.485, 0.456, 0.406)))),
        std=tuple(map(float, config.get("std", (0.229, 0.224, 0.225)))),
    )
    if mode == "squash":
        return replace(made, resize=larger)
    if mode == "center" and height == width:
        return replace(made, shortest_edge=larger[0])
    raise BadInputError(f"crops by mode '{mode}' to {height}x{width}; expected 'squash', or 'center' to a square")


def _of_size(made: Preparation, config: Mapping[str, Any]) -> Preparation:
    """With the resizing of a processor of transformers."""
    number = config.get("resample", 2)
    if number not in PIL_FILTERS:
        raise BadInputError(
            f"its preprocessor_config.json resizes by PIL's filter {number}; expected 0 (nearest), 2 (bilinear) or 3 "
            "(bicubic)"
        )
    made, size = replace(made, interpolation=PIL_FILTERS[number]), config.get("size")
    edge = size.get("shortest_edge") if isinstance(size, Mapping) else None
    if edge is None or (isinstance(size, Mapping) and "longest_edge" in size):
        return replace(made, resize=_pair(size, "size"))
    share = config.get("crop_pct")
    if share is None:
        return replace(made, shortest_edge=int(edge))
    if edge >= 384:  # transformers' ConvNextImageProcessor.resize: large images are warped, not cropped
        return replace(made, resize=(int(edge), int(edge)))
    return replace(made, shortest_edge=int(edge / share), crop=(int(edge), int(edge)))


def _pair(size: Any, key: str) -> tuple[int, int]:
    """(height, width) of a size as transformers writes it."""
    if isinstance(size, int):
        return size, size
    if isinstance(size, Mapping) and {"height", "width"} <= size.keys():
        return int(size["height"]), int(size["width"])
    raise BadInputError(f"its preprocessor_config.json has {key} = {size!r}; expected height and width")


def _numbers(config: Mapping[str, Any], key: str) -> tuple[float, ...]:
    found = config.get(key)
    if not isinstance(found, list) or not all(isinstance(v, int | float) for v in found) or not found:
        raise BadInputError(f"its preprocessor_config.json has {key} = {found!r}; expected a number a channel")
    return tuple(map(float, found))
