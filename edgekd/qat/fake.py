"""A trained network with fake quantization in it, as the training loop takes it, and then with real int8 weights."""

import copy
import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.network import Network
from edgekd.session import first_line

CALIBRATION_BATCH = 64


class FakeQuantized(nn.Module):
    """The body of a network, rounding as ONNX Runtime does. See `prepare`.

    In training its ranges follow the data and the weights until `freeze`; in eval mode nothing changes.
    """

    def __init__(self, graph: GraphModule) -> None:
        super().__init__()
        self.graph, self.frozen = graph, False

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) float32, normalised pixels, to (batch, K) logits."""
        logits: Tensor = self.graph(x)
        return logits

    def freeze(self, frozen: bool) -> None:
        """Whether activations keep their ranges from now on; weights' ranges follow the weights all the same."""
        self.frozen = frozen
        self.train(self.training)

    def train(self, mode: bool = True) -> "FakeQuantized":
        """Observe in training mode alone. An exported graph has no modes of its own, and refuses to be asked."""
        from edgekd.qat.quantizer import fake_quantizers

        self.training = mode
        for place in fake_quantizers(self.graph):
            place.enable_observer(mode and (place.is_per_channel or not self.frozen))
        return self


class _Converted(nn.Module):
    """A graph with int8 weights in it; it has no training mode."""

    def __init__(self, graph: GraphModule) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.graph(x)
        return logits

    def train(self, mode: bool = True) -> "_Converted":
        return self


def prepare(network: Network, images: Tensor, *, weight_bits: int, safe: bool) -> Network:
    """The same network, its batch norms folded into the convolutions, with fake quantization calibrated on `images`.

    images: (n, channels, height, width) uint8, real ones, at least 2. weight_bits: 8 or 4. safe: 8-bit weights keep to
    7 bits, so that 16-bit pair sums never saturate. Batch norms that follow no convolution keep their statistics.

    Raises:
        EnvironmentFault: torchao is missing.
        BadInputError: the network cannot be captured as a graph.
    """
    check_torchao()
    with _quiet():
        from torchao.quantization.pt2e.quantize_pt2e import prepare_pt2e

        from edgekd.qat.quantizer import OnnxRuntimeQuantizer, weight_range

    network = copy.deepcopy(network).cpu().eval()
    images = images.cpu()
    graph = _capture(network, images[:2])
    with _quiet():
        # Not prepare_qat_pt2e, which trains unfolded batch norms: folded, the student computes what will be deployed.
        prepared = prepare_pt2e(graph, OnnxRuntimeQuantizer(weight_range(bits=weight_bits, safe=safe)))
    network.body = FakeQuantized(prepared)
    for parameter in network.parameters():
        parameter.requires_grad_()
    return _calibrate(network, images)


def convert(network: Network) -> Network:
    """A network of `prepare` with its weights as int8 and QuantizeLinear/DequantizeLinear as operators; a copy."""
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

    with _quiet():
        network = copy.deepcopy(network).cpu().eval()
        assert isinstance(network.body, FakeQuantized)
        network.body = _Converted(convert_pt2e(network.body.graph))
    return network.requires_grad_(False)


def check_torchao() -> None:
    """Raises EnvironmentFault where torchao is not installed."""
    try:
        with _quiet():
            import torchao.quantization.pt2e  # noqa: F401
    except ImportError as err:
        raise EnvironmentFault(
            f"quantize.qat = true needs torchao, which does not load ({first_line(err)}); "
            "install it: pip install 'edgekd[qat]', or set qat = false"
        ) from err


def _capture(network: Network, images: Tensor) -> GraphModule:
    batch = torch.export.Dim("batch", min=1)
    try:
        exported = torch.export.export(network.body, (network.front(images),), dynamic_shapes=({0: batch},))
    except (torch._dynamo.exc.TorchDynamoException, RuntimeError, ValueError, TypeError) as err:
        raise BadInputError(
            f"the student cannot be captured as a graph ({first_line(err)}), which quantization-aware training needs; "
            "change that part of it, or set quantize.qat = false"
        ) from err
    graph = exported.module(check_guards=False)
    assert isinstance(graph, GraphModule)
    return graph


@torch.no_grad()
def _calibrate(network: Network, images: Tensor) -> Network:
    """Set every range from the float network: an activation's to the mean of its range in each batch."""
    from edgekd.qat.quantizer import AVERAGING, fake_quantizers

    places = fake_quantizers(network)
    network.train()
    for place in places:
        place.disable_fake_quant()
    for number, batch in enumerate(torch.split(images, CALIBRATION_BATCH)):
        _average(places, 1 / (number + 1))
        network(batch)
    _average(places, AVERAGING)
    for place in places:
        place.enable_fake_quant()
    return network


def _average(places: Iterable[Any], share: float) -> None:
    """Set the share of the newest batch in the moving average of an activation's range."""
    for place in places:
        if not place.is_per_channel:
            place.activation_post_process.averaging_constant = share


@contextmanager
def _quiet() -> Iterator[None]:
    """Torchao warns of deprecations within itself, and logs each CUDA library that it does not find."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
