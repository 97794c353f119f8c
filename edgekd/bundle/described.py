"""session.json: how a network was opened, what it takes and what it gives; `verify` and infer.py read it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.bundle.tolerance import are_scores
from edgekd.session import Facts, SessionOptions, import_onnxruntime, is_numbers
from edgekd.session_options import LEVELS, MODES


def describe(
    options: SessionOptions,
    known: Facts | None,
    outputs: list[dict[str, Any]],
    isa: str,
    *,
    tuned: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """session.json: the options as `verify` reads them, and in ONNX Runtime's own words for infer.py.

    known: None where the network is of a kind that is not bundled, such as one with several inputs. tuned: what
    `edgekd tune` measured, where the options are not the target's own.
    """
    spinning = {"session.intra_op.allow_spinning": "1" if options.spinning else "0"}
    document: dict[str, Any] = {
        "options": options.as_dict(),
        "session_config": spinning | dict(options.session_config),
        "graph_optimization_level": LEVELS[options.graph_optimization],
        "execution_mode": MODES[options.execution_mode],
        "input": known
        and {
            "name": known.input_name,
            "dtype": known.dtype,
            "shape": known.shape,
            "layout": known.metadata.get("input_layout"),
        },
        "outputs": outputs,
        "isa": isa,
        "onnxruntime": import_onnxruntime().__version__,
    }
    return document if tuned is None else document | {"tuned": dict(tuned)}


def describe_outputs(
    session: Any, first: npt.NDArray[Any], labels: tuple[str, ...], *, task: str | None = None, middle: float = 0.0
) -> list[dict[str, Any]]:
    """Names, and whether the first output is a classifier's: `logits` or `probabilities`, else `values`.

    task: `multi-label`, which is then its kind: logits of one sigmoid each, that decide at `threshold`, a probability.
    middle: the output at that probability; other than 0 of a network that puts out the probabilities themselves.
    """
    names = [output.name for output in session.get_outputs() if is_numbers(output.type)]
    kind = output_kind(first, labelled=bool(labels), task=task)
    if kind == "multi-label":
        first_output = {"name": names[0], "kind": kind, "threshold": 0.5}
        first_output |= {"scale": "probabilities"} if middle else {}
        return [first_output, *({"name": name, "kind": "values"} for name in names[1:])]
    return [{"name": name, "kind": kind if name == names[0] else "values"} for name in names]


def output_kind(first: npt.NDArray[Any], *, labelled: bool, task: str | None) -> str:
    """What infer.py makes of the first output: `multi-label`, `probabilities`, `logits`, or mere `values`."""
    if not labelled:
        return "values"
    if task == "multi-label":
        return task
    if not are_scores(first):
        return "values"
    return "probabilities" if are_probabilities(first) else "logits"


def are_probabilities(scores: npt.NDArray[Any]) -> bool:
    """Whether every row of (n, K) is of shares of 1."""
    return bool(scores.min() >= 0 and np.allclose(scores.sum(axis=1), 1, atol=1e-3))
