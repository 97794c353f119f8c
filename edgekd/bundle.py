"""The folder to ship: the chosen file with all that runs and proves it, and its check on another machine. No torch."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from edgekd.session import (
    SessionOptions,
    check_file,
)

Outputs = npt.NDArray[np.float32]
Run = Callable[[npt.NDArray[Any]], Outputs]

SCHEMA_VERSION = 1
MANIFEST, MODEL, SESSION, LABELS, SAMPLES = (
    "manifest.json", "model.onnx", "session.json", "labels.json", "samples.npz",
)  # fmt: skip
OWN = (MODEL, SESSION, LABELS, SAMPLES, "target.toml", "infer.py", "README.txt")
REPORTS = ("report.json", "report.md", "report.html")

INTEGER_OPS = frozenset(
    ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger",
     "MatMulInteger")
)  # fmt: skip
FLOAT_SHARE = 1e-3
"""Of the outputs' range: the order of float sums differs between kernels, and fp16 may be computed in fp32 or fp16."""
INTEGER_SHARE = 0.05
"""Of the outputs' range: int8 kernels of other instruction sets saturate and round otherwise, by a step or a few."""
SMALLEST_TOLERANCE = 1e-3
INTEGER_MISSES = 16
"""One in so many samples of an int8 file may change its class on another instruction set."""

REFERENCE_SAMPLES = 4
REFERENCE_OPSET = 19
"""The oldest opset whose DequantizeLinear onnx's reference evaluator knows."""

README = """\
{variant} classifier of {classes} classes, bundled by edgekd {version}.

python infer.py              run the samples, compare with the outputs expected of them (needs onnxruntime, numpy)
python infer.py image.npy    the three best labels of one image, {dtype} {shape}, saved with numpy.save
edgekd verify .              hashes and outputs on this machine

manifest.json tells whether a file changed by accident; it is not signed, so it does not tell who wrote it.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundled:
    """What was written. files: name -> SHA-256; max_difference: allowed of an output elsewhere; samples: how many."""

    variant: str
    files: Mapping[str, str]
    max_difference: float
    top1_misses: int
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check; passed is None where this machine cannot tell."""

    name: str
    passed: bool | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A bundle's checks. passed: False if any failed, else None if any could not tell; isa: instruction sets."""

    checks: tuple[Check, ...]
    passed: bool | None
    variant: str
    edgekd_version: str
    isa_expected: str
    isa_here: str


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class _File(_Strict):
    sha256: str
    size_bytes: int


class _Tolerance(_Strict):
    max_difference: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    top1_misses: Annotated[int, Field(ge=0)]


class _Manifest(_Strict):
    schema_version: Literal[1]
    edgekd_version: str
    created: str
    variant: str
    isa: str
    samples: int
    tolerance: _Tolerance
    files: dict[str, _File]


def write(
    folder: Path,
    *,
    model: Path,
    variant: str,
    options: SessionOptions,
    classes: tuple[str, ...],
    target_toml: str,
    reports: Sequence[Path],
    inputs: npt.NDArray[Any],
    isa: str,
    tolerance: float | None = None,
) -> Bundled:
    """Make the bundle beside `folder`, then put it in the place of the one that is there.

    inputs: (n, ...) real samples in the network's own layout and type, n at least 1; the outputs expected of them are
    those of `model` under `options` on this machine, whose instruction set is `isa`. classes: may be empty, then they
    are numbered. tolerance: largest difference of an output elsewhere; None: by the kind of file.

    A process killed at any moment leaves no half bundle in `folder`. Killed between the two renames, it leaves the old
    one beside `folder`, from where the next call puts it back.

    Raises:
        BadInputError: `folder` holds something else than a bundle, or model, inputs and classes do not fit.
        EnvironmentFault: the provider is not there.
        OSError: the disk is full or the folder is read-only; the old bundle is still there.
    """
    place = folder.resolve()
    new, old = (place.with_name(f".{place.name}.edgekd-{part}") for part in ("new", "old"))
    if old.exists() and not place.exists():
        old.rename(place)
    _check_place(place)
    check_file(model)
    for leftover in (new, old):
        if leftover.exists():
            shutil.rmtree(leftover)
    try:
        new.mkdir(parents=True)
        shutil.copyfile(model, new / MODEL)
        for report in reports:
            shutil.copyfile(report, new / report.name)
        (new / "target.toml").write_text(target_toml, encoding="utf-8")
        shutil.copyfile(Path(__file__).with_name("bundle_infer.py"), new / "infer.py")
        outputs = _fill(new, model, variant, options, classes, inputs, isa)
        made = _seal(new, variant, outputs, isa, tolerance)
        _swap(new, place, old)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return made
