"""What stands in front of a network, inside the exported graph: raw samples as the device gives them -> its input.

One torch module a kind of data. To add one: a subclass of `Front`, and a line in FRONTS.
"""

from collections.abc import Mapping
from typing import Any

from edgekd.errors import BadInputError
from edgekd.front.base import Front, Numbers
from edgekd.front.log_mel import LogMel
from edgekd.front.pixels import Pixels
from edgekd.front.series import Series
from edgekd.front.tokens import Tokens
from edgekd.rows import Inputs

__all__ = ["FRONTS", "Front", "LogMel", "Pixels", "Series", "Tokens", "build", "of", "statistics"]

FRONTS: dict[str, type[Front]] = {"image": Pixels, "audio": LogMel, "series": Series, "text": Tokens}


def of(kind: str) -> type[Front]:
    """The front of a kind of data.

    Raises:
        BadInputError: this edgekd knows no such kind.
    """
    if kind not in FRONTS:
        raise BadInputError(f"data of kind '{kind}'; expected one of: {', '.join(FRONTS)}; update edgekd")
    return FRONTS[kind]


def build(kind: str, facts: Mapping[str, Any], *, mean: Numbers, std: Numbers) -> Front:
    """The module in front of a network's body. facts: `Dataset.front`; mean, std: as `statistics` gives them."""
    return of(kind).build(facts, mean=mean, std=std)


def statistics(kind: str, inputs: Inputs, facts: Mapping[str, Any]) -> tuple[Numbers, Numbers]:
    """Mean and standard deviation of the training split, one number a channel (none for text)."""
    return of(kind).statistics(inputs, facts)
