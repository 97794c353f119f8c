"""A trained student -> model.onnx with its preprocessing inside, compared with torch on real samples."""

import json
import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edgekd import __version__
from edgekd.errors import BadInputError
from edgekd.files import sha256
from edgekd.network import Network
from edgekd.rows import Inputs, Rows
from edgekd.runner import runner
from edgekd.session import METADATA_KEY, SessionOptions, facts, first_line, open_session

BATCHES = (1, 2, 7)
"""Batch sizes compared with torch: an exporter that froze the batch passes one of them only."""

OUTPUT = "logits"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Largest absolute difference of a logit between torch and ONNX Runtime at one batch size."""

    batch: int
    max_difference: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """model.onnx. n: samples compared; top1_agreement: share of them with the same class, or the same set of them."""

    path: str
    sha256: str
    opset: int
    input_layout: str
    input_name: str
    tolerance: float
    max_difference: float
    top1_agreement: float
    n: int
    checks: tuple[Check, ...]


class _Deployed(nn.Module):
    """The network as the device feeds it: raw samples, pixels in the recipe's layout."""

    def __init__(self, network: Network, *, nhwc: bool) -> None:
        super().__init__()
        self.network, self.nhwc = network, nhwc

    def forward(self, raw: Tensor) -> Tensor:
        # Contiguous: else torch writes a pooling of a channels-last tensor as seven nodes instead of one.
        logits: Tensor = self.network(raw.permute(0, 3, 1, 2).contiguous() if self.nhwc else raw)
        return logits


@overload
def to_layout(inputs: npt.NDArray[Any], layout: str) -> npt.NDArray[Any]: ...
@overload
def to_layout(inputs: Inputs, layout: str) -> Inputs: ...
def to_layout(inputs: Inputs, layout: str) -> Inputs:
    """Samples in the layout that the exported network takes: images (n, height, width, channels) `nhwc` or `nchw`."""
    if inputs.ndim != 4 or layout != "nchw":
        return inputs
    turned = inputs.transpose(0, 3, 1, 2)
    return turned if isinstance(turned, Rows) else np.ascontiguousarray(turned)


def describe_preprocessing(network: Network) -> dict[str, Any]:
    """What the graph does to a raw sample before the first layer, JSON-ready, for the file's metadata."""
    return network.front.describe()


def describe(network: Network, *, classes: tuple[str, ...], input_layout: str, **origin: str) -> dict[str, Any]:
    """What the file says of itself. origin: what it was made of, as hashes by name."""
    import onnx

    return {
        "classes": classes,
        "input_layout": network.front.LAYOUT or input_layout,
        "preprocessing": describe_preprocessing(network),
        "versions": {"edgekd": __version__, "torch": torch.__version__, "onnx": onnx.__version__},
        **origin,
    }


def export(
    network: Network,
    path: Path,
    *,
    inputs: Inputs,
    opset: int,
    input_layout: str,
    tolerance: float,
    metadata: Mapping[str, Any],
    multi_label: bool = False,
) -> Exported:
    """Write the network to `path` and compare it with torch; the file is put in place only when both agree.

    inputs: real samples, at least 7, laid out as `edgekd.data.Samples` has them. input_layout: of images. metadata:
    JSON-ready, kept in the file under `edgekd` (classes, preprocessing, recipe hash, versions). multi_label: decisions
    are compared as sets of classes. Batch norms are folded
    into the convolutions before them.

    Raises:
        BadInputError: the network cannot be exported, or differs from torch by more than `tolerance`.
    """
    layout = network.front.LAYOUT or input_layout
    deployed = _Deployed(network.eval().cpu(), nhwc=layout == "nhwc").eval()
    raw = to_layout(inputs, layout)
    name = network.front.INPUT
    temporary = path.with_name(path.name + ".tmp")
    try:
        open_axes = tuple(axis for axis in network.front.OPEN_AXES if _is_open(deployed, _take(raw, 2), axis))
        _write(deployed, _take(raw, 2), temporary, name=name, opset=opset, metadata=metadata, open_axes=open_axes)
        checks, worst, agreement = _compare(deployed, raw, temporary, multi_label=multi_label)
        if not worst <= tolerance:
            raise BadInputError(
                f"model.onnx differs from torch by {worst:.2e} (allowed: export.max_difference = {tolerance:g}); "
                "a layer behaves differently in ONNX Runtime, or the limit is too tight for these logits"
            )
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return Exported(
        path=path.name,
        sha256=sha256(path),
        opset=opset,
        input_layout=layout,
        input_name=name,
        tolerance=tolerance,
        max_difference=worst,
        top1_agreement=agreement,
        n=len(raw),
        checks=checks,
    )


