"""Texts to token numbers by a Hugging Face tokenizer.json: one that is given, or one trained on the training split.

Token 0 is padding, always: a network masks by it, so no mask travels beside the tokens.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgekd.data import read_text
from edgekd.errors import BadInputError, EnvironmentFault

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PADDING, UNKNOWN = "[PAD]", "[UNK]"
SPECIAL = (PADDING, UNKNOWN)
SMALLEST_VOCABULARY = 256 + len(SPECIAL)


def train_tokenizer(texts: Iterable[str], *, vocabulary_size: int, lowercase: bool = True) -> str:
    """Byte-pair encoding trained on `texts`, as the text of its tokenizer.json.

    Byte-pair encoding (Sennrich et al. 2016, arXiv 1508.07909) over bytes (Radford et al. 2019, GPT-2), so no letter of
    any script is unknown; Unicode's NFKC and single spaces before it. Of the trainers in Hugging Face tokenizers
    this one gives equal tokenizers for equal texts: those of WordPiece and Unigram number pieces in the order of a hash
    table, another in each process.

    vocabulary_size: tokens at most, with 256 bytes and 2 special ones.

    Raises:
        BadInputError: the vocabulary cannot hold each byte.
        EnvironmentFault: the package tokenizers is not installed.
    """
    tokenizers = import_tokenizers()
    if vocabulary_size < SMALLEST_VOCABULARY:
        raise BadInputError(
            f"a vocabulary of {vocabulary_size} tokens; expected at least {SMALLEST_VOCABULARY}: 256 bytes and "
            f"{', '.join(SPECIAL)}; raise data.vocabulary_size"
        )
    norms, splits = tokenizers.normalizers, tokenizers.pre_tokenizers
    made = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token=UNKNOWN))
    spaces = norms.Replace(tokenizers.Regex(r"\s+"), " ")
    made.normalizer = norms.Sequence([norms.NFKC(), *([norms.Lowercase()] if lowercase else []), spaces, norms.Strip()])
    made.pre_tokenizer = splits.ByteLevel(add_prefix_space=True)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=list(SPECIAL),
        initial_alphabet=splits.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(iter(texts), trainer)
    text: str = made.to_str()
    return text


def read_tokenizer(path: Path) -> str:
    """The text of a tokenizer.json that was given, checked.

    Raises:
        BadInputError: missing or corrupt file, or token 0 is not padding.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as err:
        raise BadInputError(f"tokenizer {path}: no such file; expected a tokenizer.json") from err
    except (OSError, UnicodeDecodeError) as err:
        raise BadInputError(f"tokenizer {path}: cannot be read ({err}); expected a tokenizer.json") from err
    try:
        open_tokenizer(text)
    except BadInputError as err:
        raise BadInputError(f"{path}: {err}") from err
    return text


def open_tokenizer(text: str, *, max_tokens: int | None = None) -> "Tokenizer":
    """The tokenizer in the text of a tokenizer.json, which cuts at `max_tokens` and does not pad.

    Raises:
        BadInputError: it is no tokenizer, or its token 0 is not padding.
        EnvironmentFault: the package tokenizers is not installed.
    """
    tokenizers = import_tokenizers()
    try:
        made: Tokenizer = tokenizers.Tokenizer.from_str(text)
    except Exception as err:  # bare, from Rust; there is no narrower one
        raise BadInputError(f"not a tokenizer of Hugging Face tokenizers ({err}); expected a tokenizer.json") from err
    first = made.id_to_token(0)
    if first is None or "pad" not in first.lower():
        raise BadInputError(
            f"its token 0 is {first!r}; expected padding as token 0, as BERT's [PAD] is: networks mask by token 0. "
            "Take such a tokenizer, or let one be trained"
        )
    made.no_padding()
    made.no_truncation()
    if max_tokens is not None:
        made.enable_truncation(max_tokens)
    return made


def vocabulary_size(text: str) -> int:
    """How many tokens there are, which is the largest number + 1. text: of a tokenizer.json."""
    vocabulary = open_tokenizer(text).get_vocab(with_added_tokens=True)
    return max(vocabulary.values()) + 1


def encode(text: str, texts: Sequence[str], *, max_tokens: int) -> npt.NDArray[np.int32]:
    """Token numbers of each text, (n, max_tokens) int32: cut at max_tokens, padded with 0 behind.

    text: of a tokenizer.json. A text without a single token, such as one of control characters, is all padding.
    """
    tokens: npt.NDArray[np.int32] = read_text.number(open_tokenizer(text), list(texts), max_tokens=max_tokens)
    return tokens


def import_tokenizers() -> Any:
    """The package tokenizers.

    Raises:
        EnvironmentFault: it is not installed.
    """
    try:
        import tokenizers
    except ImportError as err:
        raise EnvironmentFault(
            "texts need the package tokenizers, which is not installed; install it: pip install 'edgekd[text]'"
        ) from err
    return tokenizers


def is_tokenizer_json(text: str) -> bool:
    """Whether `text` looks like a tokenizer.json, without the package: an object with a model."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and isinstance(document.get("model"), dict)
