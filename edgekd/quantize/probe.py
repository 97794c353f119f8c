"""Cheap looks at a candidate during the search: how much faster than fp32, and how close to it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError
from edgekd.runner import runner
from edgekd.session import SessionOptions, facts, open_session

Run = Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]]
Clock = Callable[[], int]

BLOCK_NS = 5_000_000
"""A block of inferences lasts about 5 ms: long against the clock, short against what disturbs a shared machine."""

BATCH = 32

MAX_OUTPUT_BYTES = 64 << 20
"""What fp32's outputs on all probes may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A candidate against fp32. ratio: its latency over fp32's, taken in turns; below 1 is faster.

    sqnr_db: power of fp32's first output over the power of the difference, decibels; higher is closer.
    drop: top-1 lost on the labelled probes, or the share of other classes where there are no labels; lower is better.
    Of a multi-label task micro F1 lost, or the share of other label sets.
    drop_noise: its standard error.
    """

    ratio: float
    sqnr_db: float
    drop: float
    drop_noise: float = 0.0


class Probes:
    """fp32 and the samples that candidates are probed with; a few hundred of those that calibrate."""

    def __init__(
        self,
        fp32: Path,
        inputs: npt.NDArray[Any],
        options: SessionOptions,
        *,
        labels: npt.NDArray[Any] | None,
        multi_label: bool = False,
        threshold: float = 0.0,
        clock: Clock = time.perf_counter_ns,
    ) -> None:
        self.options, self.clock, self.multi_label = options, clock, multi_label
        self.threshold = threshold
        self._fp32 = _runner(fp32, options)
        # An OCR map is a thousand times a classifier's row.
        count = max(8, MAX_OUTPUT_BYTES // max(1, self._fp32(inputs[:1]).nbytes))
        self.inputs, self.labels = inputs[:count], None if labels is None else labels[:count]
        self._outputs = _all(self._fp32, self.inputs)
        self._power = float(np.square(self._outputs, dtype=np.float64).sum())

    def probe(self, candidate: Path, *, seconds: float, ratio: float | None = None) -> Probe:
        """seconds: of timing. ratio: known already from a file with the same nodes, so it is not timed again.

        Raises:
            BadInputError: it does not load or run, or gives other than finite numbers.
        """
        run = _runner(candidate, self.options)
        sqnr_db, drop, noise = self._closeness(run)
        timed = self.ratio(run, seconds=seconds) if ratio is None else ratio
        return Probe(ratio=timed, sqnr_db=sqnr_db, drop=drop, drop_noise=noise)

    def closeness(self, candidate: Path) -> tuple[float, float, float]:
        """sqnr_db, drop and drop_noise of a file, without timing it. Raises BadInputError as `probe`."""
        return self._closeness(_runner(candidate, self.options))

    def ratio(self, run: Run, *, seconds: float) -> float:
        """Latency of `run` over fp32's, one sample an inference, in blocks fp32 - it - it - fp32.

        Of the lower quartiles: whatever else runs on the machine only ever adds to an inference.
        """
        samples: dict[bool, list[int]] = {True: [], False: []}
        count = self._block(run)
        started, turn = self.clock(), 0
        while turn < 4 or self.clock() - started < seconds * 1e9:
            order = (True, False, False, True) if turn % 2 else (False, True, True, False)
            for mine in order:
                samples[mine] += self._timed(run if mine else self._fp32, count, turn)
            turn += 1
        return float(np.quantile(samples[True], 0.25) / np.quantile(samples[False], 0.25))

    def _block(self, run: Run) -> int:
        """Inferences a block, after a warm-up of both."""
        self._timed(run, 3, 0)
        return max(1, int(BLOCK_NS / min(self._timed(self._fp32, 3, 0))))

    def _timed(self, run: Run, count: int, turn: int) -> list[int]:
        taken = []
        for index in range(count):
            batch = self.inputs[(turn * count + index) % len(self.inputs)][None]
            before = self.clock()
            run(batch)
            taken.append(self.clock() - before)
        return taken

    def _closeness(self, run: Run) -> tuple[float, float, float]:
        """sqnr_db, drop and drop_noise."""
        outputs = _all(run, self.inputs)
        if outputs.shape != self._outputs.shape:
            raise BadInputError(f"its outputs have shape {outputs.shape}, fp32's {self._outputs.shape}")
        if not np.isfinite(outputs).all():
            raise BadInputError("its outputs are not finite")
        noise = float(np.square(outputs - self._outputs, dtype=np.float64).sum())
        sqnr_db = float(10 * np.log10(max(self._power, 1e-30) / max(noise, 1e-30)))
        if self.multi_label:
            lost = _label_sets_lost(outputs, self._outputs, self.labels, threshold=self.threshold)
            return sqnr_db, float(lost.mean()), float(lost.std() / np.sqrt(len(lost)))
        axis = 1 if outputs.ndim == 4 else -1
        mine, theirs = outputs.argmax(axis), self._outputs.argmax(axis)
        if self.labels is not None and mine.ndim == 1:
            lost = (theirs == self.labels).astype(np.int64) - (mine == self.labels)
        else:
            lost = (mine != theirs).reshape(len(mine), -1).mean(axis=1)
        return sqnr_db, float(lost.mean()), float(lost.std() / np.sqrt(len(lost)))


def _label_sets_lost(
    outputs: npt.NDArray[Any], reference: npt.NDArray[Any], labels: npt.NDArray[Any] | None, *, threshold: float = 0.0
) -> npt.NDArray[np.float64]:
    """(n,): their mean is the micro F1 lost, to first order, or without labels the share of other label sets.

    F1 is 1 - errors / (2 TP + errors): each sample's part is how many more errors it has now, over what fp32's samples
    have below the line on average.
    """
    mine, theirs = outputs > threshold, reference > threshold
    if labels is None:
        return np.asarray((mine != theirs).any(axis=1), dtype=np.float64)
    known, true = labels >= 0, labels == 1
    more = ((mine != true) & known).sum(axis=1) - ((theirs != true) & known).sum(axis=1)
    below = max(1.0, float(true.sum() + (theirs & known).sum()))
    return np.asarray(more * (len(labels) / below), dtype=np.float64)


def _runner(path: Path, options: SessionOptions) -> Run:
    session = open_session(path, options)
    run: Run = runner(session, facts(session, path))
    return run


def _all(run: Run, inputs: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    parts = [run(inputs[i : i + BATCH]) for i in range(0, len(inputs), BATCH)]
    if len({part.shape[1:] for part in parts}) > 1 or sum(map(len, parts)) != len(inputs):
        raise BadInputError(
            "the number of output rows depends on the data; expected one row a sample, to compare files by"
        )
    outputs = np.concatenate(parts)
    return outputs.reshape(-1, 1) if outputs.ndim == 1 else outputs
