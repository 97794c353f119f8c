"""A fine-tuned student -> a standard QDQ file, and whether ONNX Runtime says the same of real samples as torch does."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgekd import export, front, pixels
from edgekd.data import Samples
from edgekd.errors import BadInputError
from edgekd.export import Exported
from edgekd.network import Network
from edgekd.qat.fake import convert
from edgekd.runner import runner
from edgekd.session import SessionOptions, facts, open_session

MOST_APART = 0.002
"""Top-1, beside one sample: a kernel that rounds otherwise in a layer costs more."""

BATCH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedQdq:
    """A QDQ file. fake_top1, onnx_top1: of the fake-quantized network in torch and of the file in ONNX Runtime, on the
    same samples; agreement: share of them with the same class. n: samples. Fractions, None
    without labels.
    """

    exported: Exported
    fake_top1: float | None
    onnx_top1: float | None
    agreement: float
    n: int


def export_qdq(
    network: Network,
    path: Path,
    samples: Samples,
    *,
    opset: int,
    input_layout: str,
    metadata: Mapping[str, Any],
) -> ExportedQdq:
    """Write a network of `edgekd.qat.fine_tune` as QuantizeLinear/DequantizeLinear of ai.onnx, preprocessing inside.

    samples: real ones with labels, at least 7, that nothing was trained on. metadata: as for `edgekd.export.export`.
    Weights are int8 and biases int32 initializers behind DequantizeLinear; nothing of torch's own stays.

    Raises:
        BadInputError: the network cannot be exported, or its accuracy in ONNX Runtime is another one.
    """
    kind = next(name for name, made in front.FRONTS.items() if isinstance(network.front, made))
    fake = pixels.predict(network, samples.inputs, torch.device("cpu"), kind=kind)
    exported = export.export(
        convert(network),
        path,
        inputs=samples.inputs[: 4 * BATCH],
        opset=opset,
        input_layout=input_layout,
        tolerance=float(fake.abs().max()),  # a rounding tie moves a value by a whole step: accuracy is the measure
        metadata=metadata,
    )
    logits = _onnx_logits(path, samples, input_layout)
    ours, theirs = pixels.top1(fake, samples), pixels.top1(logits, samples)
    same = float((fake.argmax(dim=-1) == logits.argmax(dim=-1)).float().mean())
    apart = 1 - same if ours is None or theirs is None else abs(ours - theirs)
    if apart > MOST_APART + 1 / len(samples):
        path.unlink()
        found = "other classes" if ours is None else f"top-1 {theirs:.2%}, not {ours:.2%},"
        raise BadInputError(
            f"{path.name} has {found} in ONNX Runtime than with torch's fake quantization: {apart:.2%} apart, "
            f"expected at most {MOST_APART:.1%}. On a CPU without VNNI 8-bit weights can saturate: set "
            "quantize.portable = true; else a layer is rounded at another place"
        )
    return ExportedQdq(exported=exported, fake_top1=ours, onnx_top1=theirs, agreement=same, n=len(samples))


def _onnx_logits(path: Path, samples: Samples, layout: str) -> Tensor:
    session = open_session(path, SessionOptions(threads=1))
    run = runner(session, facts(session, path))
    raw = export.to_layout(samples.inputs, layout)
    chunks = [run(np.ascontiguousarray(raw[start : start + BATCH])) for start in range(0, len(raw), BATCH)]
    return torch.from_numpy(np.concatenate(chunks))
