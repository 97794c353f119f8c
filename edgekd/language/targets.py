"""The teacher's logits for windows of the text: from the network itself, or from a cache of the largest k of each."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgekd import teacher_logits
from edgekd.language.corpus import Windows
from edgekd.language.network import predict
from edgekd.models.causal_transformer import CausalTransformer
from edgekd.progress import Listener, silent


class Targets(Protocol):
    """Where the teacher's logits come from."""

    def __call__(self, view: int, index: npt.NDArray[np.int64], tokens: Tensor) -> Tensor:
        """Logits (batch, context, K) float32 on the tokens' device, of the windows `index` in a view."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePlan:
    """Where the teacher's logits are kept. key: the hash of all that they depend on; top_k: None for all tokens."""

    folder: Path
    key: str
    top_k: int | None
    limit_bytes: int


class Live:
    """The network itself; its logits are rounded to fp16, as a cache stores them."""

    def __init__(self, network: CausalTransformer) -> None:
        self.network = network.eval()

    def __call__(self, view: int, index: npt.NDArray[np.int64], tokens: Tensor) -> Tensor:
        """See `Targets`; a network needs the tokens alone."""
        return predict(self.network, tokens).half().float()


class Cached:
    """Rows of a cache, one a token. What top-k leaves out shares, evenly, the probability that it had together."""

    def __init__(self, cache: teacher_logits.TeacherLogits, *, context: int) -> None:
        self.cache, self.context = cache, context

    def __call__(self, view: int, index: npt.NDArray[np.int64], tokens: Tensor) -> Tensor:
        """See `Targets`."""
        rows = (index[:, None] * self.context + np.arange(self.context)).ravel()
        logits = torch.from_numpy(self.cache.read(view, rows)).to(tokens.device)
        return logits.reshape(len(index), self.context, -1)


@contextmanager
def answering(
    load: Callable[[], CausalTransformer],
    windows: Windows,
    *,
    classes: int,
    batch_size: int,
    device: torch.device,
    cache: CachePlan | None,
    listener: Listener = silent,
) -> Iterator[Targets]:
    """The teacher's logits for every view of every window, while inside. load: not called where a cache is full.

    Raises:
        BadInputError: the cache would be over its limit, another process fills it, or a logit does not fit.
        EnvironmentFault: the disk is full.
    """
    if cache is None:
        yield Live(load().to(device))
        return
    context = windows.context
    teacher: Live | None = None

    def compute(view: int, start: int, stop: int) -> npt.NDArray[np.float32]:
        nonlocal teacher
        teacher = teacher or Live(load().to(device))
        answers = []
        for first in range(start // context, stop // context, batch_size):
            index = np.arange(first, min(first + batch_size, stop // context))
            tokens = torch.from_numpy(windows.batch(index, view=view)[0]).to(device)
            answers.append(teacher(view, index, tokens).flatten(0, 1).cpu())
        rows: npt.NDArray[np.float32] = torch.cat(answers).numpy()
        return rows

    with teacher_logits.opened(
        cache.folder,
        key=cache.key,
        views=windows.views,
        samples=len(windows) * context,
        classes=classes,
        top_k=cache.top_k,
        limit_bytes=cache.limit_bytes,
        batch_size=context,
    ) as kept:
        kept.fill(compute, listener=listener)
        yield Cached(kept, context=context)
