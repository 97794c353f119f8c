"""What a teacher is to the rest: a function from inputs to logits, and what is known of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgekd.rows import Inputs

if TYPE_CHECKING:
    from torch import Tensor

Ids = npt.NDArray[np.str_]
"""(n,) the samples' names in their source: a path relative to the folder, or a row number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A teacher as its kind opens it: outputs of its own, logits or probabilities, columns in its own order.

    ask: inputs (n, ...) as `Samples.inputs` has them, and their ids or None -> (n, outputs) of any float type; it
    raises BadInputError or EnvironmentFault where it cannot answer. on_device: the same for a batch as training holds
    it, a tensor on the training's device, where the kind needs no copy to the host. classes: what the columns mean, as
    the teacher itself says; None where it says nothing. by_sample: it answers for a sample as it is in the source, and
    has no answer for an augmented view of it. parameters, macs: None where they cannot be known. preprocessing: what it
    does to a sample before its first layer, in words, where it brings that along. runs_on: what answers, in words,
    where that is not the device of the training.
    """

    name: str
    ask: Callable[[Inputs, Ids | None], npt.NDArray[Any]]
    on_device: "Callable[[Tensor], Tensor] | None" = None
    classes: tuple[str, ...] | None = None
    by_sample: bool = False
    parameters: int | None = None
    macs: int | None = None
    preprocessing: str | None = None
    runs_on: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTeacher:
    """A teacher ready to learn from, made by `complete` of an `Opened`.

    predict: inputs (n, ...) as `Samples.inputs` has them, and their ids or None -> logits (n, K) float32 in the order
    of the data's classes. on_device: the same from tensor to tensor, or None. outputs: "logits" or "probabilities",
    what the teacher emits. class_order: "by name", or "assumed" where nothing says what its columns mean. name, kind,
    by_sample, parameters, macs, preprocessing, runs_on: as of `Opened` and its kind.
    """

    name: str
    kind: str
    predict: Callable[[Inputs, Ids | None], npt.NDArray[np.float32]]
    on_device: "Callable[[Tensor], Tensor] | None"
    by_sample: bool
    parameters: int | None
    macs: int | None
    preprocessing: str | None
    runs_on: str | None
    outputs: str
    class_order: str
