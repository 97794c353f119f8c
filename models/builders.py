"""The callable behind each name of `MODELS`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from edgekd.models.ds_cnn import DsCnn
from edgekd.models.mobilenet_v2 import MobileNetV2
from edgekd.models.resnet import cifar_resnet, tiny_resnet8
from edgekd.models.series import DsCnn1d, ResNet1d
from edgekd.models.text import TextCnn, TextMean, TextTransformer
from edgekd.models.wrn import WideResNet

BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "resnet8": partial(cifar_resnet, name="resnet8", depth=8, wide=False),
    "resnet20": partial(cifar_resnet, name="resnet20", depth=20, wide=False),
    "resnet56": partial(cifar_resnet, name="resnet56", depth=56, wide=False),
    "resnet8x4": partial(cifar_resnet, name="resnet8x4", depth=8, wide=True),
    "resnet32x4": partial(cifar_resnet, name="resnet32x4", depth=32, wide=True),
    "wrn_16_1": partial(WideResNet, depth=16, factor=1),
    "wrn_16_2": partial(WideResNet, depth=16, factor=2),
    "wrn_40_2": partial(WideResNet, depth=40, factor=2),
    "mobilenet_v2": MobileNetV2,
    "resnet8_tiny": tiny_resnet8,
    "ds_cnn": DsCnn,
    "resnet_1d": ResNet1d,
    "ds_cnn_1d": DsCnn1d,
    "text_mean": TextMean,
    "text_cnn": TextCnn,
    "text_transformer": TextTransformer,
}
