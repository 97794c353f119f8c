"""Text <-> token numbers: bytes, characters, or a Hugging Face `tokenizers` JSON."""

import json
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError, EnvironmentFault

Kind = Literal["bytes", "characters", "tokenizer"]

UNKNOWN = 0
"""The token of `characters` for one that the training text lacks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """tokens: (n,) int32. characters: (n,) int32, how many characters of the text each token stands for."""

    tokens: npt.NDArray[np.int32]
    characters: npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """definition: the characters in the order of their tokens from 1 on, or the tokenizer's JSON; "" for bytes."""

    kind: Kind
    definition: str
    size: int

    @property
    def sha256(self) -> str:
        """What tells one vocabulary from another."""
        return sha256(f"{self.kind}:{self.definition}".encode()).hexdigest()

    def encode(self, text: str) -> Encoded:
        """The tokens of a text; the characters of all of them together are the text's."""
        if self.kind == "bytes":
            raw = np.frombuffer(text.encode(), dtype=np.uint8)
            return Encoded(tokens=raw.astype(np.int32), characters=((raw & 0xC0) != 0x80).astype(np.int32))
        if self.kind == "characters":
            points, known = _points(text), _points(self.definition)
            place = np.searchsorted(known, points).clip(max=len(known) - 1)
            tokens = np.where(known[place] == points, place + 1, UNKNOWN).astype(np.int32)
            return Encoded(tokens=tokens, characters=np.ones(len(tokens), dtype=np.int32))
        return _encode(_tokenizer(self.definition), text)

    def decode(self, tokens: npt.NDArray[Any]) -> str:
        """The text of token numbers; what is no character, or no whole one, becomes U+FFFD."""
        if self.kind == "bytes":
            return bytes(tokens.astype(np.uint8)).decode(errors="replace")
        if self.kind == "characters":
            table = "�" + self.definition
            return "".join(table[int(token)] for token in tokens)
        text: str = _tokenizer(self.definition).decode([int(token) for token in tokens])
        return text

    def as_dict(self) -> dict[str, Any]:
        """The vocabulary as JSON-ready values."""
        return {"kind": self.kind, "definition": self.definition, "size": self.size}


def of(name: str, *, training_text: str) -> Vocabulary:
    """The vocabulary `bytes`, `characters` (those of the training text), or that of a tokenizers JSON file.

    Raises:
        BadInputError: no such file, or no tokenizer in it.
        EnvironmentFault: the package `tokenizers` is missing.
    """
    if name == "bytes":
        return Vocabulary(kind="bytes", definition="", size=256)
    if name == "characters":
        characters = "".join(sorted(set(training_text)))
        return Vocabulary(kind="characters", definition=characters, size=len(characters) + 1)
    path = Path(name)
    if not path.is_file():
        raise BadInputError(
            f"data.vocabulary {name}: no such file; expected `bytes`, `characters`, or a tokenizer.json"
        )
    try:
        definition = path.read_text(encoding="utf-8")
        json.loads(definition)
    except ValueError as err:
        raise BadInputError(f"data.vocabulary {path}: is no JSON ({err}); expected a tokenizers JSON") from err
    return Vocabulary(kind="tokenizer", definition=definition, size=_tokenizer(definition).get_vocab_size())


def check_same(teacher: Vocabulary, own: Vocabulary, *, where: str) -> None:
    """Refuse a teacher that reads other tokens: distillation compares their logits one by one.

    Raises:
        BadInputError: with the first difference.
    """
    if teacher.sha256 == own.sha256:
        return
    if (teacher.kind, teacher.size) != (own.kind, own.size):
        found, wanted = (f"{vocabulary.size} {vocabulary.kind}" for vocabulary in (teacher, own))
        raise BadInputError(
            f"teacher {where} has a vocabulary of {found}, the data one of {wanted}; expected the same tokens in the "
            "same order: train the teacher on this data, or set data.vocabulary to the teacher's"
        )
    place = next(
        (i for i, (a, b) in enumerate(zip(teacher.definition, own.definition, strict=False)) if a != b),
        min(len(teacher.definition), len(own.definition)),
    )
    found, wanted = (repr(text[place : place + 1]) for text in (teacher.definition, own.definition))
    raise BadInputError(
        f"teacher {where} and the data have vocabularies of {own.size} {own.kind} that differ, first at place "
        f"{place + 1}: the teacher's is {found}, the data's {wanted}; train the teacher on this data"
    )


def _points(text: str) -> npt.NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le"), dtype="<u4")


@cache
def _tokenizer(definition: str) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError as err:
        raise EnvironmentFault(
            'the vocabulary is a tokenizers JSON, and tokenizers is not installed; pip install "edgekd[text]"'
        ) from err
    try:
        tokenizer = Tokenizer.from_str(definition)
    except Exception as err:  # tokenizers raises Exception itself, no subclass
        raise BadInputError(f"data.vocabulary is no tokenizer ({err}); expected what `tokenizers` saves") from err
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _encode(tokenizer: Any, text: str) -> Encoded:
    """What lies between two tokens, such as spaces, counts to the second; what is left at the end, to the last."""
    found = tokenizer.encode(text, add_special_tokens=False)
    tokens = np.array(found.ids, dtype=np.int32)
    ends = np.maximum.accumulate(np.array([end for _, end in found.offsets], dtype=np.int32))
    if len(ends):
        ends[-1] = len(text)
    return Encoded(tokens=tokens, characters=np.diff(ends, prepend=0).astype(np.int32))
