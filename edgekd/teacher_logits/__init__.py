"""The teacher's logits on disk: computed once for every view of every sample, then read in microseconds.

    with teacher_logits.opened(folder, key=key, views=4, samples=50_000, classes=10, limit_bytes=10**9) as cache:
        cache.fill(compute)            # asks `compute` for what is missing or damaged, and for nothing else
        cache.read(view, index)        # (batch, classes) float32

On disk, schema version 1. An entry is the folder `<key>`, or `<key>-top<k>`, with four files, all little-endian:

- `teacher-logits.bin`: a row per (view, sample), views outermost. A row is `classes` fp16 numbers; in a top-k cache
  it is k class numbers (uint16, or uint32 above 65,536 classes), the k logits (fp16) and `rest` (fp16): the value that,
  given to each class left out, keeps their log-sum-exp.
- `teacher-logits.digests`: for each chunk of `chunk_samples` rows of one view, in the order of the rows, a uint64:
  0 while the chunk is missing, else 2**32 + the CRC-32 of its bytes, started from the CRC-32 of the .json file's bytes
  and the chunk's number as a uint64. A chunk is written before its digest, so what a kill, a crash or a copy leaves
  behind half done, or what belongs to another key, has no digest that fits, and is computed again.
- `teacher-logits.json`: the schema version, the key and the shape. For people and `entries`; what is right follows from
  the arguments of `opened` alone. Its modification time is when the entry was last used.
- `lock`: held with flock, exclusively by the process that fills, shared by those that read.

A CRC-32 finds every flip of up to two bits and all but one in 4e9 of other damage; it is no protection against intent.
"""

from edgekd.teacher_logits.cache import TeacherLogits, opened
from edgekd.teacher_logits.entry import Entry, clear, entries
from edgekd.teacher_logits.rows import stored

__all__ = ["Entry", "TeacherLogits", "clear", "entries", "opened", "stored"]
