"""JSON read strictly, and its hash: what Python's reader lets through and no writer of ours writes is refused."""

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any

from edgekd.errors import BadInputError

LARGEST = 2**63
"""Whole numbers from here on are nothing that is counted or timed here, and do not fit into a float or an int64."""
DIGITS = re.compile(r"\d{19}")
"""What a number that large has; without it, whole numbers are read as fast as `json` can: reports hold a million."""


def parse(text: str) -> Any:
    """The value of a JSON text. Unlike `json.loads`, a key stands once, and every number is finite and below 2**63.

    RFC 8259 knows no NaN and leaves open what a key means that stands twice: one reader takes the first value, another
    the last. A gate must not depend on which.

    Raises:
        ValueError: the text is not such JSON, or nested deeper than Python can follow.
    """
    try:
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_no_number,
            parse_float=_finite,
            parse_int=_whole if DIGITS.search(text) else None,
        )
    except RecursionError as err:
        raise ValueError("nested too deeply") from err


def read_object(path: Path, *, what: str, expected: str) -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        what: what the file is to the user, to name it in messages: "report", "result".
        expected: what it should have been: "the report.json of a run".

    Raises:
        BadInputError: no such file, empty, not whole or not strict JSON, or not an object.
    """
    if not path.is_file():
        raise BadInputError(f"{what} {path}: no such file; expected {expected}")
    try:
        text = path.read_text(encoding="utf-8")
        value = parse(text) if text.strip() else None
    except ValueError as err:  # of JSON and of UTF-8
        raise BadInputError(f"{what} {path}: not whole JSON ({err}); expected {expected}. Run again") from err
    if not text.strip():
        raise BadInputError(f"{what} {path}: the file is empty; expected {expected}. Run again")
    if not isinstance(value, dict):
        raise BadInputError(f"{what} {path}: a JSON {type(value).__name__}; expected an object. Run again")
    return value


def digest(value: Any) -> str:
    """SHA-256, in hexadecimal, of a JSON-ready value: of its text with sorted keys, in ASCII, without blanks.

    Tuples count as lists, so that a value has the same hash before it is written and after it is read. Floats are
    written as the shortest text that gives the same float back, so nothing is lost on the way through a file.

    Raises:
        ValueError: the value holds NaN or infinity.
    """
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON's")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text:.30} is too large")
    return value


def _whole(text: str) -> int:
    if len(text) > len(str(-LARGEST)) or abs(int(text)) >= LARGEST:
        raise ValueError(f"the number {text:.30} is too large")
    return int(text)
