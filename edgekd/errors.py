"""The error tree and the exit codes: the one leaf that every layer shares.

A message has three parts: what was found, what was expected, what to do.
"""

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """What the process answers with. These numbers are public API."""

    PASS = 0
    GATE_FAILED = 1
    BAD_INPUT = 2
    INCONCLUSIVE = 3
    ENVIRONMENT = 4
    INTERNAL = 70
    INTERRUPTED = 130


class EdgekdError(Exception):
    """Root of the errors that a user can act on; shown without a traceback."""

    exit_code: ClassVar[ExitCode] = ExitCode.INTERNAL


class BadInputError(EdgekdError):
    """Something the user named is missing, malformed or contradictory."""

    exit_code = ExitCode.BAD_INPUT


class EnvironmentFault(EdgekdError):  # noqa: N818  "EnvironmentError" is Python's own alias of OSError
    """The machine cannot do it: provider, disk, memory or a missing package."""

    exit_code = ExitCode.ENVIRONMENT


class Interrupted(EdgekdError):  # noqa: N818  a person's wish, not a failure
    """Stopped by Ctrl-C or SIGTERM; the same command resumes."""

    exit_code = ExitCode.INTERRUPTED


def nearest(word: str, known: list[str]) -> str:
    """A hint `; did you mean 'x'?` when a known spelling is close to `word`, else an empty string."""
    import difflib

    match = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean '{match[0]}'?" if match else ""
