"""Texts: token numbers go to the network as they are; the tokenizer stands before the graph, in tokenizer.json."""

import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy.typing as npt
from torch import Tensor

from edgekd.front.base import Front, Numbers


class Tokens(Front):
    """Nothing is done to them: ONNX has no tokenizer that every runtime knows.

    vocabulary: how many token numbers there are. max_tokens: where a text is cut, and to which it is padded with 0.
    tokenizer_sha256: of the tokenizer.json that numbers them, as UTF-8.
    """

    INPUT: ClassVar[str] = "tokens"
    LAYOUT: ClassVar[str] = "nl"

    def __init__(self, *, vocabulary: int, max_tokens: int, tokenizer_sha256: str) -> None:
        super().__init__()
        self.vocabulary, self.max_tokens, self.tokenizer_sha256 = vocabulary, max_tokens, tokenizer_sha256

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (batch, length) int32. Returns them."""
        return tokens

    @classmethod
    def build(cls, facts: Mapping[str, Any], *, mean: Numbers, std: Numbers) -> Self:
        """See `Front`. facts: `vocabulary`, `max_tokens` and `tokenizer`, the text of its file."""
        return cls(
            vocabulary=int(facts["vocabulary"]),
            max_tokens=int(facts["max_tokens"]),
            tokenizer_sha256=hashlib.sha256(str(facts["tokenizer"]).encode()).hexdigest(),
        )

    @staticmethod
    def statistics(inputs: npt.NDArray[Any], facts: Mapping[str, Any]) -> tuple[Numbers, Numbers]:
        """None: a network has embeddings of its own."""
        return (), ()

    def describe(self) -> dict[str, Any]:
        """See `Front`."""
        text = {
            "vocabulary": self.vocabulary,
            "max_tokens": self.max_tokens,
            "padding": 0,
            "tokenizer_sha256": self.tokenizer_sha256,
        }
        return {"inside_graph": False, "text": text}
