"""The networks by name: what each is, how to build one, how large it is; importing this loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from edgekd.errors import BadInputError, nearest
from edgekd.models.scale import SCALES, Scale

if TYPE_CHECKING:
    from torch import nn

Options = Mapping[str, float | int | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """One network: its family, its parameter count in the setting of its source, and the source.

    `options` names the keys that `build` accepts for it; `kinds` the data that it takes; `shortest` the fewest readings
    of a series that fill its receptive field to the half.
    """

    name: str
    family: str
    published_parameters: int
    published_setting: str
    source: str
    note: str = ""
    options: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ("image", "audio")
    shortest: int = 1

    @property
    def scales(self) -> tuple[Scale, ...]:
        """The options that make it smaller or larger: its width, then its depth where it has one."""
        return SCALES.get(self.name, ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A network's size for one input: trainable parameters and multiply-accumulates of one sample."""

    name: str
    parameters: int
    macs: int


_CIFAR = "K=100, 3 channels"
_CIFAR_NOTE = "1x1 convolution with batch norm as shortcut where the shape changes, as in CRD"
_CRD = "He et al. 2016, arxiv.org/abs/1512.03385; variant of Tian et al. 2020, arxiv.org/abs/1910.10699"
_WRN = "Zagoruyko and Komodakis 2016, arxiv.org/abs/1605.07146"
_TINY = "Banbury et al. 2021 (MLPerf Tiny), arxiv.org/abs/2106.07597"

