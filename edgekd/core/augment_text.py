"""Views of texts: some tokens are replaced by the unknown one."""

from dataclasses import dataclass

import torch
from torch import Tensor

from edgekd.core import noise

UNKNOWN = 1
"""The number that stands in the place of a token: a trained tokenizer's `[UNK]`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextAugmentation:
    """What a view does to each text.

    dropout: share of its tokens that become unknown (Iyyer et al. 2015, "Deep Unordered Composition Rivals Syntactic
    Methods for Text Classification", ACL, there called word dropout); padding stays padding.
    """

    dropout: float = 0.0

    @property
    def random(self) -> bool:
        """Whether two views differ at all."""
        return bool(self.dropout)

    @property
    def mixes(self) -> bool:
        """Texts keep their own label."""
        return False

    def draw(self, *, seed: int, view: int, samples: int, size: tuple[int, ...], device: torch.device) -> "TextView":
        """See `edgekd.core.augment.Augmenting`; the numbers are drawn when a text is asked for."""
        return TextView(augmentation=self, seed=seed, view=view)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextView:
    """One view of all texts: nothing but its name, for every random number is a hash of where it stands."""

    augmentation: TextAugmentation
    seed: int
    view: int

    def needed(self, index: Tensor) -> Tensor:
        """The texts themselves."""
        return index

    def inputs(self, raw: Tensor, index: Tensor) -> Tensor:
        """The texts of this view. raw: (batch, length) int32, those of `index`. Returns the same shape and type."""
        if not self.augmentation.random:
            return raw
        keys = noise.keys(self.seed, self.view, index.to(raw.device), stream=0)
        dropped = noise.uniform(keys, raw.shape[1]) < self.augmentation.dropout
        return torch.where(dropped & (raw != 0), UNKNOWN, raw)

    def targets(self, labels: Tensor, index: Tensor, *, classes: int) -> Tensor:
        """The labels of the texts, as they are."""
        return labels[index]
