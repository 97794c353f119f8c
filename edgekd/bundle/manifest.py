"""manifest.json: every file of a bundle with its size and hash, and how far its outputs may differ elsewhere."""

import datetime
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgekd import __version__
from edgekd.errors import BadInputError
from edgekd.files import sha256

SCHEMA_VERSION: Literal[2] = 2
MANIFEST, MODEL, SESSION, LABELS, SAMPLES = (
    "manifest.json", "model.onnx", "session.json", "labels.json", "samples.npz",
)  # fmt: skip
TARGET, INFER, README = "target.toml", "infer.py", "README.txt"
READ_WAV, TOKENIZER = "read_wav.py", "tokenizer.json"
OWN = (MODEL, SESSION, SAMPLES, TARGET, INFER, README)
"""What every bundle holds beside its manifest; that of a network with classes has their names too, in LABELS."""
BY_KIND = (READ_WAV, TOKENIZER)
"""What it holds where its network takes sound, or texts."""
REPORTS = ("report.json", "report.md", "report.html", "junit.xml")
"""What it may hold too."""


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class File(_Strict):
    """A file as it was when the bundle was written."""

    sha256: str
    size_bytes: int


class OutputTolerance(_Strict):
    """How far an output of any sample may be from the expected one, by which measure.

    largest: absolute difference of any number; rms: root mean square of the differences; unequal: share of the numbers.
    """

    measure: Literal["largest", "rms", "unequal"]
    allowed: Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Tolerance(_Strict):
    """outputs: one for each, in order. top1_misses: how many samples may change their class; None: no classes."""

    outputs: list[OutputTolerance]
    top1_misses: Annotated[int, Field(ge=0)] | None


class Manifest(_Strict):
    """manifest.json. files: name, without a folder, -> what is in it; the manifest itself is not among them."""

    schema_version: Literal[2]
    edgekd_version: str
    created: str
    variant: str
    isa: str
    samples: int
    tolerance: Tolerance
    files: dict[str, File]


def seal(folder: Path, *, variant: str, samples: int, isa: str, tolerance: Tolerance) -> Manifest:
    """The manifest of all files that are in `folder`, written beside them."""
    files = {path.name: File(sha256=sha256(path), size_bytes=path.stat().st_size) for path in sorted(folder.iterdir())}
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        edgekd_version=__version__,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        variant=variant,
        isa=isa,
        samples=samples,
        tolerance=tolerance,
        files=files,
    )
    (folder / MANIFEST).write_text(to_json(manifest.model_dump()), encoding="utf-8")
    return manifest


def to_json(value: Any) -> str:
    """Indented JSON for people, every letter as it is, and a final newline."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the bundle in `folder`.

    Raises:
        BadInputError: no such folder, no manifest, or one that is corrupt or of another schema.
    """
    path = folder / MANIFEST
    if not folder.is_dir():
        raise BadInputError(f"bundle {folder}: no such folder; expected one that edgekd wrote, as runs/NAME/bundle")
    if not path.is_file():
        raise BadInputError(f"bundle {folder}: has no {MANIFEST}; expected a whole bundle: copy all of its files")
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as err:
        raise BadInputError(f"{path}: corrupt, no JSON ({err}); copy the bundle again") from err
    version = document.get("schema_version") if isinstance(document, dict) else None
    if isinstance(version, int) and version != SCHEMA_VERSION:
        cure = "update edgekd" if version > SCHEMA_VERSION else "bundle again, or use the edgekd that wrote it"
        raise BadInputError(
            f"{path}: schema_version {version}; this edgekd {__version__} reads {SCHEMA_VERSION}: {cure}"
        )
    try:
        return Manifest.model_validate(document)
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise BadInputError(f"{path}: corrupt, {where}: {first['msg']}; copy the bundle again") from err
