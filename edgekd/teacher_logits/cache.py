"""The cache of a teacher's logits: opened under a key, filled with what is missing, read through a memory map."""

import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError
from edgekd.progress import Listener, Progress, silent
from edgekd.teacher_logits.chunks import Chunks
from edgekd.teacher_logits.entry import ABOUT, held, lock, readable
from edgekd.teacher_logits.layout import Chunk, Layout
from edgekd.teacher_logits.rows import Rows, decode, encode

Compute = Callable[[int, int, int], npt.NDArray[np.float32]]
"""compute(view, start, stop): the logits of samples start to stop in a view, (stop - start, classes) float32."""


@contextmanager
def opened(
    folder: Path,
    *,
    key: str,
    views: int,
    samples: int,
    classes: int,
    top_k: int | None = None,
    limit_bytes: int,
    batch_size: int = 1,
    wait: bool = False,
) -> Iterator["TeacherLogits"]:
    """The cache under `key`, empty at first; held by this process while inside, together with others that read.

    key: the hash of all that the logits depend on. top_k: keep the largest k logits of a row and what the others weigh
    together; None for all in fp16. batch_size: `fill` asks for whole multiples of it, except at a view's end. wait:
    while another process fills, rather than raise.

    Raises:
        BadInputError: larger than `limit_bytes`; another process fills it; a bad key, shape or top_k.
        EnvironmentFault: the folder cannot be written.
    """
    layout = Layout.of(key, views=views, samples=samples, classes=classes, top_k=top_k, batch_size=batch_size)
    _check_limit(layout, limit_bytes)
    place = folder / layout.name
    with held(place, wait=wait) as locked, Chunks.opened(place, layout) as chunks:
        with suppress(FileNotFoundError):
            os.utime(place / ABOUT)
        cache = TeacherLogits(chunks, locked=locked, wait=wait)
        try:
            yield cache
        finally:
            cache.close()


class TeacherLogits:
    """An open cache. size_bytes: what it takes on disk when it is full, known before anything is written."""

    def __init__(self, chunks: Chunks, *, locked: FileIO, wait: bool) -> None:
        self.size_bytes = chunks.size_bytes
        self._chunks, self._layout = chunks, chunks.layout
        self._lock, self._wait = locked, wait
        self._rows: Rows | None = None

    def fill(self, compute: Compute, *, listener: Listener = silent) -> None:
        """Compute the chunks that are missing or damaged; where all are intact, `compute` is not called.

        A process that is killed loses the chunk that it was at, and no other.

        Raises:
            BadInputError: another process has the cache open; a logit is not finite or does not fit fp16.
            EnvironmentFault: the disk is full.
        """
        total = self._layout.views * self._layout.samples
        if self._chunks.missing() or not self._chunks.tidy():
            lock(self._lock, exclusive=True, wait=self._wait)
            self._rows = None
            # Looked at again: another process may have filled it before the lock was ours.
            self._fill(self._chunks.missing(), compute, listener, total)
            lock(self._lock, exclusive=False, wait=True)
        listener(Progress(stage="teacher-logits", done=total, total=total, note=readable(self.size_bytes)))

    def read(self, view: int, index: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """The logits of the samples `index`, (batch,), in a view: (batch, classes). The first call checks every chunk.

        Raises:
            IndexError: no such view or sample.
            BadInputError: a chunk is missing or damaged; `fill` comes first.
        """
        rows = self._rows if self._rows is not None else self._map()
        if not 0 <= view < self._layout.views:
            raise IndexError(f"view {view} of a teacher's logits; expected 0 to {self._layout.views - 1}")
        if index.dtype != np.int64:
            raise TypeError(f"samples as {index.dtype}; expected int64")
        # Seen without its sign a negative number is huge: one look finds both kinds of sample that do not exist.
        if index.size and index.view(np.uint64).max() >= self._layout.samples:
            found, last = f"samples {index.min()} to {index.max()}", self._layout.samples - 1
            raise IndexError(f"{found} of a teacher's logits; expected 0 to {last}")
        return decode(rows[view].take(index), classes=self._layout.classes)

    def close(self) -> None:
        """Let go of the memory map; `opened` does it at its end."""
        self._rows = None

    def _fill(self, missing: list[Chunk], compute: Compute, listener: Listener, total: int) -> None:
        done = total - sum(chunk.stop - chunk.start for chunk in missing)
        note = f"{readable(self.size_bytes)} in {self._chunks.place}"
        listener(Progress(stage="teacher-logits", done=done, total=total, note=note))
        self._chunks.reserve()
        for chunk in missing:
            self._chunks.write(chunk, self._encoded(chunk, compute(chunk.view, chunk.start, chunk.stop)))
            done += chunk.stop - chunk.start
            listener(Progress(stage="teacher-logits", done=done, total=total, note=note))

    def _encoded(self, chunk: Chunk, logits: npt.NDArray[np.float32]) -> bytes:
        expected = (chunk.stop - chunk.start, self._layout.classes)
        if logits.shape != expected:
            raise BadInputError(
                f"the teacher's logits for {expected[0]} samples have shape {logits.shape}; expected {expected}, a "
                "number for each class of the data. Is it a teacher for these classes?"
            )
        return encode(logits, top_k=self._layout.top_k, view=chunk.view, start=chunk.start).tobytes()

    def _map(self) -> Rows:
        missing, place = self._chunks.missing(), self._chunks.place
        if missing:
            raise BadInputError(
                f"the teacher-logit cache {place} has {len(missing)} of {len(self._layout.chunks())} chunks missing or "
                "damaged; run the same command again, it computes them"
            )
        mapped = mmap.mmap(self._chunks.data.fileno(), self._layout.data_bytes, access=mmap.ACCESS_READ)
        flat = np.frombuffer(mapped, self._layout.row_type)
        self._rows = flat.reshape(self._layout.views, self._layout.samples)
        return self._rows


def _check_limit(layout: Layout, limit_bytes: int) -> None:
    size = layout.data_bytes + layout.digest_bytes
    if size > limit_bytes:
        shape = f"{layout.views:,} views of {layout.samples:,} samples with {layout.classes:,} classes"
        raise BadInputError(
            f"the teacher's logits need {readable(size)} ({shape}), over the limit of {readable(limit_bytes)}; raise "
            "distill.cache_limit_gb, or make them fewer with a smaller distill.n_views or teacher_cache = 'top-k'"
        )
