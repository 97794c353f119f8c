"""Whether another edgekd is timing on this machine: two at once disturb one another, and each would blame its model."""

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LONGEST_NUMBER = 20
"""Digits of a process id, with room."""


@contextmanager
def alone() -> Iterator[str | None]:
    """Says with a text, while it lasts, that another edgekd process of this user was timing already; else None.

    A warning, never an error: None too where this cannot be known, because the file that is locked cannot be made, is
    somebody else's, or the OS has no such locks. The kernel frees the lock of a process that was killed. Other users'
    processes, and those in other containers, are not seen.

        with alone() as warning:
            ...
    """
    descriptor = _open(lock_path())
    if descriptor is None:
        yield None
        return
    try:
        yield _warning(descriptor)
    finally:
        os.close(descriptor)  # and with it the lock


def lock_path() -> Path:
    """The file that is locked: one for each user."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir()) / f"edgekd-timing-{user}.lock"


def _open(path: Path) -> int | None:
    """A descriptor of a plain file of this user, which no link led to; None where there is none.

    Other users can write into the folder of temporary files, so what lies there under this name may be theirs.
    """
    if not hasattr(os, "O_NOFOLLOW"):
        return None
    try:
        # Without O_NONBLOCK a named pipe could hold the opening up.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    except OSError:
        return None
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid() and found.st_nlink == 1:
        return descriptor
    os.close(descriptor)
    return None


def _warning(descriptor: int) -> str | None:
    """Lock the file and write the process's number into it; where another holds it, read whose it is."""
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, LONGEST_NUMBER, 0).decode("ascii", errors="replace").strip()
        if holder == str(os.getpid()):  # this process, further up its own stack
            return None
        who = f" (pid {holder})" if holder.isdigit() else ""
        return f"another edgekd is timing on this machine{who}; they disturb one another"
    except OSError:  # a file system without locks
        return None
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except OSError:  # the disk is full: the lock holds all the same, without a name
        return None
    return None
