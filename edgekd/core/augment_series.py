"""Views of sensor readings: scaled, shifted in time, with noise (Um et al. 2017, arXiv 1706.00527)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from edgekd.core import noise


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesAugmentation:
    """What a view does to each window of readings.

    jitter: standard deviation of noise on every reading, in units of its channel's deviation. scaling: standard
    deviation of a factor around 1, one a channel, around the channel's mean. shift: largest shift in time, a share of
    the window, either way; the first or last reading fills the gap. mean, deviation: of each channel of the training
    split, in the sensor's own unit.
    """

    jitter: float = 0.0
    scaling: float = 0.0
    shift: float = 0.0
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()

    @property
    def random(self) -> bool:
        """Whether two views differ at all."""
        return bool(self.jitter or self.scaling or self.shift)

    @property
    def mixes(self) -> bool:
        """Windows keep their own label."""
        return False

    def draw(self, *, seed: int, view: int, samples: int, size: tuple[int, ...], device: torch.device) -> "SeriesView":
        """See `edgekd.core.augment.Augmenting`; the numbers are drawn when a window is asked for."""
        return SeriesView(augmentation=self, seed=seed, view=view)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesView:
    """One view of all windows: nothing but its name, for every random number is a hash of where it stands."""

    augmentation: SeriesAugmentation
    seed: int
    view: int

    def needed(self, index: Tensor) -> Tensor:
        """The windows themselves."""
        return index

    def inputs(self, raw: Tensor, index: Tensor) -> Tensor:
        """The windows of this view. raw: (batch, length, channels) float32, those of `index`; so is the result."""
        chosen = self.augmentation
        if not chosen.random:
            return raw
        index = index.to(raw.device)
        batch, length, channels = raw.shape
        mean, deviation = (torch.tensor(numbers, device=raw.device) for numbers in (chosen.mean, chosen.deviation))
        windows = self._shifted(raw, index)
        if chosen.scaling:
            factor = 1.0 + chosen.scaling * noise.normal(self._keys(index, 1), channels)[:, None]
            windows = mean + (windows - mean) * factor
        if chosen.jitter:
            spread = noise.normal(self._keys(index, 2), length * channels).view(batch, length, channels)
            windows = windows + chosen.jitter * deviation * spread
        return windows

    def targets(self, labels: Tensor, index: Tensor, *, classes: int) -> Tensor:
        """The labels of the windows, as they are."""
        return labels[index]

    def _shifted(self, raw: Tensor, index: Tensor) -> Tensor:
        length = raw.shape[1]
        farthest = int(self.augmentation.shift * length)
        if not farthest:
            return raw
        steps = (noise.uniform(self._keys(index, 0), 1) * (2 * farthest + 1)).long() - farthest
        places = (torch.arange(length, device=raw.device) + steps).clamp(0, length - 1)
        return raw.gather(1, places[:, :, None].expand_as(raw))

    def _keys(self, index: Tensor, stream: int) -> Tensor:
        return noise.keys(self.seed, self.view, index, stream=stream)
