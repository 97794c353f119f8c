"""Files that are either the old one or the whole new one, and their hashes."""

import hashlib
import os
from pathlib import Path


def write_atomic(path: Path, content: str | bytes) -> None:
    """Put `content` (text as UTF-8) at `path`: whoever reads sees the old file or the whole new one.

    Raises:
        OSError: the disk is full or the folder is read-only; the old file stays, and no half of the new one.
    """
    raw = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f"{path.name}.{os.getpid()}.edgekd.tmp")  # two processes may write the same file
    try:
        temporary.write_bytes(raw)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove the temporary files that `write_atomic` left in `folder` and below where its process was killed."""
    for path in folder.rglob("*.edgekd.tmp"):
        path.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
