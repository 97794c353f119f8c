"""Bits per character and perplexity of a network on a part of the text, with intervals over its blocks. No torch."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError
from edgekd.language.corpus import Part
from edgekd.language.vocabulary import Encoded
from edgekd.statistics import CONFIDENCE, Interval

Predict = Callable[[npt.NDArray[np.int64]], npt.NDArray[np.float32]]
"""tokens (batch, length) -> logits (batch, length, K)."""

WINDOWS_AT_ONCE = 16

LARGEST_NATS = 700.0
"""e ** 709.8 is the largest float."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Of each block: nats, the sum of -ln p of its tokens but the first; how many tokens and characters these are."""

    nats: tuple[float, ...]
    tokens: tuple[int, ...]
    characters: tuple[int, ...]

    @classmethod
    def read(cls, found: Mapping[str, Any]) -> Self:
        """From the mapping that JSON gives back."""
        return cls(**{name: tuple(found[name]) for name in ("nats", "tokens", "characters")})

    def summary(self) -> dict[str, Any]:
        """bits_per_character and perplexity (a token), each with the ends of its 95 % interval; JSON-ready."""
        bits, bit_ends = ratio_of_sums(np.array(self.nats) / math.log(2), np.array(self.characters))
        nats, nat_ends = ratio_of_sums(np.array(self.nats), np.array(self.tokens))
        return {
            "bits_per_character": bits,
            "bits_per_character_low": _known(bit_ends.low),
            "bits_per_character_high": _known(bit_ends.high),
            "perplexity": _exact(nats),
            "perplexity_low": _known(exp(nat_ends.low)),
            "perplexity_high": _known(exp(nat_ends.high)),
            "blocks": len(self.nats),
            "tokens": sum(self.tokens),
            "characters": sum(self.characters),
        }


def score(predict: Predict, part: Part, *, context: int, what: str = "the network") -> Scores:
    """How well each token is foretold. Windows overlap by half, and a window adds only what none before it foretold:

    so every token but the first of a block counts once, and all but the first half window of a block are foretold from
    at least half a context.

    what: as a message names the network.

    Raises:
        BadInputError: a logit is not finite.
    """
    nats = [_block(predict, block, context=context) for block in part.blocks]
    if not np.isfinite(nats).all():
        raise BadInputError(
            f"{what} returns NaN or infinity on the text; expected finite logits: train it again with a lower rate"
        )
    return Scores(
        nats=tuple(nats),
        tokens=tuple(len(block.tokens) - 1 for block in part.blocks),
        characters=tuple(int(block.characters[1:].sum()) for block in part.blocks),
    )


def _block(predict: Predict, block: Encoded, *, context: int) -> float:
    """The nats of one block. All windows are whole: the last begins where a whole one fits."""
    tokens, stride = block.tokens.astype(np.int64), max(1, context // 2)
    last = len(tokens) - 1 - context
    starts = np.unique(np.append(np.arange(0, max(last, 0) + 1, stride), last))
    told = np.concatenate([[0], starts[:-1] + context])  # the place up to which others foretold
    total = 0.0
    for begin in range(0, len(starts), WINDOWS_AT_ONCE):
        chosen = slice(begin, begin + WINDOWS_AT_ONCE)
        places = starts[chosen, None] + np.arange(context)
        each = token_nats(predict(tokens[places]), tokens[places + 1])
        total += float(each[places >= told[chosen, None]].sum())
    return total


def token_nats(logits: npt.NDArray[np.float32], following: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """-ln softmax(logits) at the token that follows. logits: (..., K); following: (...). Float64."""
    with np.errstate(invalid="ignore"):  # of infinite logits: the answer is NaN, which `score` looks for
        shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
        chosen = np.take_along_axis(shifted, following[..., None], axis=-1)[..., 0]
        nats: npt.NDArray[np.float64] = np.log(np.exp(shifted).sum(axis=-1)) - chosen
    return nats


def perplexity_ratio(new: Scores, base: Scores) -> dict[str, float | None]:
    """The perplexity of `new` over that of `base` on the same blocks: paired, so what is hard for both cancels."""
    difference = np.array(new.nats) - np.array(base.nats)
    mean, ends = ratio_of_sums(difference, np.array(base.tokens))
    return {
        "perplexity_ratio": _exact(mean),
        "perplexity_ratio_low": _known(exp(ends.low)),
        "perplexity_ratio_high": _known(exp(ends.high)),
    }


def ratio_of_sums(above: npt.NDArray[Any], below: npt.NDArray[Any]) -> tuple[float, Interval]:
    """sum(above) / sum(below) over blocks, and its interval: blocks are what counts as independent.

    The variance is that of the ratio estimator by linearisation, B / (B - 1) sum (a - r b)^2 / (sum b)^2, with
    Student's t of B - 1 degrees of freedom. One block bounds nothing.

    Source: Cochran 1977, Sampling Techniques, sections 2.11 and 6.4.
    """
    from scipy.special import stdtrit

    count, ratio = len(above), float(above.sum() / below.sum())
    if count < 2:
        return ratio, Interval(low=-math.inf, high=math.inf)
    variance = count / (count - 1) * float(((above - ratio * below) ** 2).sum()) / float(below.sum()) ** 2
    half = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * math.sqrt(variance)
    return ratio, Interval(low=ratio - half, high=ratio + half)


def exp(nats: float) -> float:
    """e ** nats, infinite where no float is as large."""
    return math.exp(nats) if nats < LARGEST_NATS else math.inf


def _exact(nats: float) -> float:
    value = exp(nats)
    if not 0 < value < math.inf:
        raise BadInputError(
            f"{nats:.4g} nats a token, of which no perplexity can be computed; expected about 1 to 10: a network that "
            "diverged is to be trained again with a lower rate, an edited report to be measured again"
        )
    return value


def _known(value: float) -> float | None:
    """None for an end that the data do not bound."""
    return value if math.isfinite(value) and value != 0 else None
