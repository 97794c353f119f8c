"""A student's weights file -> an ONNX file, without a recipe: what `edgekd export` does."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgekd.data.for_model import samples_for_model
from edgekd.errors import BadInputError
from edgekd.files import sha256
from edgekd.network import load_student

INPUTS = {
    "image": ("images, (n, height, width, {channels})", "uint8", 4),
    "series": ("windows, (n, length, {channels})", "float32", 3),
    "audio": ("clips, (n, samples)", "int16", 2),
    "text": ("token numbers, (n, length)", "int32", 2),
}
"""Kind of data -> what a student of it takes: in words, its type, its axes."""


def export_weights(weights: Path, *, source: Path, path: Path, opset: int, input_layout: str) -> dict[str, Any]:
    """Write `weights` as ONNX to `path`; the samples of `source` (.npz `x`, or a folder) are what it is compared on.

    Returns the fields of `Exported`. Raises BadInputError for weights without a card, another opset or layout.
    """
    from edgekd.export import describe, export

    if input_layout not in ("nhwc", "nchw"):
        raise BadInputError(f"--layout is '{input_layout}'; expected nhwc or nchw")
    if opset < 18:
        raise BadInputError(f"--opset is {opset}; expected at least 18, the oldest that torch writes")
    network, card = load_student(weights)
    words, dtype, axes = INPUTS[card.kind]
    sizes = (None,) * (axes - 1) + ((card.channels,) if card.kind in ("image", "series") else (None,))
    found = samples_for_model(source, shape=sizes, dtype=dtype, classes=card.classes, layout="nhwc")
    shape = found.inputs.shape
    if found.inputs.dtype.name != dtype or len(shape) != axes or sizes[-1] not in (None, shape[-1]):
        raise BadInputError(
            f"{source}: found {found.inputs.dtype} of shape {shape}; expected {dtype} "
            f"{words.format(channels=card.channels)} as the student takes them"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    exported = export(
        network,
        path,
        inputs=found.inputs,
        opset=opset,
        input_layout=input_layout,
        tolerance=1e-3,
        metadata=describe(network, classes=card.classes, input_layout=input_layout, weights_sha256=sha256(weights)),
    )
    return asdict(exported)