def _write(
    deployed: nn.Module,
    example: npt.NDArray[Any],
    path: Path,
    *,
    name: str,
    opset: int,
    metadata: Mapping[str, Any],
    open_axes: tuple[int, ...],
) -> None:
    """Traced with two samples: a batch of one would be taken for a constant.

    open_axes: beside the batch.
    """
    import onnx

    sizes: dict[int, Any] = {0: torch.export.Dim("batch", min=1), **dict.fromkeys(open_axes, torch.export.Dim.AUTO)}
    # The exporter deprecates its own calls, and logs every optional package that is not there.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                deployed,
                (torch.from_numpy(np.ascontiguousarray(example)),),
                dynamo=True,
                opset_version=opset,
                input_names=[name],
                output_names=[OUTPUT],
                dynamic_shapes=(sizes,),
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as err:
            why = first_line(err if err.__cause__ is None else err.__cause__)
            raise BadInputError(f"the student cannot be exported to ONNX: {why}; change that part of it") from err
    if program is None:
        raise BadInputError("the student cannot be exported to ONNX: the exporter returned nothing")
    model = program.model_proto
    written = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if written != opset:
        raise BadInputError(
            f"opset {opset} was asked for, torch could only write {written}; set export.opset = {written}"
        )
    _strip(model)
    _fold_slices(model)
    for axis in open_axes:
        _cut_tables(model, example.shape[axis])
        _call(model, axis, "length")
    _shorten(model)
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, json.dumps(metadata, sort_keys=True, ensure_ascii=False)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _strip(model: Any) -> None:
    """Drop the exporter's traces: they hold the builder's file paths and double the size of a small model."""
    for item in (
        model,
        model.graph,
        *model.graph.node,
        *model.graph.input,
        *model.graph.output,
        *model.graph.value_info,
        *model.graph.initializer,
    ):
        if hasattr(item, "metadata_props"):
            del item.metadata_props[:]
        if hasattr(item, "doc_string"):
            item.ClearField("doc_string")


def _fold_slices(model: Any) -> None:
    """A constant slice of a table, such as the positions that a text can have, instead of the whole table."""
    from onnx import numpy_helper

    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in list(model.graph.node):
        if node.op_type != "Slice" or len(node.input) != 5 or not all(name in stored for name in node.input):
            continue
        table, *numbers = (numpy_helper.to_array(stored[name]) for name in node.input)
        index: list[Any] = [slice(None)] * table.ndim
        for start, end, axis, step in zip(*(part.tolist() for part in numbers), strict=True):
            index[axis] = slice(start, end, step)
        if (numbers[3] > 0).all():  # backwards, an end before the first row has no index of Python's
            rows = np.ascontiguousarray(table[tuple(index)])
            model.graph.initializer.append(numpy_helper.from_array(rows, node.output[0]))
            model.graph.node.remove(node)
    _drop_unread(model)


