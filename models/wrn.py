"""Wide residual networks: pre-activation basic blocks widened by a factor."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from edgekd.models.resnet import initialise, pooled
from edgekd.models.scale import repeated, widened


class WideBlock(nn.Module):
    """Normalise, ReLU, 3x3 convolution, twice, added to a shortcut.

    Where the width or the size changes, the shortcut is a 1x1 convolution of the activated input; otherwise it is the
    untouched input.
    """

    def __init__(self, in_width: int, width: int, *, stride: int) -> None:
        """Build one block.

        Args:
            in_width: channels in.
            width: channels out.
            stride: stride of the first convolution and of the shortcut.
        """
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_width)
        self.conv1 = nn.Conv2d(in_width, width, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.projection: nn.Conv2d | None = None
        if in_width != width or stride != 1:
            self.projection = nn.Conv2d(in_width, width, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map float (batch, in_width, H, W) to (batch, width, ceil(H / stride), ceil(W / stride))."""
        active = functional.relu(self.norm1(x))
        residual: Tensor = self.conv2(functional.relu(self.norm2(self.conv1(active))))
        shortcut = x if self.projection is None else self.projection(active)
        return residual + shortcut


class WideResNet(nn.Module):
    """A 3x3 stem of 16 channels, three stages of wide blocks, normalisation, pooling, a linear layer."""

    def __init__(
        self,
        *,
        depth: int,
        factor: int,
        num_classes: int,
        in_channels: int,
        width: float = 1.0,
        blocks: int | None = None,
    ) -> None:
        """Build WRN-<depth>-<factor> without dropout.

        Args:
            depth: 6n + 4, where n is the number of blocks in each of the three stages.
            factor: the widening of the stages 16, 32, 64.
            num_classes: K, the number of logits.
            in_channels: channels of the input image.
            width: factor of the channels of all stages, each a multiple of 8.
            blocks: of each stage; None: what the depth says.

        Raises:
            BadInputError: a width or a number of blocks that cannot be.

        Source: Zagoruyko and Komodakis 2016, "Wide Residual Networks".
        """
        super().__init__()
        name = f"wrn_{depth}_{factor}"
        repeats = (depth - 4) // 6 if blocks is None else repeated(blocks, model=name)
        self.conv = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        layers: list[nn.Module] = []
        in_width = 16
        for stage, base in enumerate((16, 32, 64)):
            channels = widened(base * factor, width, model=name)
            for index in range(repeats):
                stride = 2 if stage > 0 and index == 0 else 1
                layers.append(WideBlock(in_width, channels, stride=stride))
                in_width = channels
        self.blocks = nn.Sequential(*layers)
        self.norm = nn.BatchNorm2d(in_width)
        self.head = nn.Linear(in_width, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map float (batch, in_channels, H, W) images to float (batch, K) logits."""
        features = functional.relu(self.norm(self.blocks(self.conv(x))))
        logits: Tensor = self.head(pooled(features))
        return logits
