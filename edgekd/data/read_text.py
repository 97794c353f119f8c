"""A text -> token numbers, as a network was trained on. Bundles carry this file: it needs numpy and tokenizers."""

import json
from pathlib import Path
from typing import Any

import numpy as np

TOKENIZER = "tokenizer.json"
"""It lies beside this file in a bundle."""

ENCODED_AT_ONCE = 1024

FIXED = {"padding": 0, "padded_at": "end", "cut_at": "end"}
"""Texts are cut at their end, and padded there with token 0."""


def describe(tokenizer: str, *, vocabulary: int, max_tokens: int, tokenizer_sha256: str) -> dict[str, Any]:
    """What `read` needs to know, JSON-ready. tokenizer: the text of tokenizer.json."""
    known = {"vocabulary": vocabulary, "max_tokens": max_tokens, "tokenizer_sha256": tokenizer_sha256}
    return known | {"lowercase": lowercases(tokenizer)} | FIXED


def lowercases(tokenizer: str) -> bool:
    """Whether the tokenizer takes texts in lower case. tokenizer: the text of tokenizer.json."""
    steps = [json.loads(tokenizer).get("normalizer")]
    for step in steps:
        steps += step.get("normalizers", []) if step else []  # a sequence of them
    return any(step and (step.get("type") == "Lowercase" or step.get("lowercase") is True) for step in steps)


def read(path: Path, facts: dict[str, Any]) -> Any:
    """Token numbers (max_tokens,) int32 of a text file in UTF-8.

    Raises:
        ValueError: the file cannot be read, or is not UTF-8.
        ImportError: the package tokenizers is not installed.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise ValueError(f"{path}: cannot be read ({err}); expected a text in UTF-8") from err
    return read_words(text, facts)


def read_words(text: str, facts: dict[str, Any]) -> Any:
    """Token numbers (max_tokens,) int32 of a text, by the tokenizer.json beside this file.

    Raises:
        ValueError: it is not there, or facts that this file does not know.
        ImportError: the package tokenizers is not installed.
    """
    from tokenizers import Tokenizer

    for key, value in FIXED.items():
        if facts[key] != value:
            raise ValueError(f"texts whose {key} is {facts[key]!r}; this reader knows {value!r} alone")
    file = Path(__file__).resolve().with_name(TOKENIZER)
    if not file.is_file():
        raise ValueError(f"this bundle has no {TOKENIZER}; give token numbers as an .npy file")
    return number(Tokenizer.from_file(str(file)), [text], max_tokens=facts["max_tokens"])[0]


def number(tokenizer: Any, texts: list[str], *, max_tokens: int) -> Any:
    """Token numbers of each text, (n, max_tokens) int32: cut at max_tokens, padded with 0 behind.

    A text without a single token, such as one of control characters, is all padding.
    """
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens, direction="right")
    tokens = np.zeros((len(texts), max_tokens), dtype=np.int32)
    for start in range(0, len(texts), ENCODED_AT_ONCE):
        for row, found in enumerate(tokenizer.encode_batch(texts[start : start + ENCODED_AT_ONCE]), start):
            tokens[row, : len(found.ids)] = found.ids
    return tokens
