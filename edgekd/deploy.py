"""A student's weights file -> an ONNX file, without a recipe: what `edgekd export` does."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgekd.data.for_model import samples_for_model
from edgekd.data.reading import Reading
from edgekd.data.takes import Takes
from edgekd.errors import BadInputError
from edgekd.files import sha256
from edgekd.network import Card, Network, load_student

INPUTS = {
    "image": ("images, (n, height, width, {channels})", "uint8"),
    "series": ("windows, (n, length, {channels})", "float32"),
    "audio": ("clips, (n, samples)", "int16"),
    "text": ("token numbers, (n, length)", "int32"),
}
"""Kind of data -> what a student of it takes: in words, and its type."""


def export_weights(
    weights: Path, *, source: Path, path: Path, opset: int, input_layout: str, reading: Reading | None = None
) -> dict[str, Any]:
    """Write `weights` as ONNX to `path`; it is compared on the samples of `source`, read as `reading` says.

    Returns the fields of `Exported`. Raises BadInputError for weights without a card, another opset or layout.
    """
    from edgekd.export import describe, export

    if input_layout not in ("nhwc", "nchw"):
        raise BadInputError(f"--layout is '{input_layout}'; expected nhwc or nchw")
    if opset < 18:
        raise BadInputError(f"--opset is {opset}; expected at least 18, the oldest that torch writes")
    network, card = load_student(weights)
    takes = taken_by(network, card)
    found = samples_for_model(source, takes, reading=reading)
    shape = found.inputs.shape
    fits = len(shape) == len(takes.shape) and all(
        want in (None, got) for want, got in zip(takes.shape, shape, strict=True)
    )
    if found.inputs.dtype.name != takes.dtype or not fits:
        words = INPUTS[card.kind][0].format(channels=card.channels)
        raise BadInputError(
            f"{source}: found {found.inputs.dtype} of shape {shape}; expected {takes.dtype} {words} as the student "
            "takes them"
        )
    several = card.facts.get("task") == "multi-label"
    path.parent.mkdir(parents=True, exist_ok=True)
    exported = export(
        network,
        path,
        inputs=found.inputs,
        opset=opset,
        input_layout=input_layout,
        tolerance=1e-3,
        metadata=describe(
            network,
            classes=card.classes,
            input_layout=input_layout,
            weights_sha256=sha256(weights),
            **({"task": "multi-label"} if several else {}),
        ),
        multi_label=several,
    )
    return asdict(exported)


def taken_by(network: Network, card: Card) -> Takes:
    """What a student takes, from its weights file alone; sizes that older files do not tell are open."""
    said: Mapping[str, Any] = card.front
    shapes: dict[str, tuple[int | None, ...]] = {
        "image": (None, *said.get("size", (None, None)), card.channels),
        "series": (None, said.get("length"), card.channels),
        "audio": (None, said.get("samples")),
        "text": (None, said.get("max_tokens")),
    }
    return Takes(
        shape=shapes[card.kind],
        dtype=INPUTS[card.kind][1],
        classes=card.classes,
        layout="nhwc" if card.kind == "image" else None,
        preprocessing=network.front.describe(),
        tokenizer=said.get("tokenizer"),
    )
