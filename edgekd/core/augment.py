"""Views: augmented editions of the whole data set, each a pure function of (seed, view, sample).

Here those of pictures; `augment_series`, `augment_audio` and `augment_text` have those of other data. Training draws
its samples from view 0, 1, 2, … one an epoch. A sample's crop, mirror and mix are fixed in each view, whatever the
order, the batch size or the process that asks; so a teacher's answer to a view can be kept and used again
(`edgekd.teacher_logits`), and a run that was killed sees the same pictures when it goes on.
"""

from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor


class Viewed(Protocol):
    """The random numbers of one view, of all n samples."""

    def needed(self, index: Tensor) -> Tensor:
        """The samples that `inputs` needs for `index`."""

    def inputs(self, raw: Tensor, index: Tensor) -> Tensor:
        """The samples of this view, one for each of `index`. raw: those of `needed(index)`."""

    def targets(self, labels: Tensor, index: Tensor, *, classes: int) -> Tensor:
        """Their labels: (batch,) int64, or (batch, K) float32 shares where they are mixed. labels: of all samples."""


View_co = TypeVar("View_co", bound=Viewed, covariant=True)


class Augmenting(Protocol[View_co]):
    """What views do to each sample of a kind of data: a frozen dataclass of plain numbers."""

    @property
    def random(self) -> bool:
        """Whether two views differ at all."""

    @property
    def mixes(self) -> bool:
        """Whether samples, and with them labels, are mixed."""

    def draw(self, *, seed: int, view: int, samples: int, size: tuple[int, ...], device: torch.device) -> View_co:
        """View number `view` of `samples` samples; size: as `edgekd.core.source.Source` has it."""


