"""Whether files that are there already decide one class a sample or several, and above which output a class holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd import session
from edgekd.data.parts import ModelSamples
from edgekd.data.reading import Reading
from edgekd.errors import BadInputError
from edgekd.recorded import record
from edgekd.runner import check_inputs, run_all
from edgekd.session import Facts, SessionOptions

PROBED = 256
"""Samples whose outputs tell logits from probabilities."""

HALF = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelTask:
    """What a file decides. threshold: of multi-label, an output above it says that the class holds.

    0 of logits, 1/2 of probabilities.
    """

    multi_label: bool = False
    threshold: float = 0.0

    @property
    def metadata(self) -> dict[str, Any]:
        """What a file has to say of itself, so that whoever opens it knows."""
        if not self.multi_label:
            return {}
        return {"task": "multi-label"} | ({"threshold": self.threshold} if self.threshold else {})


def label_task(
    paths: Sequence[Path],
    samples: ModelSamples,
    options: SessionOptions,
    *,
    reading: Reading | None = None,
    source: Path | None = None,
) -> LabelTask:
    """What all of `paths` decide: as their files say, else as `reading` or the shape of the labels does.

    Outputs of a file that does not say are probabilities where each of the first samples' is in 0..1, else logits.
    samples: those that will be judged, of `source`.

    Raises:
        BadInputError: files, labels and `data.task` contradict each other, the outputs are no (n, K) for labels (n, K),
            or they are a softmax, which names one class.
    """
    found = {path: _one(path, samples, options, asked="auto" if reading is None else reading.task, source=source)
             for path in paths}  # fmt: skip
    if len(set(found.values())) > 1:
        told = " and ".join(f"{path} decides at {task.threshold:g}" for path, task in found.items())
        raise BadInputError(
            f"{told}: one puts out probabilities, the other logits; expected both alike: export one of them again"
        )
    return found[paths[0]]


def _one(path: Path, samples: ModelSamples, options: SessionOptions, *, asked: str, source: Path | None) -> LabelTask:
    opened = session.open_session(path, options)
    known = session.facts(opened, path)
    if not _several(known, path, samples.labels, asked=asked, source=source):
        return LabelTask()
    if samples.labels is None and known.metadata.get("task") == "multi-label":
        return LabelTask(multi_label=True, threshold=float(known.metadata.get("threshold", 0.0)))
    inputs = check_inputs(samples.inputs[:PROBED], known, path)
    outputs = record(run_all(opened, known), inputs, batch_size=known.shape[0] or len(inputs)).first()
    _check_shape(path, outputs, samples.labels)
    if known.metadata.get("task") == "multi-label":
        return LabelTask(multi_label=True, threshold=float(known.metadata.get("threshold", 0.0)))
    return LabelTask(multi_label=True, threshold=_threshold(path, outputs))


def _several(known: Facts, path: Path, labels: npt.NDArray[Any] | None, *, asked: str, source: Path | None) -> bool:
    """Whether it is a multi-label task; what contradicts it is an error."""
    own, said = bool(known.metadata.get("preprocessing")), known.metadata.get("task") == "multi-label"
    sets = None if labels is None else labels.ndim == 2
    if said and sets is False:
        raise BadInputError(
            f"model {path} is multi-label, and {source} says one class a sample; expected y (n, K) of 0 and 1, or a "
            "cell such as cat;dog for each sample"
        )
    if own and not said and (sets or asked == "multi-label"):
        raise BadInputError(
            f"model {path} was exported for one class a sample, and {source} has several; expected one class each, or "
            "a network of a multi-label recipe: see docs/multi-label.md"
        )
    if asked == "multi-label" and sets is False:
        raise BadInputError(
            f"--set data.task=multi-label, and {source} says one class a sample; expected an .npz whose y is (n, K) of "
            "0 and 1, or a table or file of texts with labels such as cat;dog in a cell"
        )
    if asked == "classes" and (said or sets):
        whose = f"model {path} is multi-label" if said else f"{source} has several classes a sample"
        raise BadInputError(f"--set data.task=classes, and {whose}; set multi-label, or leave it out")
    return said or bool(sets) or asked == "multi-label"


def _check_shape(path: Path, outputs: npt.NDArray[Any], labels: npt.NDArray[Any] | None) -> None:
    shape = outputs.shape[1:]
    wanted = f"({labels.shape[1]},), one number a class" if labels is not None else "(classes,), two classes or more"
    if len(shape) != 1 or shape[0] < 2 or (labels is not None and labels.shape[1:] != shape):
        raise BadInputError(
            f"model {path}: its first output has shape {shape} a sample; expected {wanted} of the multi-label data: "
            "check that they belong together"
        )


def _threshold(path: Path, outputs: npt.NDArray[Any]) -> float:
    """By range: nobody else says whether a network from elsewhere ends with its sigmoid."""
    if not ((outputs >= 0) & (outputs <= 1)).all():
        return 0.0
    if np.allclose(outputs.sum(axis=1), 1.0, atol=1e-3):
        raise BadInputError(
            f"model {path}: its outputs are probabilities that sum to 1 for every sample, a softmax, and the data is "
            "multi-label; expected one sigmoid, or one logit, a class"
        )
    return HALF
