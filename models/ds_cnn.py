"""The depthwise-separable network of MLPerf Tiny's keyword spotting."""

from __future__ import annotations

from torch import Tensor, nn

from edgekd.errors import BadInputError
from edgekd.models.resnet import initialise, pooled
from edgekd.models.scale import repeated

WIDTH = 64
BLOCKS = 4


def separable(width: int) -> list[nn.Module]:
    """A 3x3 depthwise and a 1x1 convolution, each with bias, batch normalisation and ReLU."""
    return [
        nn.Conv2d(width, width, 3, padding=1, groups=width),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, width, 1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    ]


class DsCnn(nn.Module):
    """A 10x4 convolution of stride 2, four depthwise-separable blocks, average pooling, a linear layer."""

    def __init__(self, *, num_classes: int, in_channels: int, width: float = 1.0, blocks: int = BLOCKS) -> None:
        """Build the network; the reference's dropout is left out.

        Args:
            num_classes: K, the number of logits.
            in_channels: channels of the input: 1 for the 49x10 MFCC map of the benchmark.
            width: factor of the 64 channels.
            blocks: depthwise-separable ones.

        Source: Banbury et al. 2021, "MLPerf Tiny Benchmark"; Zhang et al. 2017, "Hello Edge".
        """
        super().__init__()
        channels = round(width * WIDTH)
        if channels < 1:
            raise BadInputError(f"ds_cnn: width = {width} leaves {channels} channels; expected 1/64 or more")
        # Keras' "same" padding of an even kernel: one more after than before. It gives ceil(size / 2).
        stem = [
            nn.ZeroPad2d((1, 2, 4, 5)),
            nn.Conv2d(in_channels, channels, (10, 4), stride=2),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        ]
        layers = [layer for _ in range(repeated(blocks, model="ds_cnn")) for layer in separable(channels)]
        self.features = nn.Sequential(*stem, *layers)
        self.head = nn.Linear(channels, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map float (batch, in_channels, H, W) maps or images to float (batch, K) logits."""
        logits: Tensor = self.head(pooled(self.features(x)))
        return logits
