"""Where each row of a cache lies, in which chunk, and what a chunk's digest must be; nothing here touches a disk."""

import json
import re
import zlib
from dataclasses import asdict, dataclass
from typing import Self

import numpy as np

from edgekd.errors import BadInputError
from edgekd.teacher_logits.rows import check_top_k, row_type

SCHEMA_VERSION = 1
CHUNK_SAMPLES = 2_048
"""At most so many samples a chunk, which is what a kill costs."""
CHUNK_BYTES = 2**25
"""At most so many bytes of float32 logits a chunk, where a batch is not larger."""
WRITTEN = 2**32
"""Tells any digest from 0, which is a chunk that is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Samples start to stop of a view; offset, size: of its bytes in the data file."""

    number: int
    view: int
    start: int
    stop: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The shape of a cache. chunk_samples: the rows that are computed, written and checked together."""

    key: str
    views: int
    samples: int
    classes: int
    top_k: int | None
    chunk_samples: int

    @classmethod
    def of(cls, key: str, *, views: int, samples: int, classes: int, top_k: int | None, batch_size: int) -> Self:
        """The layout whose chunks are whole batches.

        Raises:
            BadInputError: an empty shape, a top_k that is not below `classes`, or a key that no folder can be named.
        """
        shape = {"views": (views, 1), "samples": (samples, 1), "classes": (classes, 2), "batch_size": (batch_size, 1)}
        for name, (number, least) in shape.items():
            if number < least:
                raise BadInputError(f"a cache of teacher logits with {name} = {number}; expected at least {least}")
        check_top_k(top_k, classes=classes)
        if not re.fullmatch(r"[0-9A-Za-z_][0-9A-Za-z_.-]{0,199}", key):
            raise BadInputError(f"the key {key!r} of a teacher-logit cache; expected letters, digits, '.', '_' and '-'")
        batches = min(CHUNK_SAMPLES, CHUNK_BYTES // (4 * classes)) // batch_size
        chunk = max(1, batches) * batch_size
        return cls(key=key, views=views, samples=samples, classes=classes, top_k=top_k, chunk_samples=chunk)

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.key if self.top_k is None else f"{self.key}-top{self.top_k}"

    @property
    def row_type(self) -> np.dtype[np.void]:
        """The dtype of a stored row."""
        return row_type(self.classes, self.top_k)

    @property
    def data_bytes(self) -> int:
        """The size of the data file."""
        return self.views * self.samples * self.row_type.itemsize

    @property
    def digest_bytes(self) -> int:
        """The size of the file of digests."""
        return 8 * self.views * -(-self.samples // self.chunk_samples)

    def chunks(self) -> list[Chunk]:
        """All chunks, in the order of the file."""
        places = [(v, s) for v in range(self.views) for s in range(0, self.samples, self.chunk_samples)]
        return [self._chunk(number, view, start) for number, (view, start) in enumerate(places)]

    def _chunk(self, number: int, view: int, start: int) -> Chunk:
        stop, row = min(start + self.chunk_samples, self.samples), self.row_type.itemsize
        offset = (view * self.samples + start) * row
        return Chunk(number=number, view=view, start=start, stop=stop, offset=offset, size=(stop - start) * row)

    def description(self) -> bytes:
        """What the .json file says."""
        return json.dumps({"schema_version": SCHEMA_VERSION, **asdict(self)}, indent=2).encode()

    def seed(self) -> int:
        """What every digest starts from."""
        return zlib.crc32(self.description())


def digest(raw: bytes, chunk: Chunk, seed: int) -> int:
    """The digest of a chunk's bytes; the same bytes under another seed or in another place have another one.

    seed: `Layout.seed`, which stands for the key and the shape.
    """
    return WRITTEN + zlib.crc32(raw, zlib.crc32(chunk.number.to_bytes(8, "little"), seed))


def described(raw: bytes) -> Layout | None:
    """The layout that a .json file describes; None where it is damaged or of another schema version."""
    try:
        fields = json.loads(raw)
        version = fields.pop("schema_version")
        return Layout(**fields) if version == SCHEMA_VERSION else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
