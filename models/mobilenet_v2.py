"""MobileNetV2 with the strides of small inputs."""

from __future__ import annotations

from torch import Tensor, nn

from edgekd.errors import BadInputError
from edgekd.models.resnet import initialise, pooled

# Expansion, channels, blocks, stride of the first block: Table 2 of the paper, but the stage of 24
# channels has stride 1 (and the stem too), so that a 32x32 image ends as 4x4 and not as 1x1.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def scaled(channels: int, *, width: float) -> int:
    """Channels times width, rounded to a multiple of 8, at least 8 and never below 90 % of the product."""
    wanted = channels * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * wanted else rounded + 8


def convolution(in_width: int, width: int, *, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """A padded convolution without bias, batch normalisation and ReLU6."""
    return nn.Sequential(
        nn.Conv2d(in_width, width, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU6(),
    )


class InvertedResidual(nn.Module):
    """Expand by 1x1, filter depthwise by 3x3, project linearly by 1x1; add the input where shapes agree."""

    def __init__(self, in_width: int, width: int, *, expansion: int, stride: int) -> None:
        """Build one block.

        Args:
            in_width: channels in.
            width: channels out.
            expansion: factor of the inner width; 1 leaves the expanding convolution out.
            stride: stride of the depthwise convolution.
        """
        super().__init__()
        inner = in_width * expansion
        expand = [convolution(in_width, inner, kernel=1)] if expansion > 1 else []
        self.layers = nn.Sequential(
            *expand,
            convolution(inner, inner, kernel=3, stride=stride, groups=inner),
            nn.Conv2d(inner, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.residual = stride == 1 and in_width == width

    def forward(self, x: Tensor) -> Tensor:
        """Map float (batch, in_width, H, W) to (batch, width, ceil(H / stride), ceil(W / stride))."""
        out: Tensor = self.layers(x)
        return x + out if self.residual else out


class MobileNetV2(nn.Module):
    """A stem of 32 channels, seven stages of inverted residuals, 1x1 to 1280 channels, a linear layer."""

    def __init__(self, *, num_classes: int, in_channels: int, width: float = 1.0) -> None:
        """Build the network without dropout.

        Args:
            num_classes: K, the number of logits.
            in_channels: channels of the input image.
            width: factor of every width, each rounded to a multiple of 8; the last 1280 only grow.

        Raises:
            BadInputError: width is not a number above 0.

        Source: Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks".
        """
        if isinstance(width, str | bool) or not 0 < width <= 16:
            raise BadInputError(
                f"option width of mobilenet_v2 is {width!r}; expected a number above 0 and at most 16; "
                "1.0 is the paper's network"
            )
        super().__init__()
        in_width = scaled(32, width=width)
        layers: list[nn.Module] = [convolution(in_channels, in_width, kernel=3)]
        for expansion, channels, blocks, stride in STAGES:
            out_width = scaled(channels, width=width)
            for index in range(blocks):
                first = stride if index == 0 else 1
                layers.append(InvertedResidual(in_width, out_width, expansion=expansion, stride=first))
                in_width = out_width
        last = scaled(1280, width=max(1.0, width))
        layers.append(convolution(in_width, last, kernel=1))
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(last, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map float (batch, in_channels, H, W) images to float (batch, K) logits."""
        logits: Tensor = self.head(pooled(self.features(x)))
        return logits
