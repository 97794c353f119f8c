"""Small text classifiers on token numbers, of which 0 is padding: mean of embeddings, convolution, transformer.

Every one gives the same logits however much padding stands behind a text, so a file whose length is dynamic needs none.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from edgekd.errors import BadInputError

MOST_TOKENS = 1024
"""Positions that the transformer knows."""

HIDDEN = -30.0
"""What is added to the score of a padding token: exp of it is 1e-13, below float32's resolution of a sum of 1. Not
more: an int8 file spreads its 256 steps over the range of the scores, and -10,000 would leave the others none."""


def words_of(tokens: Tensor) -> Tensor:
    """1.0 where there is a token, 0.0 where there is padding. tokens: (batch, length). Returns (batch, length, 1)."""
    return (tokens != 0).to(torch.float32).unsqueeze(-1)


def embedding(vocabulary: int, width: int) -> nn.Embedding:
    """A table of `vocabulary` rows; that of padding is 0 and stays so. Standard deviation: 1 / sqrt(width)."""
    table = nn.Embedding(vocabulary, width, padding_idx=0)
    nn.init.normal_(table.weight, std=width**-0.5)
    with torch.no_grad():
        table.weight[0] = 0
    return table


class TextMean(nn.Module):
    """A linear layer on the mean of the text's embeddings: fastText without its n-grams.

    Source: Joulin et al. 2016, "Bag of Tricks for Efficient Text Classification", arXiv 1607.01759.
    """

    def __init__(self, *, num_classes: int, in_channels: int, width: int = 64, dropout: float = 0.1) -> None:
        """in_channels: tokens of the vocabulary. width: of the embedding. dropout: of the mean, in training."""
        super().__init__()
        self.embedding = embedding(in_channels, width)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, num_classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (batch, length) token numbers to float (batch, K) logits."""
        logits: Tensor = self.head(self.dropout(mean_of_words(self.embedding(tokens), words_of(tokens))))
        return logits


class TextCnn(nn.Module):
    """Convolutions of several widths over the embeddings, the largest of each filter, a linear layer.

    Source: Kim 2014, "Convolutional Neural Networks for Sentence Classification", arXiv 1408.5882; his widths 3, 4, 5
    and 100 filters each. Windows centred on padding do not count, where his do.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        width: int = 64,
        filters: int = 100,
        longest: int = 5,
        dropout: float = 0.5,
    ) -> None:
        """in_channels: tokens of the vocabulary. longest: tokens of the widest convolution, beside two narrower."""
        super().__init__()
        if longest < 3:
            raise BadInputError(f"text_cnn with longest = {longest}; expected 3 tokens or more")
        self.embedding = embedding(in_channels, width)
        sizes = (longest - 2, longest - 1, longest)
        self.convolutions = nn.ModuleList(nn.Conv1d(width, filters, size) for size in sizes)
        # As many positions come out as went in: an even kernel has one more before than after.
        self.paddings = nn.ModuleList(nn.ConstantPad1d((size // 2, (size - 1) // 2), 0.0) for size in sizes)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(filters * len(sizes), num_classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (batch, length) token numbers to float (batch, K) logits."""
        words = words_of(tokens).transpose(1, 2)
        embedded = self.embedding(tokens).transpose(1, 2)
        largest = [
            # After ReLU nothing is below 0, so a product with 0 takes a position out.
            (convolution(pad(embedded)).relu() * words).amax(dim=2)
            for convolution, pad in zip(self.convolutions, self.paddings, strict=True)
        ]
        logits: Tensor = self.head(self.dropout(torch.cat(largest, dim=1)))
        return logits


class TextTransformer(nn.Module):
    """A pre-norm transformer encoder, the mean of its outputs, a linear layer.

    Source: Vaswani et al. 2017, arXiv 1706.03762 (sinusoidal positions, ReLU); norms before each part: Xiong et al.
    2020, arXiv 2002.04745.
    """

    positions: Tensor

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        width: int = 64,
        depth: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        """in_channels: tokens of the vocabulary. depth: blocks; the inner layer of each is twice as wide.

        Raises:
            BadInputError: heads do not share the width evenly.
        """
        super().__init__()
        if width % (2 * heads):
            raise BadInputError(f"text_transformer: width = {width} is no multiple of 2 * heads = {2 * heads}")
        self.embedding = embedding(in_channels, width)
        self.register_buffer("positions", sinusoids(MOST_TOKENS, width), persistent=False)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(_Block(width, heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (batch, length) token numbers, at most 1,024 a text, to float (batch, K) logits."""
        length = tokens.shape[1]
        words = words_of(tokens)
        hidden = (1 - words).transpose(1, 2).unsqueeze(1) * HIDDEN  # (batch, 1, 1, length)
        # The embedding's deviation is 1 / sqrt(width): times sqrt(width) it is as large as the positions (section 3.4).
        x = self.embedding(tokens) * math.sqrt(self.embedding.embedding_dim) + self.positions[:length]
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x, hidden)
        logits: Tensor = self.head(mean_of_words(self.norm(x), words))
        return logits


class _Block(nn.Module):
    """Self-attention, then two linear layers, each behind a norm and added to what came in.

    Attention is written out in matrix products: they quantize, which a fused operator would not.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.before_attention, self.before_inner = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.joined = (nn.Linear(width, width) for _ in range(4))
        self.inner = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        """x: (batch, length, width); hidden: (batch, 1, 1, length), added to the scores."""
        x = x + self.dropout(self._attention(self.before_attention(x), hidden))
        result: Tensor = x + self.dropout(self.inner(self.before_inner(x)))
        return result

    def _attention(self, x: Tensor, hidden: Tensor) -> Tensor:
        batch, length, width = x.shape
        query, key, value = (
            layer(x).view(batch, length, self.heads, width // self.heads).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        weights = ((query * self.scale) @ key.transpose(2, 3) + hidden).softmax(dim=-1)
        joined: Tensor = self.joined((weights @ value).transpose(1, 2).reshape(batch, length, width))
        return joined


def mean_of_words(x: Tensor, words: Tensor) -> Tensor:
    """The mean over the tokens that are not padding, 0 where all are. x: (batch, length, width). (batch, width)."""
    return (x * words).sum(dim=1) / words.sum(dim=1).clamp(min=1)


def sinusoids(length: int, width: int) -> Tensor:
    """(length, width) float32: sines in even columns, cosines in odd ones (Vaswani et al. 2017, section 3.5)."""
    rates = torch.exp(torch.arange(0, width, 2, dtype=torch.float64) * (-math.log(10_000.0) / width))
    angles = torch.arange(length, dtype=torch.float64)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1).float()
