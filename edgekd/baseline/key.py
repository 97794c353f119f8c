"""What a stored result is filed under: name, target and metric, each one part of a path."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from edgekd.errors import BadInputError

PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
"""No leading dot or dash, no separator: such a part is no option of git's, no hidden file and no way out of a store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One place in a store. metric: "time", "instructions" or, for the report of a run, "report"."""

    name: str
    target: str
    metric: str

    def __post_init__(self) -> None:
        for what in ("name", "target", "metric"):
            check_part(what, getattr(self, what))

    @property
    def path(self) -> str:
        """The path below the root of the store, with forward slashes."""
        return f"{self.name}/{self.target}/{self.metric}.json"

    def __str__(self) -> str:
        return f"{self.name} on {self.target}, {self.metric}"


def check_part(what: str, text: object) -> str:
    """The text, once it is fit to be a part of a path.

    Raises:
        BadInputError: it is empty, longer than 100, or has a character outside A-Z a-z 0-9 . _ -
    """
    if not isinstance(text, str) or not PART.fullmatch(text):
        hint = ": give another with --name" if what == "name" else ""
        raise BadInputError(
            f"{what} {text!r:.120} cannot be that of a baseline; expected up to 100 of A-Z a-z 0-9 . _ -, the first no "
            f"dot and no dash{hint}"
        )
    return text


def key_of(path: str) -> Key | None:
    """The key of a path below the root of a store; None for a file that no baseline can have."""
    parts = PurePosixPath(path).parts
    if len(parts) != 3 or not parts[2].endswith(".json"):
        return None
    name, target, metric = parts[0], parts[1], parts[2].removesuffix(".json")
    if not all(PART.fullmatch(part) for part in (name, target, metric)):
        return None
    return Key(name=name, target=target, metric=metric)
