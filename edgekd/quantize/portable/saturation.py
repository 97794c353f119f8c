"""Which int8 layers of a quantized file can saturate on x86 without VNNI, and which do on real samples."""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgekd.progress import Listener, Progress, silent
from edgekd.quantize.portable.pairs import (
    ACTIVATION_MAX,
    CONVOLUTIONS,
    PAIR_MAX,
    WEIGHT_PAIR_MAX,
    Pairing,
    channel_pair_sums,
    neighbours,
    weigh,
)
from edgekd.quantize.portable.patches import patches
from edgekd.quantize.portable.sites import Site, sites
from edgekd.session import SessionOptions, create_session

if TYPE_CHECKING:
    import onnx

Array = npt.NDArray[Any]

BLOCK = 1 << 22
"""Pair sums taken at once: 16 MiB of int32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One int8 Conv, Gemm or MatMul. Types as numpy names them.

    worst_pair_sum: the largest magnitude that two neighbours can reach with any uint8 activations; 0 where the kernels
    take no 16-bit sums. channels: the output channels that can pass 32,767. observed_pair_sum: the largest magnitude
    that the pairs of the kernels, those of them that can saturate, reached on real samples; None where none was looked
    at. Beyond 32,767 a kernel without VNNI saturates on these very samples.
    """

    node: str
    op_type: str
    activation_type: str
    weight_type: str
    worst_pair_sum: int
    can_saturate: bool
    channels: tuple[int, ...] = ()
    observed_pair_sum: int | None = None


def layers(model: "Path | onnx.ModelProto", *, pairing: Pairing = "any") -> tuple[Layer, ...]:
    """Every int8 layer of a quantized file, QDQ or QOperator, in the file's order.

    int8 operands that are no constants count at their worst. Bodies of control flow are not looked at.
    """
    return tuple(_layer(site, pairing) for site in sites(model))


def observed(
    model: "Path | onnx.ModelProto",
    inputs: Array,
    *,
    samples: int = 32,
    positions: int = 64,
    seed: int = 0,
    listener: Listener = silent,
) -> tuple[Layer, ...]:
    """The same, with what the layers that can saturate reach on some of the inputs.

    inputs: (n, ...) in the network's own layout and type; `samples` of them, evenly spread, are run one batch at a time
    with ONNX Runtime's graph optimizations off, so that no kernel saturates. positions: output places a sample and
    layer, drawn at random. The layers are those of `layers`; the pairs observed are the kernels' own.
    """
    import onnx

    proto = onnx.load(str(model)) if isinstance(model, Path) else model
    found = {index: site for index, site in enumerate(sites(proto)) if _worth_a_look(site)}
    if not found:
        return layers(proto)
    reached = dict.fromkeys(found, 0)
    generator = np.random.default_rng(seed)
    chosen = np.unique(np.linspace(0, len(inputs) - 1, samples).astype(int))
    pairs = {index: _heavy(site) for index, site in found.items()}
    wanted = {site.activation or "": site.activation_type for site in found.values()}
    for done, values in enumerate(_activations(proto, inputs, chosen, wanted)):
        listener(Progress(stage="pair sums", done=done, total=len(chosen)))
        for index, site in found.items():
            columns = patches(site, values[site.activation or ""], count=positions, generator=generator)
            reached[index] = max(reached[index], _largest(columns, *pairs[index]))
    all_layers = enumerate(layers(proto))
    return tuple(replace(layer, observed_pair_sum=reached.get(index)) for index, layer in all_layers)


def saturating(model: "Path | onnx.ModelProto") -> tuple[str, ...]:
    """Names of the layers whose 16-bit pair sums can saturate on AVX2, by the pairs that the kernels form."""
    return tuple(layer.node for layer in layers(model, pairing="kernel") if layer.can_saturate)


def _layer(site: Site, pairing: Pairing) -> Layer:
    worst = np.array([0])
    if site.weight_type == "int8" and site.weight is None:
        worst = np.array([2 * 128 * ACTIVATION_MAX])
    elif site.weight_type == "int8" and site.weight is not None:
        worst = channel_pair_sums(site.weight, op_type=site.op_type, group=site.group, pairing=pairing)
    return Layer(
        node=site.node,
        op_type=site.op_type,
        activation_type=site.activation_type,
        weight_type=site.weight_type,
        worst_pair_sum=int(worst.max(initial=0)),
        can_saturate=bool((worst > PAIR_MAX).any()),
        channels=() if site.weight is None else tuple(np.flatnonzero(worst > PAIR_MAX).tolist()),
    )


def _worth_a_look(site: Site) -> bool:
    constant = site.weight is not None and site.activation is not None
    return constant and _layer(site, "kernel").can_saturate


def _heavy(site: Site) -> tuple[Array, Array, Array, Array]:
    """(group, place k, w[k], w[k+1]) of the kernel's pairs that can saturate; k even."""
    assert site.weight is not None
    weight = site.weight.astype(np.int32)
    left, right = next(neighbours(weight, op_type=site.op_type, pairing="kernel"))
    channel, half = np.nonzero(weigh(left, right) > WEIGHT_PAIR_MAX)
    groups = site.group if site.op_type in CONVOLUTIONS else 1
    return channel // (len(left) // groups), 2 * half, left[channel, half], right[channel, half]


def _largest(columns: Array, group: Array, place: Array, one: Array, other: Array) -> int:
    """columns: (groups, positions, K) uint8 as int32. Blocks of pairs keep the memory bounded."""
    step = max(1, BLOCK // max(1, columns.shape[1]))
    largest = 0
    for start in range(0, len(place), step):
        part = slice(start, start + step)
        first, second = columns[group[part], :, place[part]], columns[group[part], :, place[part] + 1]
        largest = max(largest, int(np.abs(first * one[part, None] + second * other[part, None]).max()))
    return largest


def _activations(
    proto: "onnx.ModelProto", inputs: Array, chosen: npt.NDArray[np.intp], wanted: Mapping[str, str]
) -> Iterator[Mapping[str, Array]]:
    """The wanted integer tensors (name -> type) for each chosen sample, as the kernels' uint8 in int32."""
    import onnx

    constants = {tensor.name for tensor in proto.graph.initializer}
    own = next(value.name for value in proto.graph.input if value.name not in constants)
    made = {name: onnx.helper.np_dtype_to_tensor_dtype(np.dtype(kind)) for name, kind in wanted.items() if name != own}
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.helper.make_tensor_value_info(name, kind, None) for name, kind in made.items())
    if not made:  # a network of one layer on integer input; ONNX Runtime wants an output
        copy.graph.output.extend(proto.graph.output)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "observed.onnx"
        onnx.save_model(copy, str(path), save_as_external_data=copy.ByteSize() > 1 << 30)
        session = create_session(path, SessionOptions(graph_optimization="disable"))
        fixed = session.get_inputs()[0].shape[0]
        for index in chosen:
            batch = np.repeat(inputs[index : index + 1], fixed if isinstance(fixed, int) else 1, axis=0)
            values = dict(zip(made, session.run(list(made) or None, {own: batch}), strict=False))
            yield {name: _unsigned({own: batch, **values}[name][:1]) for name in wanted}


def _unsigned(values: Array) -> npt.NDArray[np.int32]:
    """int8 is moved by 128, as ONNX Runtime does on x86."""
    return values.astype(np.int32) + (128 if values.dtype == np.int8 else 0)
