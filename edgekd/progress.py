"""What a long stage says of itself while it runs; the command line draws it, a library user may ignore it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """`done` of `total` units of a stage; `note` is a short line of current numbers."""

    stage: str
    done: float
    total: float
    note: str = ""


Listener = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """A listener that says nothing."""
