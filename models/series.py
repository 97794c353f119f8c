"""Networks for windows of sensor readings: a residual network and a depthwise-separable one, along time.

Their 1-D convolutions are 2-D ones over a map of height 1, which is the same arithmetic: ONNX Runtime's fast float
layout (NCHWc) is for 2-D convolutions alone, and its 1-D float kernels take up to twice the time; in int8 both take the
same.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from edgekd.models.resnet import initialise, pooled
from edgekd.models.scale import repeated


def scaled(width: int, factor: float) -> int:
    """Channels of a layer at this width factor: a multiple of 8, which fills a SIMD register, at least 8."""
    return max(8, 8 * round(width * factor / 8))


def along_time(in_width: int, width: int, kernel: int, *, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution along time with "same" padding, batch normalisation. The output has ceil(length / stride) steps."""
    # Keras' "same": of an even kernel one more zero after than before.
    before, after = (kernel - 1) // 2, kernel // 2
    padded: list[nn.Module] = [nn.ZeroPad2d((before, after, 0, 0))] if before != after else []
    padding = (0, before if before == after else 0)
    convolution = nn.Conv2d(
        in_width, width, (1, kernel), stride=(1, stride), padding=padding, groups=groups, bias=False
    )
    return [*padded, convolution, nn.BatchNorm2d(width)]


class Residual(nn.Module):
    """Three convolutions of kernels 8, 5 and 3, added to a shortcut, then ReLU."""

    def __init__(self, in_width: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *along_time(in_width, width, 8),
            nn.ReLU(),
            *along_time(width, width, 5),
            nn.ReLU(),
            *along_time(width, width, 3),
        )
        self.shortcut = nn.Sequential(*(along_time(in_width, width, 1) if in_width != width else [nn.Identity()]))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_width, 1, length) to (batch, width, 1, length)."""
        return functional.relu(self.layers(x) + self.shortcut(x))


class ResNet1d(nn.Module):
    """Three residual blocks of 64, 128 and 128 channels at full length, average pooling, a linear layer."""

    def __init__(self, *, num_classes: int, in_channels: int, width: float = 1.0) -> None:
        """Build the network.

        Args:
            num_classes: K, the number of logits.
            in_channels: channels of the series.
            width: factor of the channels of every block.

        Source: Wang, Yan and Oates 2017, "Time Series Classification from Scratch with Deep Neural Networks: A Strong
        Baseline", arxiv.org/abs/1611.06455; kernels and shortcuts as in its authors' code. A shortcut without a change
        of width is bare here, normalised there.
        """
        super().__init__()
        widths = [scaled(channels, width) for channels in (64, 128, 128)]
        blocks = zip([in_channels, *widths], widths, strict=False)
        self.features = nn.Sequential(*(Residual(before, after) for before, after in blocks))
        self.head = nn.Linear(widths[-1], num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map float (batch, in_channels, length) to float (batch, K) logits."""
        logits: Tensor = self.head(pooled(self.features(x[:, :, None])))
        return logits


class DsCnn1d(nn.Module):
    """A convolution of kernel 10 and stride 2, four depthwise-separable blocks, average pooling, a linear layer."""

    def __init__(self, *, num_classes: int, in_channels: int, width: float = 1.0, blocks: int = 4) -> None:
        """Build the network: the DS-CNN of keyword spotting with its kernels' extent in time alone.

        Args:
            num_classes: K, the number of logits.
            in_channels: channels of the series.
            width: factor of the 64 channels.
            blocks: depthwise-separable ones.

        Source: Zhang et al. 2017, "Hello Edge: Keyword Spotting on Microcontrollers", arxiv.org/abs/1711.07128, size S.
        """
        super().__init__()
        channels = scaled(64, width)
        layers = [*along_time(in_channels, channels, 10, stride=2), nn.ReLU()]
        for _ in range(repeated(blocks, model="ds_cnn_1d")):
            layers += [*along_time(channels, channels, 3, groups=channels), nn.ReLU()]
            layers += [*along_time(channels, channels, 1), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(channels, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map float (batch, in_channels, length) to float (batch, K) logits."""
        logits: Tensor = self.head(pooled(self.features(x[:, :, None])))
        return logits
