"""Several teachers as one: the mean of what they say, weighted.

The mean of probabilities is the mixture of the members, as of a deep ensemble (Lakshminarayanan et al. 2017, arXiv
1612.01474, section 2.4); that of logits is their geometric mean, renormalised. Distillation started from either:
an arithmetic or geometric mean of the members' distributions as its soft targets (Hinton et al. 2015, arXiv 1503.02531,
section 2). The arithmetic one is the default: a member that is sure of a wrong class cannot veto the others.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError
from edgekd.rows import Inputs
from edgekd.teachers.interface import Ids, Opened, OpenTeacher

if TYPE_CHECKING:
    from torch import Tensor


def join(
    members: Sequence[tuple[OpenTeacher, float]],
    *,
    combine: str,
    classes: tuple[str, ...],
    multi_label: bool = False,
) -> Opened:
    """One teacher whose logits are the log of the weighted mean of probabilities, or the weighted mean of logits.

    members: each with its weight, which are brought to sum 1. combine: `probabilities` or `logits`. classes: the
    data's, in whose order every member answers. multi_label: probabilities are one sigmoid a class. Where one member
    answers for whole samples only, so does the ensemble.
    """
    if len(members) < 2:
        raise BadInputError(f"has {len(members)} member(s); expected at least 2 [[teacher.members]]")
    total = sum(weight for _, weight in members)
    shares = [weight / total for _, weight in members]

    def ask(inputs: Inputs, ids: Ids | None) -> npt.NDArray[np.float32]:
        rows = [member.predict(inputs, ids) for member, _ in members]
        return mean_logits(np.stack(rows), np.array(shares), combine=combine, multi_label=multi_label)

    parameters = [member.parameters for member, _ in members]
    return Opened(
        name=" + ".join(f"{share:.2g} {member.name}" for (member, _), share in zip(members, shares, strict=True)),
        ask=ask,
        on_device=_on_device([member.on_device for member, _ in members], shares, combine, multi_label),
        classes=classes,
        by_sample=any(member.by_sample for member, _ in members),
        parameters=None if None in parameters else sum(value or 0 for value in parameters),
        runs_on="; ".join(f"{one.name}: {one.runs_on}" for one, _ in members if one.runs_on) or None,
    )


def mean_logits(
    logits: npt.NDArray[np.floating], shares: npt.NDArray[np.floating], *, combine: str, multi_label: bool = False
) -> npt.NDArray[np.float32]:
    """Logits (n, K) of members' logits (members, n, K) with shares (members,) that sum to 1.

    `probabilities`: log of the mean of the softmaxes, through log-sum-exp, so that no small probability is lost; of a
    multi-label task the log odds of the mean of the sigmoids.
    """
    values, weights = logits.astype(np.float64), shares.astype(np.float64)[:, None, None]
    if combine == "logits":
        return np.asarray((weights * values).sum(axis=0), dtype=np.float32)
    if multi_label:
        yes, no = (_log_sum_exp(-np.logaddexp(0.0, z) + np.log(weights), axis=0)[0] for z in (-values, values))
        return np.asarray(yes - no, dtype=np.float32)
    log_p = values - _log_sum_exp(values, axis=2) + np.log(weights)
    return np.asarray(_log_sum_exp(log_p, axis=0)[0], dtype=np.float32)


def _log_sum_exp(values: npt.NDArray[np.float64], *, axis: int) -> npt.NDArray[np.float64]:
    largest = values.max(axis=axis, keepdims=True)
    total: npt.NDArray[np.float64] = largest + np.log(np.exp(values - largest).sum(axis=axis, keepdims=True))
    return total


def _on_device(
    members: "Sequence[Callable[[Tensor], Tensor] | None]", shares: Sequence[float], combine: str, multi_label: bool
) -> "Callable[[Tensor], Tensor] | None":
    ready = [member for member in members if member is not None]
    if len(ready) < len(members):
        return None

    def predict(batch: "Tensor") -> "Tensor":
        import torch

        values = torch.stack([member(batch).double() for member in ready])
        weights = torch.tensor(shares, dtype=torch.float64, device=values.device)[:, None, None]
        if combine == "logits":
            return (weights * values).sum(dim=0).float()
        if multi_label:
            logsigmoid = torch.nn.functional.logsigmoid
            yes, no = (torch.logsumexp(logsigmoid(z) + weights.log(), dim=0) for z in (values, -values))
            return (yes - no).float()
        return torch.logsumexp(values.log_softmax(dim=-1) + weights.log(), dim=0).float()

    return predict
