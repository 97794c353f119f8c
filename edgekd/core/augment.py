"""Training-time augmentation of a whole batch of uint8 images at once, on the device that holds them."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


def augment(images: Tensor, *, crop_padding: int, flip: bool, generator: Generator) -> Tensor:
    """The batch, each image shifted by a random crop of its zero-padded self and mirrored half the time.

    images: (batch, channels, height, width) uint8. crop_padding: pixels on each side, 0 for none. The random
    numbers come from `generator`, a CPU one, so every device trains on the same pictures.
    """
    if flip:
        mirrored = torch.rand(len(images), generator=generator) < 0.5
        images = torch.where(mirrored.to(images.device)[:, None, None, None], images.flip(-1), images)
    return random_crop(images, padding=crop_padding, generator=generator) if crop_padding else images


def random_crop(images: Tensor, *, padding: int, generator: Generator) -> Tensor:
    """Each image cut at its own offset out of the batch padded with zeros; shape and dtype stay."""
    batch, _, height, width = images.shape
    offsets = torch.randint(0, 2 * padding + 1, (2, batch), generator=generator).to(images.device)
    rows = offsets[0][:, None] + torch.arange(height, device=images.device)
    columns = offsets[1][:, None] + torch.arange(width, device=images.device)
    padded = F.pad(images, (padding,) * 4)
    index = torch.arange(batch, device=images.device)[:, None, None]
    # Advanced indices around a slice put the sliced axis last: (batch, height, width, channels).
    return padded[index, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
