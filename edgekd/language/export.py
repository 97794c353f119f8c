"""A network -> one ONNX file with any batch, length and past, compared with torch.

One graph does both: with an empty past it reads a whole text, with the past that it gave before it goes on by a token.
So the file that is scored, the one that is timed and the one that ships are the same.
"""

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

from edgekd.errors import BadInputError
from edgekd.files import sha256
from edgekd.language.runtime import INPUTS, OUTPUTS, Runner
from edgekd.models.causal_transformer import CausalTransformer
from edgekd.session import METADATA_KEY, SessionOptions, first_line

LENGTHS = (1, 7, 64)
"""Compared with torch at these lengths, as far as the context reaches, and at each of `BATCHES`."""

BATCHES = (1, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Largest absolute difference of a logit between torch and ONNX Runtime. past: tokens read in a call before."""

    batch: int
    length: int
    past: int
    max_difference: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """model.onnx."""

    path: str
    sha256: str
    size_bytes: int
    opset: int
    tolerance: float
    max_difference: float
    checks: tuple[Check, ...]


class _Stepping(nn.Module):
    """`CausalTransformer.step` as a forward pass."""

    def __init__(self, network: CausalTransformer) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.step(tokens, past)


def export(
    network: CausalTransformer,
    path: Path,
    *,
    tokens: npt.NDArray[np.int64],
    opset: int,
    tolerance: float,
    metadata: Mapping[str, Any],
) -> Exported:
    """Write the network to `path`; the file is put in place only when it agrees with torch.

    tokens: (at least 3, context) of real text, for the comparison. metadata: JSON-ready, kept in the file under
    `edgekd`.

    Raises:
        BadInputError: the network cannot be exported, or differs from torch by more than `tolerance`.
    """
    network = network.eval().cpu()
    temporary = path.with_name(path.name + ".tmp")
    try:
        _write(network, temporary, opset=opset, metadata=metadata)
        checks = _compare(network, temporary, tokens)
        worst = float(np.max([check.max_difference for check in checks]))  # unlike max(), keeps a NaN
        if not worst <= tolerance:
            raise BadInputError(
                f"model.onnx differs from torch by {worst:.2e} (allowed: export.max_difference = {tolerance:g}); a "
                "layer behaves differently in ONNX Runtime, or the limit is too tight for these logits"
            )
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return Exported(
        path=path.name,
        sha256=sha256(path),
        size_bytes=path.stat().st_size,
        opset=opset,
        tolerance=tolerance,
        max_difference=worst,
        checks=checks,
    )


def _write(network: CausalTransformer, path: Path, *, opset: int, metadata: Mapping[str, Any]) -> None:
    """Traced with sizes of 2 and more: one of 0 or 1 would be taken for a constant."""
    import onnx

    batch, length, read = (
        torch.export.Dim(name, min=least) for name, least in (("batch", 1), ("length", 1), ("read", 0))
    )
    example = torch.zeros(2, 3, dtype=torch.int64)
    past = torch.zeros(network.depth, 2, 2, network.heads, 5, network.size)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it logs every optional package that is not there
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter deprecates its own calls
        try:
            program = torch.onnx.export(
                _Stepping(network).eval(),
                (example, past),
                dynamo=True,
                opset_version=opset,
                input_names=list(INPUTS),
                output_names=list(OUTPUTS),
                dynamic_shapes=({0: batch, 1: length}, {2: batch, 4: read}),
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as err:
            why = first_line(err if err.__cause__ is None else err.__cause__)
            raise BadInputError(f"the student cannot be exported to ONNX: {why}") from err
    if program is None:
        raise BadInputError("the student cannot be exported to ONNX: the exporter returned nothing")
    model = program.model_proto
    _strip(model)
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, json.dumps(metadata, sort_keys=True, ensure_ascii=False)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _strip(model: Any) -> None:
    """Drop the exporter's traces: they hold the builder's file paths."""
    graph = model.graph
    for item in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        if hasattr(item, "metadata_props"):
            del item.metadata_props[:]
        if hasattr(item, "doc_string"):
            item.ClearField("doc_string")


def _compare(network: CausalTransformer, path: Path, tokens: npt.NDArray[np.int64]) -> tuple[Check, ...]:
    """Whole texts with an empty past, then the same texts in two calls, the second with the past of the first."""
    runner = Runner(path, SessionOptions(threads=1))
    lengths = sorted({min(length, network.context) for length in LENGTHS})
    checks = []
    for batch in BATCHES:
        for length in lengths:
            text = np.ascontiguousarray(tokens[:batch, :length])
            with torch.no_grad():
                expected = network(torch.from_numpy(text)).numpy()
            for past in sorted({0, length // 2, length - 1}):
                found = _in_two(runner, text, past)
                checks.append(
                    Check(batch=batch, length=length, past=past, max_difference=float(np.abs(found - expected).max()))
                )
    return tuple(checks)


def _in_two(runner: Runner, text: npt.NDArray[np.int64], past: int) -> npt.NDArray[np.float32]:
    """The logits of a text whose first `past` tokens are read in a call of their own."""
    if past == 0:
        return runner(text)
    first, kept = runner.step(text[:, :past], runner.empty_past(len(text)))
    second, _ = runner.step(text[:, past:], kept)
    return np.concatenate([first, second], axis=1)
