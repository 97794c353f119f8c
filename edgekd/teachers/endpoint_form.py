"""What is sent to an HTTP endpoint and what it must answer, as docs/teachers.md has it in words; nothing here sends."""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError
from edgekd.teachers.http import Answer, quoted

SCORES_KEYS = ("scores", "outputs")
"""Where the scores stand in an answer, unless another key is named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How a request is written and an answer read.

    encoding: `base64` of the raw bytes (little-endian, C order), or a nested `list`. scores_key: None for `scores` or
    `outputs`. batch_size: inputs a request. concurrency: requests under way at once.
    """

    encoding: Literal["base64", "list"] = "base64"
    inputs_key: str = "inputs"
    scores_key: str | None = None
    batch_size: int = 64
    concurrency: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer that holds: scores (n, width) float32, and what it calls its columns, if it does."""

    scores: npt.NDArray[np.float32]
    classes: tuple[str, ...] | None


def content_key(one: npt.NDArray[Any]) -> bytes:
    """SHA-256 of a sample: its type, shape and numbers."""
    plain = np.ascontiguousarray(one)
    sha = hashlib.sha256(f"{plain.dtype.newbyteorder('<').str} {plain.shape} ".encode())
    sha.update(plain.astype(plain.dtype.newbyteorder("<"), copy=False).tobytes())
    return sha.digest()


def request(inputs: npt.NDArray[Any], names: Sequence[str], form: Form) -> bytes:
    """The body of a request for inputs (n, ...)."""
    if form.encoding == "base64":
        raw = np.ascontiguousarray(inputs, dtype=inputs.dtype.newbyteorder("<")).tobytes()
        content: Any = base64.b64encode(raw).decode("ascii")
    else:
        content = inputs.tolist()
    body = {form.inputs_key: content, "shape": list(inputs.shape), "dtype": inputs.dtype.name, "ids": list(names)}
    return json.dumps(body, allow_nan=False).encode("ascii")


def read(answer: Answer, *, names: Sequence[str], scores_key: str | None) -> Reply:
    """The scores in an answer. names: the items that were asked for.

    Raises:
        BadInputError: it is no JSON, has no scores, not a row an item, rows of several lengths, anything that is no
            finite number, or says that it is about other items.
    """
    body = _document(answer)
    keys = SCORES_KEYS if scores_key is None else (scores_key,)
    key = next((key for key in keys if key in body), None)
    if key is None:
        said = quoted(str(body["error"])) if "error" in body else ""
        raise BadInputError(
            f"answers JSON with the keys {', '.join(map(repr, body)) or 'none'}{said}; expected {' or '.join(keys)}. "
            "Name the key in teacher.endpoint.scores_key"
        )
    rows = body[key]
    if not isinstance(rows, list) or len(rows) != len(names):
        found = f"{len(rows)} rows" if isinstance(rows, list) else f"a {type(rows).__name__}"
        raise BadInputError(
            f"answers {found} under '{key}' for {len(names)} items, '{names[0]}' to '{names[-1]}'; expected a row of "
            "scores an item, in the order of the request"
        )
    _check_ids(body.get("ids"), names)
    return Reply(scores=_table(rows, names), classes=_classes(body.get("classes"), width=len(rows[0])))


def _document(answer: Answer) -> dict[str, Any]:
    text = answer.body.decode("utf-8", errors="replace")
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as err:
        if answer.content_type == "text/html" or text.lstrip()[:1] == "<":
            raise BadInputError(
                f"answers HTML instead of JSON{quoted(text)}; expected scores. Is teacher.endpoint.url a page for "
                "people, or does a proxy ask for a login?"
            ) from err
        raise BadInputError(
            f"answers {len(answer.body)} bytes that are not whole JSON ({err}){quoted(text)}; expected "
            '{"scores": [[...], ...]}'
        ) from err
    if not isinstance(body, dict):
        raise BadInputError(f'answers a JSON {type(body).__name__}; expected an object: {{"scores": [[...], ...]}}')
    return body


def _table(rows: list[Any], names: Sequence[str]) -> npt.NDArray[np.float32]:
    width = len(rows[0]) if isinstance(rows[0], list) else 0
    for row, name in zip(rows, names, strict=True):
        if not isinstance(row, list) or not row:
            raise BadInputError(f"answers {_short(row)} for item '{name}'; expected a list of scores, one a class")
        if len(row) != width:
            raise BadInputError(
                f"answers {len(row)} scores for item '{name}' and {width} for item '{names[0]}'; expected one a class"
            )
        wrong = next((value for value in row if type(value) not in (int, float)), None)
        if wrong is not None or None in row:
            raise BadInputError(f"answers {_short(wrong)} among the scores of item '{name}'; expected numbers")
    with np.errstate(over="ignore"):
        table = np.array([[_float(value) for value in row] for row in rows], np.float64).astype(np.float32)
    bad = np.argwhere(~np.isfinite(table))
    if len(bad):
        row, column = map(int, bad[0])
        raise BadInputError(
            f"answers {rows[row][column]} as score {column} of item '{names[row]}'; expected finite numbers. Look at "
            "that item, or at the model behind the endpoint"
        )
    return table


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # JSON's whole numbers have no bound
        return float("inf")


def _check_ids(said: Any, names: Sequence[str]) -> None:
    """An answer may say which items it is about; then it must be those."""
    if said is None or said == list(names):
        return
    pairs = list(enumerate(zip(said, names, strict=False))) if isinstance(said, list) else []
    row, (got, wanted) = next(((i, pair) for i, pair in pairs if pair[0] != pair[1]), (0, (said, names[0])))
    raise BadInputError(
        f"answers for other items: row {row} says it is {_short(got)}, asked for was '{wanted}'; expected the ids of "
        "the request, in its order"
    )


def _classes(said: Any, *, width: int) -> tuple[str, ...] | None:
    """An answer may name its columns."""
    if said is None:
        return None
    if not isinstance(said, list) or len(said) != width or not all(isinstance(name, str) for name in said):
        raise BadInputError(f"answers {_short(said)} as classes; expected {width} names, one a score")
    return tuple(said)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
