"""What a file puts out for all inputs: kept where that is small, computed again where it is not."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError
from edgekd.rows import Inputs

Array = npt.NDArray[np.generic]
Run = Callable[[Array], list[Array]]
"""A batch of inputs -> all outputs, each (batch, ...)."""

KEEP_BYTES = 1 << 28
"""Outputs up to 256 MiB are kept: 65,000 samples of 1,000 classes, but not the maps of a detector."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A file's outputs of all `inputs`, in pieces of `batch_size`. kept: each output, (n, ...); None: too large."""

    run: Run
    inputs: Inputs
    batch_size: int
    kept: tuple[Array, ...] | None

    def __len__(self) -> int:
        return len(self.inputs)

    def slices(self) -> Iterator[slice]:
        """The places of the pieces, in order; the last one may be smaller."""
        for start in range(0, len(self), self.batch_size):
            yield slice(start, min(start + self.batch_size, len(self)))

    def outputs(self, place: slice) -> list[Array]:
        """All outputs of the samples there, each with one row a sample."""
        if self.kept is not None:
            return [output[place] for output in self.kept]
        return _run(self.run, self.inputs[place])

    def first(self) -> Array:
        """The first output of all samples, (n, ...), computed where it was not kept."""
        if self.kept is not None:
            return self.kept[0]
        return np.concatenate([self.outputs(place)[0] for place in self.slices()])


def record(run: Run, inputs: Inputs, *, batch_size: int, keep_bytes: int = KEEP_BYTES) -> Recorded:
    """The outputs of `inputs`, `batch_size` at a time.

    Args:
        run: as `edgekd.runner.run_all` gives it.
        inputs: (n, ...) in the network's own layout and type.
        batch_size: at least 1; 1 is taken instead where an output has not one row for each sample, as (time, batch,
            classes). A network with a fixed batch of 1 is best given 1: outputs of other sizes then have a place.
        keep_bytes: above this, nothing is kept, and `Recorded.outputs` runs the network.

    Raises:
        BadInputError: no inputs, or outputs without one row for each sample.
    """
    if len(inputs) == 0:
        raise BadInputError("no samples to evaluate; expected at least one: check the data's test split")
    one = run(inputs[:1])
    has_rows = all(output.shape[:1] == (1,) for output in one)
    found = Recorded(run=run, inputs=inputs, batch_size=batch_size if has_rows else 1, kept=None)
    if sum(output.nbytes for output in one) * len(inputs) > keep_bytes:
        return found
    pieces = [found.outputs(place) for place in found.slices()]
    outputs = list(zip(*pieces, strict=True))
    if any(part.shape[1:] != parts[0].shape[1:] for parts in outputs for part in parts):
        return found  # sizes that depend on what was found: they fit into no array
    kept = tuple(np.concatenate(parts) for parts in outputs)
    return Recorded(run=run, inputs=inputs, batch_size=found.batch_size, kept=kept)


def _run(run: Run, batch: Array) -> list[Array]:
    return [_rows(output, len(batch), index=index) for index, output in enumerate(run(batch))]


def _rows(output: Array, samples: int, *, index: int) -> Array:
    """The output with one row a sample; what one sample alone gives becomes one row, (1, rows, classes)."""
    if output.shape[:1] == (samples,):
        return output
    if samples == 1:
        return output.reshape(1, *((math.prod(output.shape[:-1]), output.shape[-1]) if output.ndim > 1 else (-1, 1)))
    raise BadInputError(
        f"output {index} has shape {output.shape} for {samples} samples; expected ({samples}, ...), one row a sample: "
        "run the model on one sample at a time"
    )