def draw(
    augmentation: Augmenting[View_co],
    *,
    seed: int,
    view: int,
    samples: int,
    size: tuple[int, ...],
    device: torch.device,
) -> View_co:
    """View number `view` of `samples` samples of `size`, (height, width) of pictures."""
    return augmentation.draw(seed=seed, view=view, samples=samples, size=size, device=device)


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """What a view does to each picture.

    crop_padding: pixels of zero padding around the picture out of which a random crop is cut. flip: mirrored half the
    time. mixup (Zhang et al. 2018, arXiv 1710.09412), cutmix (Yun et al. 2019, arXiv 1905.04899): alpha of the Beta
    distribution that shares are drawn from, 0 for none; with both, each sample takes one of them.
    """

    crop_padding: int = 0
    flip: bool = False
    mixup: float = 0.0
    cutmix: float = 0.0

    @property
    def random(self) -> bool:
        """Whether two views differ at all."""
        return bool(self.crop_padding or self.flip or self.mixes)

    @property
    def mixes(self) -> bool:
        """Whether pictures, and with them labels, are mixed."""
        return self.mixup > 0 or self.cutmix > 0

    def draw(self, *, seed: int, view: int, samples: int, size: tuple[int, ...], device: torch.device) -> "View":
        """See `Augmenting`. size: (height, width).

        The numbers come from a CPU generator, so every device trains on the same pictures; each kind has a generator of
        its own, so that switching one off leaves the others as they were.
        """

        def generator(kind: int) -> Generator:
            return Generator().manual_seed(((seed * 1_000_003 + view) * 7 + kind) % 2**63)

        mirrored = offsets = partner = share = box = None
        if self.flip:
            mirrored = (torch.rand(samples, generator=generator(0)) < 0.5).to(device)
        if self.crop_padding:
            offsets = torch.randint(0, 2 * self.crop_padding + 1, (2, samples), generator=generator(1)).to(device)
        if self.mixes:
            partner = torch.randperm(samples, generator=generator(2)).to(device)
            numbers = np.random.default_rng([seed, view])  # torch has no Beta with a generator of its own
            share, box = (t.to(device) for t in _mix(self, samples, size, numbers))
        return View(
            padding=self.crop_padding, mirrored=mirrored, offsets=offsets, partner=partner, share=share, box=box
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The random numbers of one view, of all n samples, on the device of the pictures.

    mirrored: (n,) bool. offsets: (2, n) int64, row and column of the crop in the padded picture. partner: (n,) int64,
    the sample that each is mixed with. share: (n,) float32, the sample's own part of the label. box: (4, n) int64, top,
    bottom, left, right of the part taken from the partner, all 0 for mixup. None where the view does no such thing.
    """

    padding: int
    mirrored: Tensor | None
    offsets: Tensor | None
    partner: Tensor | None
    share: Tensor | None
    box: Tensor | None

    def needed(self, index: Tensor) -> Tensor:
        """The samples whose pixels `inputs` needs for `index`: these, and after them their partners."""
        return index if self.partner is None else torch.cat([index, self.partner[index]])

    def inputs(self, raw: Tensor, index: Tensor) -> Tensor:
        """The pictures of this view. raw: those of `needed(index)`, (m, channels, height, width) uint8.

        Returns (batch, channels, height, width) uint8, one for each of `index`.
        """
        moved = self._moved(raw, self.needed(index))
        if self.partner is None or self.share is None or self.box is None:
            return moved
        own, other = moved[: len(index)], moved[len(index) :]
        box = self.box[:, index]
        rows = torch.arange(raw.shape[-2], device=raw.device)
        columns = torch.arange(raw.shape[-1], device=raw.device)
        # A cut whose box came out empty leaves the picture whole: its share is 1.
        down = (rows >= box[0][:, None]) & (rows < box[1][:, None])
        across = (columns >= box[2][:, None]) & (columns < box[3][:, None])
        cut = torch.where((down[:, :, None] & across[:, None, :])[:, None], other, own)
        share = self.share[index][:, None, None, None]
        blend = (share * own + (1 - share) * other).round().to(torch.uint8)
        return torch.where((box[1] > box[0])[:, None, None, None], cut, blend)

    def targets(self, labels: Tensor, index: Tensor, *, classes: int) -> Tensor:
        """The labels of the pictures: (batch,) int64, or (batch, K) float32 class shares where they are mixed.

        labels: (n,) int64, of all samples, -1 where there is none; a picture mixed with such a one has none, all 0.
        Of a multi-label task (n, K), and so are the shares; a class unknown of either picture is unknown, -1.
        """
        if self.partner is None or self.share is None:
            return labels[index]
        share = self.share[index][:, None]
        partner = self.partner[index]
        if labels.ndim == 2:
            mine, theirs = labels[index].float(), labels[partner].float()
            return torch.where((mine >= 0) & (theirs >= 0), share * mine + (1 - share) * theirs, -1.0)
        known = ((labels[index] >= 0) & (labels[partner] >= 0)).float()[:, None]
        own, other = (F.one_hot(labels[i].clamp(min=0), classes).float() for i in (index, partner))
        return known * (share * own + (1 - share) * other)

    def _moved(self, images: Tensor, index: Tensor) -> Tensor:
        """Cut, then mirrored; both are one look-up of pixels."""
        if self.offsets is None and self.mirrored is None:
            return images
        batch, _, height, width = images.shape
        device = images.device
        rows = torch.arange(height, device=device).expand(batch, -1)
        columns = torch.arange(width, device=device).expand(batch, -1)
        if self.mirrored is not None:
            columns = torch.where(self.mirrored[index][:, None], columns.flip(1), columns)
        if self.offsets is not None:
            rows, columns = (base + self.offsets[i, index][:, None] for i, base in enumerate((rows, columns)))
        padded = F.pad(images.permute(0, 2, 3, 1), (0, 0, *(self.padding,) * 4))
        each = torch.arange(batch, device=device)[:, None, None]
        return padded[each, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _mix(
    augmentation: Augmentation, samples: int, size: tuple[int, ...], generator: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Own share of the label (n,) float32, and the box of the partner's pixels (4, n) int64, empty for mixup."""
    both = augmentation.mixup > 0 and augmentation.cutmix > 0
    cuts = generator.random(samples) < (0.5 if both else float(augmentation.cutmix > 0))
    # Beta of a tiny alpha is 0 or 1 in all but name; alpha 0 stands for "no such mix" and is never taken.
    blended = generator.beta(augmentation.mixup or 1.0, augmentation.mixup or 1.0, samples)
    kept = generator.beta(augmentation.cutmix or 1.0, augmentation.cutmix or 1.0, samples)
    lengths = np.array(size, dtype=np.float64)[:, None]
    centre = generator.random((2, samples)) * lengths
    half = 0.5 * lengths * np.sqrt(1 - kept)
    low, high = np.maximum((centre - half).round(), 0), np.minimum((centre + half).round(), lengths)
    # A box is cut off at the border and rounded to pixels: its true area is the partner's share.
    share = np.where(cuts, 1 - (high - low).prod(axis=0) / lengths.prod(), blended)
    box = np.where(cuts, np.stack([low[0], high[0], low[1], high[1]]), 0)
    return torch.from_numpy(share.astype(np.float32)), torch.from_numpy(box.astype(np.int64))
