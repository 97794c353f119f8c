"""What a network takes, as a reader of data has to know it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekd.data.dataset import Kind

BY_TYPE: dict[tuple[str, int], Kind] = {
    ("uint8", 4): "image",
    ("int16", 2): "audio",
    ("int32", 2): "text",
    ("int64", 2): "text",
    ("float16", 3): "series",
    ("float32", 3): "series",
    ("float64", 3): "series",
}
"""Type and number of axes of an input -> the kind of data that a network from elsewhere takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Takes:
    """What a network takes.

    shape, dtype: of its input, None for dynamic sizes. classes: in its order; None where its file names none. layout:
    `nhwc` or `nchw`, where the file says so. preprocessing: the facts that edgekd wrote into the file; empty of a
    network from elsewhere. model: the file, beside which a tokenizer.json lies. tokenizer: its text, where it is known.
    several: whether a sample may have several classes.
    """

    shape: tuple[int | None, ...]
    dtype: str
    classes: tuple[str, ...] | None = None
    layout: str | None = None
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    model: Path | None = None
    tokenizer: str | None = None
    several: bool = False

    @property
    def foreign(self) -> bool:
        """Whether nothing is known of its preprocessing."""
        return not self.preprocessing

    @property
    def kind(self) -> Kind | None:
        """Kind of data: as its file says, else by type and number of axes; None where these tell nothing."""
        kinds: tuple[Kind, ...] = ("audio", "text", "series")
        for kind in kinds:
            if kind in self.preprocessing:
                return kind
        if not self.foreign:
            return "image"
        return BY_TYPE.get((self.dtype, len(self.shape)))

    def words(self) -> str:
        """The input, for a message."""
        shape = ", ".join("any" if size is None else str(size) for size in self.shape)
        return f"{self.dtype} of shape ({shape})"
