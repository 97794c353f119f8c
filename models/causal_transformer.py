"""A causal transformer: tokens in, at each place the logits of the token that follows.

Pre-norm blocks, as in GPT-2 (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"). Attention is
written out in matrix products and a softmax: it exports with any batch, length and past as plain ONNX operators.
"""

import math

import torch
from torch import Tensor, nn

from edgekd.errors import BadInputError

POSITIONS = ("learned", "rotary")
ROTARY_BASE = 10_000.0
"""Su et al. 2021, "RoFormer" (arXiv 2104.09864), section 3.2.2."""

INITIAL_SD = 0.02
"""Standard deviation of initial weights, as in GPT-2; what adds to the residual has it over sqrt(2 depth)."""


class CausalTransformer(nn.Module):
    """`depth` blocks of attention and a two-layer network, `width` numbers a token.

    Args:
        vocabulary: K, how many tokens there are.
        context: the longest text, in tokens, that positions are made for.
        width: a multiple of `heads`; of 2 heads where positions are rotary.
        expansion: hidden units of the two-layer network, as a multiple of `width`.
        positions: `learned` (a vector for each place) or `rotary`.
        dropout: share of what each block adds that is dropped in training.

    Raises:
        BadInputError: sizes that do not fit together.
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        context: int,
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        expansion: int = 4,
        positions: str = "learned",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        _check(vocabulary, context, width=width, depth=depth, heads=heads, expansion=expansion, positions=positions)
        self.vocabulary, self.context, self.depth, self.heads = vocabulary, context, depth, heads
        self.size = width // heads
        self.embedding = nn.Embedding(vocabulary, width)
        self.places = nn.Embedding(context, width) if positions == "learned" else None
        self.blocks = nn.ModuleList(
            _Block(width, heads=heads, expansion=expansion, rotary=positions == "rotary", dropout=dropout)
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self._initialise()

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (batch, length) int64, length at most `context`. Returns logits (batch, length, K)."""
        logits, _ = self._read(tokens, None)
        return logits

    def step(self, tokens: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """The logits of `tokens` after a text that was read before, and what is to be kept for the next call.

        tokens: (batch, length) int64. past: (depth, 2, batch, heads, read, width / heads), the keys and values of the
        `read` tokens before; read may be 0. Returns logits (batch, length, K) and the past with these tokens in it.
        """
        logits, kept = self._read(tokens, past)
        return logits, torch.stack(kept)

    def empty_past(self, batch: int) -> Tensor:
        """The past of a text that has not begun: (depth, 2, batch, heads, 0, width / heads)."""
        return torch.zeros(self.depth, 2, batch, self.heads, 0, self.size)

    def _read(self, tokens: Tensor, past: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        before = 0 if past is None else past.shape[4]
        places = torch.arange(tokens.shape[1], device=tokens.device) + before
        x = self.embedding(tokens)
        if self.places is not None:
            x = x + self.places(places)
        kept = []
        for index, block in enumerate(self.blocks):
            x, pair = block(x, places, None if past is None else past[index])
            kept.append(pair)
        return self.head(self.norm(x)), kept

    def _initialise(self) -> None:
        for name, parameter in self.named_parameters():
            if parameter.ndim < 2:
                continue
            adds = name.endswith(("joined.weight", "narrow.weight"))
            nn.init.normal_(parameter, std=INITIAL_SD / (math.sqrt(2 * self.depth) if adds else 1.0))


class _Block(nn.Module):
    def __init__(self, width: int, *, heads: int, expansion: int, rotary: bool, dropout: float) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.rotary = rotary
        self.attention_norm, self.network_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.joined = nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, expansion * width), nn.Linear(expansion * width, width)
        self.activation, self.dropout = nn.GELU(), nn.Dropout(dropout)

    def forward(self, x: Tensor, places: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        """x: (batch, length, width); past: (2, batch, heads, read, size). Returns the same and the longer past."""
        attended, pair = self._attend(self.attention_norm(x), places, past)
        x = x + self.dropout(self.joined(attended))
        x = x + self.dropout(self.narrow(self.activation(self.wide(self.network_norm(x)))))
        return x, pair

    def _attend(self, x: Tensor, places: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        query, key, value = (self._by_head(layer(x)) for layer in (self.query, self.key, self.value))
        if self.rotary:
            query, key = _rotated(query, places), _rotated(key, places)
        pair = torch.stack((key, value))
        if past is not None:
            pair = torch.cat((past, pair), dim=3)
        keys, values = pair[0], pair[1]
        scores = query @ keys.transpose(-1, -2) / math.sqrt(self.size)
        hidden = torch.arange(keys.shape[2], device=x.device).unsqueeze(0) > places.unsqueeze(1)
        attended = scores.masked_fill(hidden, -math.inf).softmax(dim=-1) @ values
        return attended.transpose(1, 2).flatten(2), pair

    def _by_head(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], x.shape[1], self.heads, self.size).transpose(1, 2)


def _rotated(x: Tensor, places: Tensor) -> Tensor:
    """Each pair of numbers (i, i + size / 2) turned by place / base^(2 i / size). x: (batch, heads, length, size)."""
    half = x.shape[-1] // 2
    rates = ROTARY_BASE ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)
    angles = places.unsqueeze(1).to(torch.float32) * rates
    cosine, sine = angles.cos(), angles.sin()
    first, second = x[..., :half], x[..., half:]
    return torch.cat((first * cosine - second * sine, first * sine + second * cosine), dim=-1)


def _check(vocabulary: int, context: int, *, positions: str, **sizes: int) -> None:
    small = {"vocabulary": (vocabulary, 2), "context": (context, 2)} | {key: (n, 1) for key, n in sizes.items()}
    for name, (number, least) in small.items():
        if number < least:
            raise BadInputError(f"a causal transformer with {name} = {number}; expected at least {least}")
    if positions not in POSITIONS:
        raise BadInputError(f"positions are '{positions}'; expected {' or '.join(POSITIONS)}")
    step = sizes["heads"] * (2 if positions == "rotary" else 1)
    if sizes["width"] % step:
        raise BadInputError(
            f"width {sizes['width']} cannot be shared by {sizes['heads']} heads with {positions} positions; expected a "
            f"multiple of {step}"
        )
