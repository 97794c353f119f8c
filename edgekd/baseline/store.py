"""What a place for baselines can do, whether it is a folder or a branch."""

from dataclasses import dataclass
from typing import Protocol

from edgekd.baseline.key import Key
from edgekd.errors import BadInputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a store says of a document it took. replaced: another one had the key. commit: None in a folder."""

    place: str
    replaced: bool
    commit: str | None = None
    pushed: bool = False


class Store(Protocol):
    """A place for baselines. place: how people call it."""

    @property
    def place(self) -> str: ...

    def read(self, key: Key) -> bytes | None:
        """The document under `key` as it was written, None when there is none."""

    def write(self, key: Key, content: bytes) -> Written:
        """Put the document under `key`, in place of one that is there."""

    def listed(self) -> tuple[Key, ...]:
        """Every key, in order."""


def stored(store: Store, key: Key) -> bytes:
    """The document under `key`.

    Raises:
        BadInputError: there is none; the message lists what is stored.
    """
    content = store.read(key)
    if content is None:
        known = "; ".join(map(str, store.listed())) or "nothing"
        raise BadInputError(
            f"no baseline {key} in {store.place}; stored: {known}. Save one with `edgekd baseline save`"
        )
    return content
