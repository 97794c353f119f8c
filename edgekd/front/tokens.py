"""Texts: token numbers go to the network as they are; the tokenizer stands before the graph, in tokenizer.json."""

import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from torch import Tensor

from edgekd.data import read_text
from edgekd.front.base import Front, Numbers
from edgekd.rows import Inputs


class Tokens(Front):
    """Nothing is done to them: ONNX has no tokenizer that every runtime knows.

    vocabulary: how many token numbers there are. max_tokens: where a text is cut, and to which it is padded with 0.
    tokenizer: the text of the tokenizer.json that numbers them.
    """

    INPUT: ClassVar[str] = "tokens"
    LAYOUT: ClassVar[str] = "nl"
    OPEN_AXES: ClassVar[tuple[int, ...]] = (1,)
    """A device need not pad: a short text takes less time, and its logits are the same."""

    def __init__(self, *, vocabulary: int, max_tokens: int, tokenizer: str) -> None:
        super().__init__()
        self.vocabulary, self.max_tokens, self.tokenizer = vocabulary, max_tokens, tokenizer

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (batch, length) int32. Returns them."""
        return tokens

    @classmethod
    def build(cls, facts: Mapping[str, Any], *, mean: Numbers, std: Numbers) -> Self:
        """See `Front`. facts: `vocabulary`, `max_tokens` and `tokenizer`, the text of its file."""
        return cls(
            vocabulary=int(facts["vocabulary"]),
            max_tokens=int(facts["max_tokens"]),
            tokenizer=str(facts["tokenizer"]),
        )

    @staticmethod
    def statistics(inputs: Inputs, facts: Mapping[str, Any]) -> tuple[Numbers, Numbers]:
        """None: a network has embeddings of its own."""
        return (), ()

    def describe(self) -> dict[str, Any]:
        """See `Front`."""
        text = read_text.describe(
            self.tokenizer,
            vocabulary=self.vocabulary,
            max_tokens=self.max_tokens,
            tokenizer_sha256=hashlib.sha256(self.tokenizer.encode()).hexdigest(),
        )
        return {"inside_graph": False, "text": text}
