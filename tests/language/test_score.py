"""Bits per character: each token once, from the past it should have; intervals; against numbers worked by hand."""

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.errors import BadInputError
from edgekd.language.corpus import Part
from edgekd.language.score import Scores, perplexity_ratio, ratio_of_sums, score, token_nats
from edgekd.language.vocabulary import Encoded


def part(*blocks: list[int]) -> Part:
    tokens = [np.array(block, dtype=np.int32) for block in blocks]
    return Part(blocks=tuple(Encoded(tokens=t, characters=np.full(len(t), 2, dtype=np.int32)) for t in tokens))


def uniform(tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    return np.zeros((*tokens.shape, 4), dtype=np.float32)


def test_even_odds_over_four_tokens_are_two_bits_a_token() -> None:
    found = score(uniform, part([0, 1, 2, 3, 0, 1], [3, 2, 1, 0, 3]), context=3).summary()
    assert found["bits_per_character"] == pytest.approx(1.0)  # two characters a token
    assert found["perplexity"] == pytest.approx(4.0)
    assert (found["tokens"], found["characters"], found["blocks"]) == (9, 18, 2)


@settings(max_examples=50)
@given(st.integers(2, 9), st.integers(10, 40))
def test_every_token_but_the_first_counts_once_and_from_half_a_context(context: int, length: int) -> None:
    seen: list[tuple[int, int]] = []

    def predict(tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Sure of token p + 1 at place p, so only what is scored twice or never changes the sum."""
        logits = np.zeros((*tokens.shape, length + 1), dtype=np.float32)
        np.put_along_axis(logits, tokens[..., None] + 1, 1.0, axis=-1)
        seen.extend((int(row[0]), int(row[-1])) for row in tokens)
        return logits

    found = score(predict, part(list(range(length))), context=context)
    each = math.log(math.e + length) - 1
    assert found.nats[0] == pytest.approx((length - 1) * each)
    starts = [first for first, _ in seen]
    assert max(np.diff([*starts]), default=0) <= max(1, context // 2)
    assert seen[-1][1] == length - 2


def test_nats_are_those_of_torch() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    logits, following = rng.normal(0, 9, (2, 5, 7)).astype(np.float32), rng.integers(0, 7, (2, 5))
    expected = torch.nn.functional.cross_entropy(
        torch.from_numpy(logits).double().flatten(0, 1), torch.from_numpy(following).flatten(), reduction="none"
    )
    np.testing.assert_allclose(token_nats(logits, following).ravel(), expected.numpy(), rtol=1e-6, atol=1e-7)


def test_a_network_that_returns_nan_is_refused() -> None:
    with pytest.raises(BadInputError, match="NaN or infinity"):
        score(lambda tokens: uniform(tokens) * np.float32("nan"), part([0, 1, 2, 3]), context=2)


def test_the_interval_of_a_ratio_is_the_one_worked_by_hand() -> None:
    # means 2 and 4 of equal weight: ratio 3, s^2 = 2/1 * (1 + 1) / 4 = 1, t(1 degree of freedom) = 12.7062
    ratio, ends = ratio_of_sums(np.array([2.0, 4.0]), np.array([1.0, 1.0]))
    assert ratio == 3.0
    assert ends.high - ratio == pytest.approx(12.7062, abs=1e-4)
    assert ratio - ends.low == pytest.approx(12.7062, abs=1e-4)


def test_one_block_bounds_nothing() -> None:
    found = Scores(nats=(3.0,), tokens=(3,), characters=(3,)).summary()
    assert found["perplexity"] == pytest.approx(math.e)
    assert found["perplexity_low"] is None and found["perplexity_high"] is None
    assert found["bits_per_character_low"] is None


def test_a_ratio_is_paired_so_equal_changes_have_no_spread() -> None:
    base = Scores(nats=(10.0, 30.0, 20.0), tokens=(10, 10, 10), characters=(10, 10, 10))
    new = Scores(nats=(11.0, 31.0, 21.0), tokens=(10, 10, 10), characters=(10, 10, 10))
    found = perplexity_ratio(new, base)
    for name in ("perplexity_ratio", "perplexity_ratio_low", "perplexity_ratio_high"):
        assert found[name] == pytest.approx(math.exp(0.1))


@settings(max_examples=20)
@given(st.integers(0, 2**31))
def test_intervals_hold_the_truth_most_of_the_time(seed: int) -> None:
    rng = np.random.default_rng(seed)
    inside = 0
    for _ in range(40):
        below = rng.integers(50, 150, 12).astype(float)
        _, ends = ratio_of_sums(2.0 * below + rng.normal(0, 5, 12) * np.sqrt(below), below)
        inside += ends.low <= 2.0 <= ends.high
    assert inside >= 29  # 40 at 95 %: fewer than 30 has odds below 1e-6
