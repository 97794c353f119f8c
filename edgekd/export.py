"""A trained student -> model.onnx with its preprocessing inside, compared with torch on real samples."""

import json
import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edgekd import __version__
from edgekd.errors import BadInputError
from edgekd.files import sha256
from edgekd.network import Network
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
    """model.onnx. n: samples compared; top1_agreement: share of them with the same class."""

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


def to_layout(inputs: npt.NDArray[Any], layout: str) -> npt.NDArray[Any]:
    """Samples in the layout that the exported network takes: images (n, height, width, channels) `nhwc` or `nchw`."""
    return np.ascontiguousarray(inputs.transpose(0, 3, 1, 2)) if inputs.ndim == 4 and layout == "nchw" else inputs


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
    inputs: npt.NDArray[Any],
    opset: int,
    input_layout: str,
    tolerance: float,
    metadata: Mapping[str, Any],
) -> Exported:
    """Write the network to `path` and compare it with torch; the file is put in place only when both agree.

    inputs: real samples, at least 7, laid out as `edgekd.data.Samples` has them. input_layout: of images. metadata:
    JSON-ready, kept in the file under `edgekd` (classes, preprocessing, recipe hash, versions). Batch norms are folded
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
        _write(deployed, _take(raw, 2), temporary, name=name, opset=opset, metadata=metadata)
        checks, worst, agreement = _compare(deployed, raw, temporary)
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
    deployed: nn.Module, example: npt.NDArray[Any], path: Path, *, name: str, opset: int, metadata: Mapping[str, Any]
) -> None:
    """Traced with two samples: a batch of one would be taken for a constant."""
    import onnx

    batch = torch.export.Dim("batch", min=1)
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
                dynamic_shapes=({0: batch},),
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


def _compare(deployed: nn.Module, raw: npt.NDArray[Any], path: Path) -> tuple[tuple[Check, ...], float, float]:
    """The checks at each batch size, then the largest difference and the share of equal classes over all samples."""
    session = open_session(path, SessionOptions(threads=1))
    exported = runner(session, facts(session, path))
    checks, differences, same = [], [], 0
    for batch in BATCHES:
        chunk = _take(raw, batch)
        checks.append(Check(batch=batch, max_difference=float(np.abs(_torch(deployed, chunk) - exported(chunk)).max())))
    for start in range(0, len(raw), 64):
        chunk = np.ascontiguousarray(raw[start : start + 64])
        ours, theirs = _torch(deployed, chunk), exported(chunk)
        differences.append(float(np.abs(ours - theirs).max()))
        same += int((ours.argmax(-1) == theirs.argmax(-1)).sum())
    worst = np.max([*differences, *(check.max_difference for check in checks)])  # unlike max(), keeps a NaN
    return tuple(checks), float(worst), same / len(raw)


def _take(raw: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    """The first `count` samples, from the start again where there are fewer."""
    return np.ascontiguousarray(raw[np.arange(count) % len(raw)])


@torch.no_grad()
def _torch(deployed: nn.Module, raw: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    logits: npt.NDArray[np.float32] = deployed(torch.from_numpy(raw)).numpy()
    return logits
