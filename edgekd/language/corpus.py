"""A text -> train, validation and test, by contiguous blocks; and the windows that a network reads of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError
from edgekd.language import vocabulary as vocabularies
from edgekd.language.text import Text
from edgekd.language.vocabulary import UNKNOWN, Encoded, Vocabulary

Tokens = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Blocks of contiguous text; no window reaches from one into another, they need not be neighbours."""

    blocks: tuple[Encoded, ...]

    @property
    def tokens(self) -> int:
        """All tokens."""
        return sum(len(block.tokens) for block in self.blocks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """sha256: of the whole text. unknown: share of the test's tokens that the vocabulary does not know."""

    vocabulary: Vocabulary
    train: Part
    validation: Part
    test: Part
    sha256: str
    characters: int
    unknown: float

    def facts(self) -> dict[str, Any]:
        """What a report says of it, JSON-ready."""
        return {
            "sha256": self.sha256,
            "characters": self.characters,
            "vocabulary": {
                "kind": self.vocabulary.kind,
                "size": self.vocabulary.size,
                "sha256": self.vocabulary.sha256,
            },
            "tokens": {name: getattr(self, name).tokens for name in ("train", "validation", "test")},
            "blocks": {name: len(getattr(self, name).blocks) for name in ("train", "validation", "test")},
            "unknown": self.unknown,
        }


def build(
    text: Text,
    *,
    vocabulary: str,
    context: int,
    block_characters: int,
    validation_fraction: float,
    test_fraction: float,
    seed: int,
) -> Corpus:
    """The text cut into blocks of `block_characters`, which fall to the parts by a shuffle of `seed`.

    A vocabulary of characters is made of the training blocks alone.

    Raises:
        BadInputError: too little text for the three parts, or a block without a whole window of `context` tokens.
    """
    pieces = _cut(text.content, block_characters)
    names = _assign(len(pieces), validation_fraction=validation_fraction, test_fraction=test_fraction, seed=seed)
    if names is None:
        raise BadInputError(
            f"the text has {len(text.content):,} characters, which make {len(pieces)} blocks of {block_characters:,}; "
            "expected at least 3, for train, validation and test: give more text, or lower data.block_characters"
        )
    words = vocabularies.of(vocabulary, training_text="".join(p for p, n in zip(pieces, names, strict=True) if not n))
    encoded = [words.encode(piece) for piece in pieces]
    shortest = min(len(block.tokens) for block in encoded)
    if shortest < context + 1:
        raise BadInputError(
            f"a block of the text has {shortest} tokens, and a window of data.context = {context} needs {context + 1}; "
            "lower data.context, or raise data.block_characters"
        )
    parts = [Part(blocks=tuple(b for b, n in zip(encoded, names, strict=True) if n == part)) for part in range(3)]
    tested = np.concatenate([block.tokens for block in parts[2].blocks])
    return Corpus(
        vocabulary=words,
        train=parts[0],
        validation=parts[1],
        test=parts[2],
        sha256=text.sha256,
        characters=len(text.content),
        unknown=float((tested == UNKNOWN).mean()) if words.kind == "characters" else 0.0,
    )


def _cut(content: str, size: int) -> list[str]:
    """Pieces of `size` characters; a last one of less than half of that goes to the one before."""
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    if len(pieces) > 1 and len(pieces[-1]) < size // 2:
        pieces[-2:] = [pieces[-2] + pieces[-1]]
    return pieces


def _assign(count: int, *, validation_fraction: float, test_fraction: float, seed: int) -> list[int] | None:
    """0, 1 or 2 for each block: train, validation, test. None where one would be empty."""
    sizes = [max(1, round(fraction * count)) for fraction in (validation_fraction, test_fraction)]
    if sum(sizes) >= count:
        return None
    parts = np.repeat([0, 1, 2], [count - sum(sizes), *sizes])
    shuffled: list[int] = np.random.default_rng(seed).permutation(parts).tolist()
    return shuffled


class Windows:
    """Windows of `context` tokens side by side in each block; the last of a block is padded, and masked there.

    views: editions of the text: in view v windows begin v * context / views tokens later. Their number is the same in
    each, so that a teacher's answers can be kept by (view, window).
    """

    def __init__(self, part: Part, *, context: int, views: int = 1) -> None:
        self.context, self.views = context, views
        self.tokens = np.concatenate([block.tokens for block in part.blocks]).astype(np.int64)
        ends = np.cumsum([len(block.tokens) for block in part.blocks])
        counts = [-(-(len(block.tokens) - 1) // context) for block in part.blocks]
        firsts = ends - [len(block.tokens) for block in part.blocks]
        self._starts = np.concatenate([first + context * np.arange(n) for first, n in zip(firsts, counts, strict=True)])
        self._ends = np.repeat(ends, counts)

    def __len__(self) -> int:
        return len(self._starts)

    def batch(self, index: npt.NDArray[np.int64], *, view: int = 0) -> tuple[Tokens, Tokens, Mask]:
        """tokens, the token after each, and which of these to learn from: (batch, context) each."""
        starts = self._starts[index] + view * self.context // self.views
        places = starts[:, None] + np.arange(self.context)
        mask = places + 1 < self._ends[index][:, None]
        places = np.minimum(places, self._ends[index][:, None] - 1)
        following = np.minimum(places + 1, len(self.tokens) - 1)
        return self.tokens[places], np.where(mask, self.tokens[following], 0), mask
