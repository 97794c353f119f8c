"""The few sample files of a bundle: what a device would be given, and what its reader has to make of them."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.bundle.infer import READERS
from edgekd.bundle.manifest import SampleEntry
from edgekd.bundle.preprocessing import MODULES, kind_of
from edgekd.data.sample_file import SampleFile, encoded
from edgekd.errors import BadInputError

FILE_BYTES = 1 << 20
"""A larger file is taken only where all are larger: a bundle is to be small."""

JPEG_LARGEST, JPEG_MEAN = 3.0, 0.5
"""Grey levels by which pixels of a JPEG may differ elsewhere, at most and on average: the standard leaves the inverse
cosine transform a rounding (ISO/IEC 10918-2), and decoders of other versions use it. All other files are read exactly.
"""


def write(
    folder: Path,
    files: Mapping[int, SampleFile],
    inputs: npt.NDArray[Any],
    said: Mapping[str, Any],
    *,
    layout: str | None,
    model: Path,
) -> list[SampleEntry]:
    """Put the largest, the smallest and the middle one of the files into a bundle: most to go wrong, and least.

    The largest text or sound is cut, the smallest padded; the largest picture has the most detail. inputs: (n, ...) as
    the network takes them; a row without a file gets one made of its numbers. said: `preprocessing`, whole. layout: of
    images, `nchw` where the network takes planes.

    Raises:
        BadInputError: a file is no longer what the network was evaluated on.
    """
    usable = {row: file for row, file in files.items() if _readable(file, said, folder)}
    if not usable:
        usable = {row: encoded(_as_file(sample, said, layout)) for row, sample in enumerate(inputs)}
    entries = []
    for number, row in enumerate(_few(usable)):
        file, name = usable[row], f"sample-{number}{usable[row].suffix}"
        (folder / name).write_bytes(file.content)
        _check(file, folder / name, said, inputs[row], layout=layout, model=model)
        jpeg = file.suffix in (".jpg", ".jpeg")
        entries.append(
            SampleEntry(
                name=name,
                row=row,
                origin=file.origin,
                tensor_sha256=tensor_sha256(inputs[row]),
                largest=JPEG_LARGEST if jpeg else 0.0,
                mean=JPEG_MEAN if jpeg else 0.0,
            )
        )
    return entries


def again(folder: Path, entries: Sequence[SampleEntry]) -> dict[int, SampleFile]:
    """The sample files of a bundle, by row of its samples, for another bundle of the same samples."""
    return {
        entry.row: SampleFile(
            suffix=Path(entry.name).suffix, content=(folder / entry.name).read_bytes(), origin=entry.origin
        )
        for entry in entries
    }


def tensor_sha256(sample: npt.NDArray[Any]) -> str:
    """Of type, shape and numbers, little-endian."""
    plain = np.ascontiguousarray(sample, dtype=sample.dtype.newbyteorder("<"))
    return hashlib.sha256(f"{sample.dtype.name} {list(sample.shape)} ".encode() + plain.tobytes()).hexdigest()


def _readable(file: SampleFile, said: Mapping[str, Any], folder: Path) -> bool:
    """Whether the bundle's reader takes such a file; texts need a tokenizer beside it."""
    kind = kind_of(said)
    if kind == "text" and file.suffix != ".npy" and not (folder / MODULES["text"].TOKENIZER).is_file():
        return False
    return file.suffix == ".npy" or (kind is not None and file.suffix in READERS[kind][1])


def _few(files: Mapping[int, SampleFile]) -> list[int]:
    """Rows of the largest, the smallest and the middle file, each once."""
    by_size = sorted(files, key=lambda row: (len(files[row].content), row))
    small = [row for row in by_size if len(files[row].content) <= FILE_BYTES] or by_size[:1]
    return list(dict.fromkeys([small[-1], small[0], small[len(small) // 2]]))


def _as_file(sample: npt.NDArray[Any], said: Mapping[str, Any], layout: str | None) -> npt.NDArray[Any]:
    return sample.transpose(1, 2, 0) if kind_of(said) == "image" and layout == "nchw" else sample


def _check(
    file: SampleFile,
    path: Path,
    said: Mapping[str, Any],
    expected: npt.NDArray[Any],
    *,
    layout: str | None,
    model: Path,
) -> None:
    """Refuse a file that the reader makes other numbers of than the network was evaluated on."""
    kind = kind_of(said)
    if file.suffix == ".npy" or kind is None or kind == "text":
        return  # the file is these numbers; texts were numbered by the same code, and their tokenizer is checked
    try:
        found = np.asarray(MODULES[kind].read(path, dict(said[kind]))).astype(expected.dtype)
    except ImportError:  # `edgekd verify` says so where the bundle is used
        return
    except ValueError as err:
        raise BadInputError(f"sample file '{file.origin}': {err}") from err
    found = found.transpose(2, 0, 1) if kind == "image" and layout == "nchw" else found
    if not np.array_equal(found, expected):
        raise BadInputError(
            f"sample file '{file.origin}': gives other numbers than {model} was evaluated on; expected the file as it "
            "was read: put it back, or run again"
        )
