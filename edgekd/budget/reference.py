"""The reference workload: a fixed small network that is timed beside every other one."""

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekd.cycles import checked_cycles
from edgekd.errors import BadInputError
from edgekd.session import SessionOptions
from edgekd.statistics import NS_PER_MS
from edgekd.timing import Contestant, feeds_for

REFERENCE = Path(__file__).with_name("reference.onnx")
CONDITIONS = ("isa", "onnxruntime", "provider", "options", "batch_size")
"""What has to be the same on both machines."""

REFERENCE_SHA256 = "44b46f8d884be9aca9bfb3d6c0a10a061857dd221fd69d9862d7ab43a74096f0"


def reference(options: SessionOptions) -> Contestant:
    """The reference workload in a session like the model's."""
    feeds, _ = feeds_for(REFERENCE)
    return Contestant(path=REFERENCE, options=options, feeds=feeds)


def there_ms(found: Mapping[str, Any], here: Mapping[str, Any]) -> float:
    """The reference's median on the machine of a stored result of `edgekd latency`, milliseconds, from its samples.

    here: what a result of this measurement would say of `target`, and of its `conditions` in CONDITIONS.

    Raises:
        BadInputError: the result is of another kind, target or conditions, or was measured beside another reference.
    """
    if found["kind"] != "latency" or found["metric"] != "time" or found["base"] is None:
        raise BadInputError("to normalise takes a result of `edgekd latency` from the other machine; this is none")
    if found["base"]["sha256"] != REFERENCE_SHA256:
        raise BadInputError(
            "the result was measured beside another reference workload, by another version of edgekd; measure it again"
        )
    if found["target"] != here["target"]:
        raise BadInputError(
            f"the result is of target {found['target'].get('name')}, not of {here['target']['name']} as it is here; "
            "measure it there for this one"
        )
    for name in CONDITIONS:
        theirs, ours = found["conditions"].get(name), here["conditions"].get(name)
        if theirs != ours:
            raise BadInputError(
                f"{name} is {theirs!r} in the result of the other machine, {ours!r} here; expected the same: the "
                "reference tells how fast a machine is, not what other kernels or options gain"
            )
    cycles = checked_cycles(found["raw"])
    return float(statistics.median(ns for cycle in cycles for ns in cycle["base"])) / NS_PER_MS
