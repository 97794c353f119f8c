"""Blocks, parts and windows: every token is learned once a pass, and none of another part."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.errors import BadInputError
from edgekd.language import corpus
from edgekd.language.corpus import Corpus, Part, Windows
from edgekd.language.text import Text
from edgekd.language.vocabulary import Encoded


def part(*lengths: int) -> Part:
    """Blocks of counting tokens: 0, 1, 2, … over all."""
    ends = np.cumsum(lengths)
    blocks = [np.arange(end - length, end, dtype=np.int32) for end, length in zip(ends, lengths, strict=True)]
    return Part(blocks=tuple(Encoded(tokens=b, characters=np.ones(len(b), dtype=np.int32)) for b in blocks))


def build(content: str, **changes: object) -> Corpus:
    options: dict[str, object] = {
        "vocabulary": "bytes",
        "context": 4,
        "block_characters": 16,
        "validation_fraction": 0.2,
        "test_fraction": 0.2,
        "seed": 0,
    }
    return corpus.build(Text(content=content, sources=("s",)), **(options | changes))  # type: ignore[arg-type]


def test_the_parts_together_are_the_text_in_blocks_of_one_size() -> None:
    content = "".join(chr(33 + i % 90) for i in range(160))
    made = build(content)
    blocks = [block for p in (made.train, made.validation, made.test) for block in p.blocks]
    assert [len(p.blocks) for p in (made.train, made.validation, made.test)] == [6, 2, 2]
    pieces = {made.vocabulary.decode(block.tokens) for block in blocks}
    assert pieces == {content[start : start + 16] for start in range(0, 160, 16)}


def test_a_short_rest_goes_to_the_block_before_it() -> None:
    made = build("x" * (16 * 5 + 3))
    sizes = sorted(len(block.tokens) for p in (made.train, made.validation, made.test) for block in p.blocks)
    assert sizes == [16, 16, 16, 16, 19]


def test_the_split_follows_from_the_seed() -> None:
    content = "".join(chr(33 + i % 90) for i in range(1600))
    first, again, other = (build(content, seed=seed) for seed in (1, 1, 2))
    same = [np.array_equal(a.tokens, b.tokens) for a, b in zip(first.test.blocks, again.test.blocks, strict=True)]
    assert all(same)
    assert [b.tokens.tolist() for b in first.test.blocks] != [b.tokens.tolist() for b in other.test.blocks]


def test_characters_that_only_the_test_has_are_unknown_and_counted() -> None:
    content = "ab" * 8 * 9 + "\u00e9" * 16
    made = next(m for seed in range(99) if (m := build(content, vocabulary="characters", seed=seed)).unknown > 0)
    assert made.vocabulary.definition == "ab"
    assert made.unknown == 0.5


def test_too_little_text_says_how_much_there_is() -> None:
    with pytest.raises(BadInputError, match="has 30 characters, which make 2 blocks of 16; expected at least 3"):
        build("x" * 30)


def test_a_text_shorter_than_a_context_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"a block of the text has 16 tokens, and a window of data.context = 16"):
        build("x" * 160, context=16)


def test_windows_lie_side_by_side_and_the_last_of_a_block_is_masked() -> None:
    windows = Windows(part(6, 4), context=4)
    tokens, following, mask = windows.batch(np.arange(len(windows)))
    assert tokens.tolist() == [[0, 1, 2, 3], [4, 5, 5, 5], [6, 7, 8, 9]]
    assert following.tolist() == [[1, 2, 3, 4], [5, 0, 0, 0], [7, 8, 9, 0]]
    assert mask.tolist() == [[True] * 4, [True, False, False, False], [True, True, True, False]]


@given(st.lists(st.integers(5, 40), min_size=1, max_size=5), st.integers(2, 4))
def test_each_token_but_the_first_of_a_block_is_learned_once(lengths: list[int], context: int) -> None:
    text = part(*lengths)
    windows = Windows(text, context=context)
    tokens, following, mask = windows.batch(np.arange(len(windows)))
    assert sorted(following[mask]) == sorted(t for block in text.blocks for t in block.tokens[1:])
    assert (following[mask] == tokens[mask] + 1).all()


@given(st.integers(1, 4), st.integers(0, 3))
def test_a_later_view_begins_later_and_has_as_many_windows(views: int, view: int) -> None:
    windows = Windows(part(23, 17), context=4, views=views)
    tokens, following, mask = windows.batch(np.arange(len(windows)), view=view % views)
    assert tokens[0, 0] == (view % views) * 4 // views
    assert (following[mask] == tokens[mask] + 1).all()
    assert mask.sum() == 22 + 16 - 2 * ((view % views) * 4 // views)
