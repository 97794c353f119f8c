"""From what a teacher emits to logits in the order of the data's classes; what cannot be right is refused here."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError, EdgekdError, nearest
from edgekd.rows import Inputs
from edgekd.teachers.interface import Ids, Opened, OpenTeacher

if TYPE_CHECKING:
    from torch import Tensor

CLAMP = 1e-7
"""The least probability of which the log is taken: ln gives -16.1, and float32 rounds at 1.2e-7 of 1, so a softmax in
float32 says nothing of less. Keras clips with the same number (https://keras.io/api/utils/config_utils, `epsilon`)."""

SUM_TOLERANCE = 5e-3
"""How far from 1 a row of probabilities may sum: a softmax in fp16 rounds each of its numbers by up to 5e-4 of it, one
in bf16 by 4e-3."""

Outputs = npt.NDArray[np.float32]


def complete(
    opened: Opened,
    *,
    kind: str,
    data_classes: tuple[str, ...],
    probe: Inputs,
    ids: Ids | None,
    outputs: str = "auto",
    classes: tuple[str, ...] | None = None,
    multi_label: bool = False,
) -> OpenTeacher:
    """The teacher with its columns in the data's order and logits for outputs.

    probe: some of the data's inputs (n, ...), with their ids: on them it is seen what the teacher emits. outputs:
    `logits` or `probabilities`, which is checked, or `auto`. classes: what its columns mean, where it does not say.

    multi_label: a sample may have several classes, so probabilities are one sigmoid each, of which the log odds are
    taken, and need not sum to 1.

    Columns of classes that the data does not have are left out: the softmax of the rest is the teacher's answer given
    that one of the data's classes is right.

    Raises:
        BadInputError: it lacks a class of the data, its numbers do not fit its declared outputs, are not finite, or
            have not one column a class.
    """

    def asked(inputs: Inputs, ids: Ids | None) -> Outputs:
        return _rows(opened, inputs, ids)

    found = asked(probe, ids)
    columns, order = _columns(opened, width=found.shape[1], declared=classes, wanted=data_classes)
    emits = (_emits_of_each if multi_label else _emits)(opened.name, found, declared=outputs)

    def predict(inputs: Inputs, ids: Ids | None) -> Outputs:
        values = asked(inputs, ids)
        values = values if columns is None else values[:, columns]
        if emits == "probabilities":
            return log_odds(values) if multi_label else np.log(np.maximum(values, np.float32(CLAMP)))
        return values

    return OpenTeacher(
        name=opened.name,
        kind=kind,
        predict=predict,
        on_device=_on_device(opened, columns, emits, multi_label=multi_label),
        by_sample=opened.by_sample,
        parameters=opened.parameters,
        macs=opened.macs,
        preprocessing=opened.preprocessing,
        runs_on=opened.runs_on,
        outputs=emits,
        class_order=order,
    )


def _rows(opened: Opened, inputs: Inputs, ids: Ids | None) -> Outputs:
    """The teacher's own outputs (n, outputs) float32; every error names it."""
    with _named(opened.name):
        values = np.asarray(opened.ask(inputs, ids))
        if values.ndim != 2 or len(values) != len(inputs) or values.dtype.kind not in "fiu":
            raise BadInputError(
                f"answers {values.dtype} of shape {values.shape} for {len(inputs)} samples; expected "
                f"({len(inputs)}, classes) numbers, a row a sample"
            )
        rows = values.astype(np.float32, copy=False)
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        if len(bad):
            sample = f"sample {bad[0]} of {len(rows)}" if ids is None else f"sample '{ids[bad[0]]}'"
            raise BadInputError(
                f"returns NaN or infinity for {sample}; expected finite numbers. Check its weights, how its inputs are "
                "scaled, and that sample"
            )
    return rows


class _named:  # noqa: N801  a context manager, written as a function would be
    """Inside, every error of edgekd's is raised again with the teacher's name before it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, err: BaseException | None, trace: object) -> None:
        if isinstance(err, EdgekdError):
            raise type(err)(f"teacher {self.name}: {err}") from err


def _on_device(
    opened: Opened, columns: npt.NDArray[np.int64] | None, emits: str, *, multi_label: bool
) -> "Callable[[Tensor], Tensor] | None":
    ask = opened.on_device
    if ask is None:
        return None

    def predict(inputs: "Tensor") -> "Tensor":
        import torch

        with _named(opened.name):
            values = ask(inputs).float()
        if columns is not None:
            values = values[:, torch.from_numpy(columns).to(values.device)]
        if emits == "probabilities":
            return values.double().logit(CLAMP).float() if multi_label else values.clamp_min(CLAMP).log()
        return values

    return predict


def _columns(
    opened: Opened, *, width: int, declared: tuple[str, ...] | None, wanted: tuple[str, ...]
) -> tuple[npt.NDArray[np.int64] | None, str]:
    """Which column belongs to each class of the data, None for all as they stand; and how that is known."""
    name, said = opened.name, opened.classes
    if declared is not None and said is not None and declared != said:
        raise BadInputError(
            f"teacher {name}: teacher.classes says {_short(declared)}, the teacher itself {_short(said)}; remove "
            "teacher.classes"
        )
    names = said or declared
    if names is None:
        if width != len(wanted):
            raise BadInputError(
                f"teacher {name} tells {width} classes apart, the data has {len(wanted)}; set teacher.classes to the "
                f"names of its {width} outputs in their order, or take a teacher of these classes"
            )
        return None, "assumed"
    if len(names) != width:
        raise BadInputError(
            f"teacher {name}: has {width} outputs, and {len(names)} class names {_short(names)}; expected a name for "
            "each output, in their order"
        )
    twice = [one for one in names if names.count(one) > 1]
    if twice:
        raise BadInputError(f"teacher {name}: calls two outputs '{twice[0]}'; expected different class names")
    missing = [one for one in wanted if one not in names]
    if missing:
        raise BadInputError(
            f"teacher {name}: knows no class '{missing[0]}', which the data has{nearest(missing[0], list(names))} "
            f"(it knows: {_short(names)}); expected every class of the data by its name: rename them on one side"
        )
    columns = np.array([names.index(one) for one in wanted], dtype=np.int64)
    return (None if names == wanted else columns), "by name"


def _emits(name: str, found: Outputs, *, declared: str) -> str:
    """`logits` or `probabilities`: what the outputs are by their range and their sums, against what is declared."""
    sums, low, high = found.sum(axis=1, dtype=np.float64), float(found.min()), float(found.max())
    in_range = low >= 0.0 and high <= 1.0 + SUM_TOLERANCE
    probable = in_range and bool(np.abs(sums - 1.0).max() <= SUM_TOLERANCE)
    if declared == "probabilities" and not probable:
        why = f"range from {low:.4g} to {high:.4g} and their rows sum to between {sums.min():.4g} and {sums.max():.4g}"
        raise BadInputError(
            f"teacher {name}: declared outputs = 'probabilities', but its outputs {why}; expected 0 to 1 with sum 1. "
            "Set teacher.outputs = 'logits' if they are scores before a softmax"
        )
    if declared == "logits" and probable:
        raise BadInputError(
            f"teacher {name}: declared outputs = 'logits', but its outputs are probabilities: all in 0 to 1, every row "
            "sums to 1. Taken for logits they would say nearly nothing; set teacher.outputs = 'probabilities'"
        )
    constant = low >= 0.0 and float(np.ptp(sums)) <= SUM_TOLERANCE * float(sums.max())
    if declared == "auto" and not probable and (in_range or constant):
        what = "are all in 0 to 1" if in_range else "are never negative"
        raise BadInputError(
            f"teacher {name}: its outputs {what} and their rows sum to {sums.min():.4g} up to {sums.max():.4g}: "
            "neither probabilities of exclusive classes nor likely to be logits (percentages? one sigmoid a class?); "
            "give probabilities that sum to 1, or logits, or say teacher.outputs = 'logits' if that is what they are"
        )
    return "probabilities" if probable else "logits"


def log_odds(probabilities: Outputs) -> Outputs:
    """ln p / (1 - p) of each, p clamped to `CLAMP` from both ends: what a sigmoid makes p of. Float32."""
    p = np.clip(probabilities.astype(np.float64), CLAMP, 1.0 - CLAMP)
    return np.asarray(np.log(p) - np.log1p(-p), dtype=np.float32)


def _emits_of_each(name: str, found: Outputs, *, declared: str) -> str:
    """As `_emits`, of a teacher whose samples may have several classes: each output stands for itself."""
    low, high = float(found.min()), float(found.max())
    in_range = low >= 0.0 and high <= 1.0
    sums = found.sum(axis=1, dtype=np.float64)
    if in_range and found.shape[1] > 1 and bool(np.abs(sums - 1.0).max() <= SUM_TOLERANCE):
        raise BadInputError(
            f"teacher {name}: every row of its outputs sums to 1, as of a softmax over exclusive classes, and the task "
            "is multi-label; expected logits, or one probability a class: give what stands before the softmax, or take "
            "another teacher"
        )
    if declared == "probabilities" and not in_range:
        raise BadInputError(
            f"teacher {name}: declared outputs = 'probabilities', but its outputs range from {low:.4g} to {high:.4g}; "
            "expected 0 to 1. Set teacher.outputs = 'logits' if they are scores before a sigmoid"
        )
    if declared == "logits" and in_range:
        raise BadInputError(
            f"teacher {name}: declared outputs = 'logits', but all are in 0 to 1, as probabilities are: no class would "
            "be below 1/2. Set teacher.outputs = 'probabilities'"
        )
    return "probabilities" if in_range else "logits"


def _short(names: tuple[str, ...]) -> str:
    """Class names for a message: the first few."""
    return ", ".join(names[:6]) + (f", … ({len(names)})" if len(names) > 6 else "")
