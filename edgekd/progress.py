"""What a long stage says of itself while it runs; the command line draws it, a library user may ignore it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


@contextmanager
def announced(listener: Listener, stage: str) -> Iterator[None]:
    """Says that a stage begins and ends, for one that says nothing while it runs."""
    listener(Progress(stage=stage, done=0, total=1))
    yield
    listener(Progress(stage=stage, done=1, total=1))
