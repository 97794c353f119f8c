"""A language network's ONNX file on ONNX Runtime. No torch here."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError
from edgekd.session import SessionOptions, first_line, native_errors, open_session

INPUTS, OUTPUTS = ("tokens", "past"), ("logits", "present")
"""tokens: (batch, length) int64. past: (depth, 2, batch, heads, read, size) float32, empty at a text's begin."""

Floats = npt.NDArray[np.float32]


class Runner:
    """An open session.

    Raises:
        BadInputError: no such file, one that cannot be loaded, or one with other inputs.
    """

    def __init__(self, path: Path, options: SessionOptions) -> None:
        self.path, self._session = path, open_session(path, options)
        inputs = {node.name: node.shape for node in self._session.get_inputs()}
        if tuple(inputs) != INPUTS:
            raise BadInputError(
                f"model {path}: has inputs {', '.join(inputs)}; expected {', '.join(INPUTS)}, as `edgekd language` "
                "writes them"
            )
        shape = inputs["past"]
        self.depth, self.heads, self.size = shape[0], shape[3], shape[5]

    def __call__(self, tokens: npt.NDArray[np.int64]) -> Floats:
        """Logits (batch, length, K) of texts from their beginning. tokens: (batch, length)."""
        return self.step(tokens, self.empty_past(len(tokens)))[0]

    def step(self, tokens: npt.NDArray[np.int64], past: Floats) -> tuple[Floats, Floats]:
        """Logits of `tokens` after what `past` holds, and the past with them in it."""
        try:
            logits, present = self._session.run(None, {"tokens": tokens, "past": past})
        except native_errors() as err:
            raise BadInputError(f"model {self.path}: ONNX Runtime cannot run it: {first_line(err)}") from err
        return np.asarray(logits), np.asarray(present)

    def empty_past(self, batch: int) -> Floats:
        """The past of texts that have not begun."""
        return np.zeros((self.depth, 2, batch, self.heads, 0, self.size), dtype=np.float32)


def feeds_at_full_context(runner: Runner, texts: npt.NDArray[np.int64]) -> dict[str, dict[str, npt.NDArray[Any]]]:
    """What is timed: `prefill`, a whole context at once, and `token`, the last token of it after all others.

    texts: (count, context). Each input has (count, ...) batches of one text.
    """
    pasts = [runner.step(text[None, :-1], runner.empty_past(1))[1] for text in texts]
    return {
        "prefill": {"tokens": texts[:, None, :], "past": np.stack([runner.empty_past(1)] * len(texts))},
        "token": {"tokens": texts[:, None, -1:], "past": np.stack(pasts)},
    }