MODELS: dict[str, ModelInfo] = {
    "resnet8": ModelInfo(
        name="resnet8",
        family="resnet",
        published_parameters=83_892,
        published_setting=_CIFAR,
        source=_CRD,
        note=f"{_CIFAR_NOTE}; the count is derived by hand from the layer shapes (papers round it to 0.08 M)",
        options=("width", "blocks"),
    ),
    "resnet20": ModelInfo(
        name="resnet20",
        family="resnet",
        published_parameters=278_324,
        published_setting=_CIFAR,
        source=_CRD,
        note=_CIFAR_NOTE,
        options=("width", "blocks"),
    ),
    "resnet56": ModelInfo(
        name="resnet56",
        family="resnet",
        published_parameters=861_620,
        published_setting=_CIFAR,
        source=_CRD,
        note=_CIFAR_NOTE,
        options=("width", "blocks"),
    ),
    "resnet8x4": ModelInfo(
        name="resnet8x4",
        family="resnet",
        published_parameters=1_233_540,
        published_setting=_CIFAR,
        source=_CRD,
        note=f"stem 32, stages 64, 128, 256; {_CIFAR_NOTE}",
        options=("width", "blocks"),
    ),
    "resnet32x4": ModelInfo(
        name="resnet32x4",
        family="resnet",
        published_parameters=7_433_860,
        published_setting=_CIFAR,
        source=_CRD,
        note=f"stem 32, stages 64, 128, 256; {_CIFAR_NOTE}",
        options=("width", "blocks"),
    ),
    "wrn_16_1": ModelInfo(
        name="wrn_16_1",
        family="wrn",
        published_parameters=180_916,
        published_setting=_CIFAR,
        source=_WRN,
        note="the count is derived by hand from the layer shapes (papers round it to 0.2 M); no dropout",
        options=("width", "blocks"),
    ),
    "wrn_16_2": ModelInfo(
        name="wrn_16_2",
        family="wrn",
        published_parameters=703_284,
        published_setting=_CIFAR,
        source=_WRN,
        note="no dropout",
        options=("width", "blocks"),
    ),
    "wrn_40_2": ModelInfo(
        name="wrn_40_2",
        family="wrn",
        published_parameters=2_255_156,
        published_setting=_CIFAR,
        source=_WRN,
        note="no dropout",
        options=("width", "blocks"),
    ),
    "mobilenet_v2": ModelInfo(
        name="mobilenet_v2",
        family="mobilenet_v2",
        published_parameters=3_504_872,
        published_setting="K=1000, 3 channels, width 1.0",
        source="Sandler et al. 2018, arxiv.org/abs/1801.04381; count of torchvision's model page",
        note="the first two strides of 2 are 1, for small inputs; no dropout",
        options=("width",),
    ),
    "resnet8_tiny": ModelInfo(
        name="resnet8_tiny",
        family="resnet",
        published_parameters=78_666,
        published_setting="K=10, 3 channels, batch-norm statistics counted",
        source=_TINY,
        note="biased convolutions, bare 1x1 shortcuts; strided layers pad both sides, Keras pads one",
        options=("width", "blocks"),
    ),
    "ds_cnn": ModelInfo(
        name="ds_cnn",
        family="ds_cnn",
        published_parameters=24_908,
        published_setting="K=12, 1 channel, batch-norm statistics counted",
        source=_TINY,
        note="average pooling over the whole map for any input size; no dropout; options.width scales it",
        options=("width", "blocks"),
    ),
    "resnet_1d": ModelInfo(
        name="resnet_1d",
        family="resnet_1d",
        published_parameters=502_850,
        published_setting="K=2, 1 channel, width 1.0",
        source="Wang et al. 2017, arxiv.org/abs/1611.06455",
        note="the count is derived by hand from the layer shapes; for sensor readings; options.width scales it",
        options=("width",),
        kinds=("series",),
        shortest=20,
    ),
    "ds_cnn_1d": ModelInfo(
        name="ds_cnn_1d",
        family="ds_cnn_1d",
        published_parameters=19_724,
        published_setting="K=12, 1 channel, width 1.0",
        source="Zhang et al. 2017, arxiv.org/abs/1711.07128, size S, kernels in time alone",
        note="the count is derived by hand from the layer shapes; for sensor readings; options.width scales it",
        options=("width", "blocks"),
        kinds=("series",),
        shortest=13,
    ),
    "text_mean": ModelInfo(
        name="text_mean",
        family="text_mean",
        published_parameters=641_300,
        published_setting="K=20, 10,000 tokens, width 64",
        source="Joulin et al. 2016, arxiv.org/abs/1607.01759, without n-grams",
        note="the count is derived by hand from the layer shapes",
        options=("width", "dropout"),
        kinds=("text",),
    ),
    "text_cnn": ModelInfo(
        name="text_cnn",
        family="text_cnn",
        published_parameters=723_120,
        published_setting="K=20, 10,000 tokens, width 64, 100 filters of 3, 4 and 5 tokens",
        source="Kim 2014, arxiv.org/abs/1408.5882",
        note="the count is derived by hand from the layer shapes; embeddings of 64 numbers, not 300",
        options=("width", "filters", "longest", "dropout"),
        kinds=("text",),
    ),
    "text_transformer": ModelInfo(
        name="text_transformer",
        family="text_transformer",
        published_parameters=708_372,
        published_setting="K=20, 10,000 tokens, width 64, 2 blocks",
        source="Vaswani et al. 2017, arxiv.org/abs/1706.03762; pre-norm as in arxiv.org/abs/2002.04745",
        note="the count is derived by hand from the layer shapes; inner layers twice as wide",
        options=("width", "depth", "heads", "dropout"),
        kinds=("text",),
    ),
}


def build(name: str, *, num_classes: int, in_channels: int, options: Options = MappingProxyType({})) -> nn.Module:
    """A freshly initialised network that maps float (batch, in_channels, H, W) to (batch, K) logits.

    Of other kinds of data float (batch, in_channels, length), or int64 (batch, length) tokens of a text.

    Args:
        name: a key of `MODELS`, or `path/to/file.py:callable` for the user's own network; a relative path
            starts at the working directory.
        num_classes: K, the number of logits.
        in_channels: channels of the input, or tokens of the vocabulary.
        options: those that `MODELS` names for it; anything for the user's own network, passed on as keywords.

    Raises:
        BadInputError: unknown name or option, fewer than one class or channel, or the user's own file
            does not give an `nn.Module`.
    """
    if num_classes < 1 or in_channels < 1:
        raise BadInputError(
            f"cannot build '{name}' for {num_classes} classes and {in_channels} channels; "
            "expected at least 1 of each; check the data"
        )
    if is_own(name):
        from edgekd.models.own import load_own

        return load_own(name, num_classes=num_classes, in_channels=in_channels, options=options)
    check_name(name, options=options)
    from edgekd.models.builders import BUILDERS

    return BUILDERS[name](num_classes=num_classes, in_channels=in_channels, **options)


