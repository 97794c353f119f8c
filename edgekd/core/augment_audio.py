"""Views of sound: shifted in time, with white noise under it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from edgekd.core import noise


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioAugmentation:
    """What a view does to each clip.

    shift: largest shift in time, samples, either way; silence fills the gap. noise: largest standard deviation of white
    noise, as a share of the clip's root mean square; each clip's own is drawn evenly from 0 on.
    """

    shift: int = 0
    noise: float = 0.0

    @property
    def random(self) -> bool:
        """Whether two views differ at all."""
        return bool(self.shift or self.noise)

    @property
    def mixes(self) -> bool:
        """Clips keep their own label."""
        return False

    def draw(self, *, seed: int, view: int, samples: int, size: tuple[int, ...], device: torch.device) -> "AudioView":
        """See `edgekd.core.augment.Augmenting`; the numbers are drawn when a clip is asked for."""
        return AudioView(augmentation=self, seed=seed, view=view)


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioView:
    """One view of all clips: nothing but its name, for every random number is a hash of where it stands."""

    augmentation: AudioAugmentation
    seed: int
    view: int

    def needed(self, index: Tensor) -> Tensor:
        """The clips themselves."""
        return index

    def inputs(self, raw: Tensor, index: Tensor) -> Tensor:
        """The clips of this view. raw: (batch, samples) int16, those of `index`. Returns the same shape and type."""
        chosen, index = self.augmentation, index.to(raw.device)
        clips = self._shifted(raw, index) if chosen.shift else raw
        if not chosen.noise:
            return clips
        loud = clips.float()
        level = chosen.noise * noise.uniform(self._keys(index, 1), 1) * loud.square().mean(dim=1, keepdim=True).sqrt()
        noisy = loud + level * noise.normal(self._keys(index, 2), clips.shape[1])
        return noisy.round().clamp(-32_768, 32_767).to(torch.int16)

    def targets(self, labels: Tensor, index: Tensor, *, classes: int) -> Tensor:
        """The labels of the clips, as they are."""
        return labels[index]

    def _shifted(self, raw: Tensor, index: Tensor) -> Tensor:
        length, farthest = raw.shape[1], self.augmentation.shift
        steps = (noise.uniform(self._keys(index, 0), 1) * (2 * farthest + 1)).long() - farthest
        places = torch.arange(length, device=raw.device) - steps
        inside = (places >= 0) & (places < length)
        return raw.gather(1, places.clamp(0, length - 1)) * inside.to(raw.dtype)

    def _keys(self, index: Tensor, stream: int) -> Tensor:
        return noise.keys(self.seed, self.view, index, stream=stream)
