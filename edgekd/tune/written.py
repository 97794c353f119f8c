"""What was tuned as a session.json, in the form that a bundle has it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.bundle.described import describe, describe_outputs
from edgekd.bundle.tolerance import are_scores
from edgekd.errors import BadInputError
from edgekd.session import SessionOptions, create_session, facts


def document(
    path: Path, options: SessionOptions, outputs: Sequence[Any], *, isa: str, note: Mapping[str, Any]
) -> dict[str, Any]:
    """The session.json of the network at `path` under `options`.

    outputs: all of one batch. note: becomes `tuned`, which a bundle's own session.json does not have. `input` is null
    where the network has several inputs, or one that bundles do not know.
    """
    session = create_session(path, options)
    try:
        known = facts(session, path)
    except BadInputError:
        known = None  # it can be timed all the same
    first: npt.NDArray[Any] = next((output for output in outputs if isinstance(output, np.ndarray)), np.empty(0))
    classes = tuple(known.metadata.get("classes") or ()) if known else ()
    labels = classes if are_scores(first) and len(classes) == first.shape[1] else ()
    return describe(options, known, describe_outputs(session, first, labels), isa, tuned=note)
