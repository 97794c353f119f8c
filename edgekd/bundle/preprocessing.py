"""What is done to a file before it is a network's input: in the metadata of model.onnx, manifest.json and infer.py."""

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from edgekd.bundle.infer import READERS
from edgekd.data import read_picture, read_text, read_wav, read_window

MODULES: dict[str, ModuleType] = {
    "image": read_picture,
    "audio": read_wav,
    "series": read_window,
    "text": read_text,
}
"""Kind of data -> what read it for training; a bundle carries this file."""


def preprocessing(metadata: Mapping[str, Any], shape: tuple[int | None, ...]) -> dict[str, Any] | None:
    """The whole description, what the network does itself included; None where the file does not say.

    metadata: edgekd's own, of the ONNX file; what older files leave out follows from the input's shape. shape: of the
    network's input, its batch first.
    """
    said = metadata.get("preprocessing")
    if not isinstance(said, Mapping):
        return None
    kind = kind_of(said)
    if kind is None or kind == "image" or not isinstance(said[kind], Mapping):
        return dict(said)
    older: dict[str, dict[str, Any]] = {
        "audio": {**read_wav.FIXED, "samples": shape[-1]},
        "series": {**read_window.FIXED, "length": shape[1] if len(shape) > 1 else None},
        "text": dict(read_text.FIXED),
    }
    return {**said, kind: older[kind] | dict(said[kind])}


def kind_of(said: Mapping[str, Any] | None) -> str | None:
    """Of what files the description tells; None where it tells of none."""
    return next((kind for kind in READERS if kind in (said or {})), None)


def reader(kind: str) -> Path:
    """The file that a bundle carries to read this kind of data."""
    path = Path(str(MODULES[kind].__file__))
    assert path.name == READERS[kind][0]
    return path


def apart(one: Mapping[str, Any], other: Mapping[str, Any], *, within: str = "") -> list[str]:
    """Where two descriptions differ: `image.resize.filter is 'box', not 'bilinear'`."""
    found = []
    for key in sorted({*one, *other}):
        a, b = one.get(key), other.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += apart(a, b, within=f"{within}{key}.")
        elif a != b:
            found.append(f"{within}{key} is {a!r}, not {b!r}")
    return found