def _is_open(deployed: nn.Module, example: npt.NDArray[Any], axis: int) -> bool:
    """Whether a text needs no padding: half of one gives what it gives with zeros behind it."""
    if example.shape[axis] < 2:
        return False
    short = np.where(example == 0, 1, example).take(range(example.shape[axis] // 2), axis)
    padded = np.zeros_like(example)
    padded[tuple(slice(size) for size in short.shape)] = short
    try:
        return bool(np.allclose(_torch(deployed, short), _torch(deployed, padded), atol=1e-5))
    except RuntimeError:  # how torch refuses a size, as of a linear layer over all positions
        return False


def _cut_tables(model: Any, rows: int) -> None:
    """Of tables that are sliced from their first row on, to an open length, the rows that a sample can reach."""
    from onnx import numpy_helper

    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    read = [name for node in model.graph.node for name in node.input]
    for node in model.graph.node:
        if node.op_type != "Slice" or len(node.input) != 5 or node.input[2] in stored:
            continue
        name, start, _, axis, _ = node.input
        if {name, start, axis} <= stored.keys() and read.count(name) == 1:
            table, first, along = (numpy_helper.to_array(stored[part]) for part in (name, start, axis))
            if first.tolist() == along.tolist() == [0] and len(table) > rows:
                stored[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(table[:rows]), name))
                stale = next((value for value in model.graph.value_info if value.name == name), None)
                if stale is not None:  # the exporter notes the shapes of stored tensors too
                    model.graph.value_info.remove(stale)


def _call(model: Any, axis: int, name: str) -> None:
    """The open axis of the input by a name that says what it is, wherever its size comes again."""
    old = model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if old and size.dim_param == old:
                size.dim_param = name


def _drop_unread(model: Any) -> None:
    read = {name for node in model.graph.node for name in node.input} | {o.name for o in model.graph.output}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def _shorten(model: Any) -> None:
    """The front's numbers are called like the network's own, as they were before there was more than one front."""
    for tensor in (*model.graph.initializer, *model.graph.value_info):
        tensor.name = _short(tensor.name)
    for node in model.graph.node:
        node.input[:] = [_short(name) for name in node.input]


def _short(name: str) -> str:
    return name.replace("network.front.", "network.", 1) if name.startswith("network.front.") else name


def _compare(
    deployed: nn.Module, raw: Inputs, path: Path, *, multi_label: bool
) -> tuple[tuple[Check, ...], float, float]:
    """The checks at each batch size, then the largest difference and the share of equal classes over all samples."""
    session = open_session(path, SessionOptions(threads=1))
    known = facts(session, path)
    exported = runner(session, known)
    checks, differences, same = [], [], 0
    for batch in BATCHES:
        chunk = _take(raw, batch)
        checks.append(Check(batch=batch, max_difference=float(np.abs(_torch(deployed, chunk) - exported(chunk)).max())))
    if known.shape[1:] == (None,):  # texts, of any length
        short = np.ascontiguousarray(_take(raw, 2)[:, : max(1, raw.shape[1] // 2)])
        differences.append(float(np.abs(_torch(deployed, short) - exported(short)).max()))
    for start in range(0, len(raw), 64):
        chunk = np.ascontiguousarray(raw[start : start + 64])
        ours, theirs = _torch(deployed, chunk), exported(chunk)
        differences.append(float(np.abs(ours - theirs).max()))
        same += int(_alike(ours, theirs, multi_label=multi_label).sum())
    worst = np.max([*differences, *(check.max_difference for check in checks)])  # unlike max(), keeps a NaN
    return tuple(checks), float(worst), same / len(raw)


def _alike(ours: npt.NDArray[Any], theirs: npt.NDArray[Any], *, multi_label: bool) -> npt.NDArray[Any]:
    """Of which samples the decisions are equal, (n,): the class, or the set of classes."""
    if multi_label:
        return np.asarray(((ours > 0) == (theirs > 0)).all(axis=-1))
    return np.asarray(ours.argmax(-1) == theirs.argmax(-1))


def _take(raw: Inputs, count: int) -> npt.NDArray[Any]:
    """The first `count` samples, from the start again where there are fewer."""
    return np.ascontiguousarray(raw[np.arange(count) % len(raw)])


@torch.no_grad()
def _torch(deployed: nn.Module, raw: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    logits: npt.NDArray[np.float32] = deployed(torch.from_numpy(raw)).numpy()
    return logits