def is_own(name: str) -> bool:
    """Whether the name points at the user's own network, as in `nets/mine.py:build`."""
    return ":" in name or name.endswith(".py")


def check_name(name: str, *, options: Options = MappingProxyType({})) -> None:
    """Refuse a built-in name or an option that does not exist; loads no torch.

    Args:
        name: a key of `MODELS`.
        options: as in `build`; only the keys are looked at.

    Raises:
        BadInputError: unknown name or option, with the known ones and the nearest spelling.
    """
    if name not in MODELS:
        known = list(MODELS)
        raise BadInputError(
            f"unknown model '{name}'; known: {', '.join(known)} "
            f"(or your own network as path/to/file.py:callable){nearest(name, known)}"
        )
    allowed = list(MODELS[name].options)
    for key in options:
        if key not in allowed:
            known_options = ", ".join(allowed) or "none"
            raise BadInputError(
                f"unknown option '{key}' of model '{name}'; known: {known_options}{nearest(key, allowed)}; "
                "remove it or correct its spelling"
            )


def check_kind(name: str, *, kind: str, length: int | None = None) -> None:
    """Refuse a built-in network that is not for this kind of data, or not for windows as short; loads no torch.

    Args:
        name: a key of `MODELS`; the user's own networks pass.
        kind: of the data, `image`, `series`, `audio` or `text`.
        length: readings a window, of series.

    Raises:
        BadInputError: it names the networks that fit.
    """
    if is_own(name):
        return
    info = MODELS[name]
    others = [other for other in MODELS.values() if kind in other.kinds]
    fitting = [other.name for other in others if other.shortest <= (length or 1)]
    if kind not in info.kinds:
        longer = ", ".join(
            f"{other.name} (from {other.shortest} readings on; the data has {length})" for other in others
        )
        pixels = (
            " (numbers with a point are taken for readings; images are raw uint8 pixels)" if kind == "series" else ""
        )
        raise BadInputError(
            f"model '{name}' takes data of kind {' or '.join(info.kinds)}, and the data is of kind {kind}{pixels}; "
            f"expected one of: {', '.join(fitting) or longer} (or your own network as path/to/file.py:callable)"
        )
    if length is not None and length < info.shortest:
        raise BadInputError(
            f"windows of {length} readings are shorter than model '{name}' needs, at least {info.shortest}; cut longer "
            f"ones (data.series.window), or take one of: {', '.join(fitting) or 'your own network'}"
        )


def describe(
    name: str,
    *,
    num_classes: int,
    input_shape: tuple[int, ...],
    options: Options = MappingProxyType({}),
) -> Description:
    """The size of a network for one input shape; the global random state stays as it was.

    Args:
        name: as in `build`.
        num_classes: K, the number of logits.
        input_shape: (channels, height, width) of an image, (channels, length) of a series, (tokens of the vocabulary,
            tokens of a text).
        options: as in `build`.

    Raises:
        BadInputError: as `build`; or an input shape that the network cannot take.
    """
    import torch

    from edgekd.models.count import count_macs, count_macs_of, count_parameters

    # Other people's code may read values while building (`.item()`), which meta tensors do not have.
    device = "cpu" if is_own(name) else "meta"
    with torch.random.fork_rng(devices=[]), torch.device(device):
        network = build(name, num_classes=num_classes, in_channels=input_shape[0], options=options)
    if name in MODELS and MODELS[name].kinds == ("text",):
        macs = count_macs_of(network, torch.ones(1, input_shape[1], dtype=torch.int64, device=device))
    else:
        macs = count_macs(network, input_shape=input_shape)
    return Description(name=name, parameters=count_parameters(network), macs=macs)
