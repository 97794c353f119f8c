"""manifest.json: every file of a bundle with its size and hash, and how far its outputs may differ elsewhere."""

import datetime
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgekd import __version__
from edgekd.bundle.infer import READERS
from edgekd.errors import BadInputError
from edgekd.files import sha256

SCHEMA_VERSION: Literal[3] = 3
READABLE = (2, 3)
"""2 had no preprocessing and no sample files; all else is the same."""
MANIFEST, MODEL, SESSION, LABELS, SAMPLES = (
    "manifest.json", "model.onnx", "session.json", "labels.json", "samples.npz",
)  # fmt: skip
TARGET, INFER, README = "target.toml", "infer.py", "README.txt"
TOKENIZER = "tokenizer.json"
VOCABULARY, GENERATE = "vocabulary.json", "generate.py"
OWN = (MODEL, SESSION, SAMPLES, TARGET, INFER, README)
"""What every bundle holds beside its manifest; that of a network with classes has their names too, in LABELS."""
BY_KIND = (*(name for name, _ in READERS.values()), TOKENIZER, VOCABULARY, GENERATE)
"""What it holds by what its network takes: the reader of its files, a tokenizer, or what goes on with a text."""
REPORTS = ("report.json", "report.md", "report.html", "junit.xml")
"""What it may hold too."""


MOST_APART = 4.0
"""No tolerance of a sample file may be larger: it would hide another preprocessing."""


SAMPLE_NAME = re.compile(r"sample-\d\.(png|jpe?g|wav|csv|tsv|txt|npy)")
"""What a sample file is called."""


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


class SampleEntry(_Strict):
    """A file as a device would get it, and what has to be read of it.

    row: of the array `inputs` in samples.npz, which holds the tensor; its expected outputs stand in the same row.
    origin: where it is from, in words. tensor_sha256: of type, shape and numbers, as `bundle.sample_files` computes it.
    largest, mean: how far the numbers may be from it elsewhere; 0 for all but JPEG.
    """

    name: str
    row: Annotated[int, Field(ge=0)]
    origin: str
    tensor_sha256: str
    largest: Annotated[float, Field(ge=0, le=MOST_APART)]
    mean: Annotated[float, Field(ge=0, le=MOST_APART)]


class Manifest(_Strict):
    """manifest.json. files: name, without a folder, -> what is in it; the manifest itself is not among them.

    task: what the first output decides, None of exclusive classes and of networks without classes. preprocessing: all
    that is done to a file before the network's first layer; None where nobody said.
    """

    schema_version: Literal[2, 3]
    edgekd_version: str
    created: str
    variant: str
    isa: str
    samples: int
    tolerance: Tolerance
    task: Literal["multi-label"] | None = None
    preprocessing: dict[str, Any] | None = None
    sample_files: list[SampleEntry] = []
    files: dict[str, File]


def seal(
    folder: Path,
    *,
    variant: str,
    samples: int,
    isa: str,
    tolerance: Tolerance,
    task: Literal["multi-label"] | None = None,
    preprocessing: dict[str, Any] | None = None,
    sample_files: Sequence[SampleEntry] = (),
) -> Manifest:
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
        task=task,
        preprocessing=preprocessing,
        sample_files=list(sample_files),
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
    if isinstance(version, int) and version not in READABLE:
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
