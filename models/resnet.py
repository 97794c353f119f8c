"""Post-activation CIFAR ResNets of the distillation literature, and the MLPerf Tiny ResNet-8."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from edgekd.models.scale import repeated, widened


def initialise(module: nn.Module) -> None:
    """Draw He (fan-out) weights for every convolution in place; normalisation starts at scale 1, shift 0.

    Args:
        module: any network; convolution biases become 0, linear layers keep PyTorch's default.

    Source: He et al. 2015, "Delving Deep into Rectifiers".
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)


def pooled(features: Tensor) -> Tensor:
    """Average (batch, C, H, W) features over H and W: float (batch, C)."""
    return functional.adaptive_avg_pool2d(features, 1).flatten(1)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch normalisation, added to a shortcut, then ReLU.

    The shortcut is the identity, or a 1x1 convolution where stride or width changes.
    """

    def __init__(
        self, in_width: int, width: int, *, stride: int, bias: bool = False, shortcut_norm: bool = True
    ) -> None:
        """Build one block.

        Args:
            in_width: channels in.
            width: channels out.
            stride: stride of the first convolution and of the shortcut.
            bias: whether convolutions carry a bias next to their normalisation.
            shortcut_norm: whether a convolutional shortcut is normalised.
        """
        super().__init__()
        self.conv1 = nn.Conv2d(in_width, width, 3, stride=stride, padding=1, bias=bias)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=bias)
        self.norm2 = nn.BatchNorm2d(width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_width != width:
            projection = nn.Conv2d(in_width, width, 1, stride=stride, bias=bias)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(width)) if shortcut_norm else projection

    def forward(self, x: Tensor) -> Tensor:
        """Map float (batch, in_width, H, W) to (batch, width, ceil(H / stride), ceil(W / stride))."""
        inner = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))


class ResNet(nn.Module):
    """A 3x3 stem, stages of basic blocks (stride 2 from the second on), average pooling, a linear layer."""

    def __init__(
        self,
        *,
        blocks: int,
        stem: int,
        widths: Sequence[int],
        num_classes: int,
        in_channels: int,
        bias: bool = False,
        shortcut_norm: bool = True,
    ) -> None:
        """Build the network.

        Args:
            blocks: basic blocks in each stage; depth is 6 * blocks + 2 for three stages.
            stem: channels of the first convolution.
            widths: channels of each stage.
            num_classes: K, the number of logits.
            in_channels: channels of the input image.
            bias: whether convolutions carry a bias.
            shortcut_norm: whether convolutional shortcuts are normalised.

        Source: He et al. 2016, "Deep Residual Learning for Image Recognition", section 4.2, with the
        projection shortcuts of Tian et al. 2020, "Contrastive Representation Distillation".
        """
        super().__init__()
        self.conv = nn.Conv2d(in_channels, stem, 3, padding=1, bias=bias)
        self.norm = nn.BatchNorm2d(stem)
        layers: list[nn.Module] = []
        in_width = stem
        for stage, width in enumerate(widths):
            for index in range(blocks):
                stride = 2 if stage > 0 and index == 0 else 1
                layers.append(BasicBlock(in_width, width, stride=stride, bias=bias, shortcut_norm=shortcut_norm))
                in_width = width
        self.blocks = nn.Sequential(*layers)
        self.head = nn.Linear(in_width, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map float (batch, in_channels, H, W) images to float (batch, K) logits."""
        features: Tensor = self.blocks(functional.relu(self.norm(self.conv(x))))
        logits: Tensor = self.head(pooled(features))
        return logits


def cifar_resnet(
    *,
    name: str,
    depth: int,
    wide: bool,
    num_classes: int,
    in_channels: int,
    width: float = 1.0,
    blocks: int | None = None,
) -> ResNet:
    """Build resnet<depth>, or resnet<depth>x4 when wide.

    Args:
        name: for messages.
        depth: 8, 20, 32, 56 ...: 6n + 2.
        wide: stem 32 and stages 64, 128, 256 in place of stem 16 and stages 16, 32, 64.
        num_classes: K, the number of logits.
        in_channels: channels of the input image.
        width: factor of all channels, each a multiple of 8.
        blocks: of each stage; None: what the depth says.

    Raises:
        BadInputError: a width or a number of blocks that cannot be.
    """
    return ResNet(
        blocks=(depth - 2) // 6 if blocks is None else repeated(blocks, model=name),
        stem=widened(32 if wide else 16, width, model=name),
        widths=[widened(channels, width, model=name) for channels in ((64, 128, 256) if wide else (16, 32, 64))],
        num_classes=num_classes,
        in_channels=in_channels,
    )


def tiny_resnet8(*, num_classes: int, in_channels: int, width: float = 1.0, blocks: int = 1) -> ResNet:
    """Build the MLPerf Tiny image-classification ResNet-8: biased convolutions, bare 1x1 shortcuts.

    Args:
        num_classes: K, the number of logits.
        in_channels: channels of the input image.
        width: factor of all channels, each a multiple of 8.
        blocks: of each stage.

    Source: Banbury et al. 2021, "MLPerf Tiny Benchmark".
    """
    return ResNet(
        blocks=repeated(blocks, model="resnet8_tiny"),
        stem=widened(16, width, model="resnet8_tiny"),
        widths=[widened(channels, width, model="resnet8_tiny") for channels in (16, 32, 64)],
        num_classes=num_classes,
        in_channels=in_channels,
        bias=True,
        shortcut_norm=False,
    )
