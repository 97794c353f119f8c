"""Samples decoded once into a flat file, for data larger than memory; kept for later runs below the cache folder.

An entry is a folder named after the hash of all that decides its bytes: what the source's files are (name, size, times
of modification and change), how they are decoded, and by which version. In it: `rows.bin`, the samples one after
another in C order, and `about.json`, which says how many of them are safe. A lock file beside it: whoever decodes holds
it alone, whoever reads shares it. A decoder that was killed goes on where its last 64 MiB were safe on the disk.
"""

from edgekd.decoded.entry import Entry, cannot_write, clear, entries
from edgekd.decoded.storage import MEMORY, Mode, Storage

__all__ = ["MEMORY", "Entry", "Mode", "Storage", "cannot_write", "clear", "entries"]
