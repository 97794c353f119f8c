"""The reference workload: a fixed small network that is timed beside every other one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekd.errors import BadInputError
from edgekd.session import SessionOptions
from edgekd.timing import Contestant, feeds_for

REFERENCE = Path(__file__).with_name("reference.onnx")
REFERENCE_SHA256 = "44b46f8d884be9aca9bfb3d6c0a10a061857dd221fd69d9862d7ab43a74096f0"


def reference(options: SessionOptions) -> Contestant:
    """The reference workload in a session like the model's."""
    feeds, _ = feeds_for(REFERENCE)
    return Contestant(path=REFERENCE, options=options, feeds=feeds)


def reference_p50_ms(result: Mapping[str, Any]) -> float:
    """The reference's median on the machine of a stored result of `edgekd latency`.

    Raises:
        BadInputError: the result is of another kind, or was measured beside another reference.
    """
    value = result["measured"].get("reference_p50_ms")
    if result["kind"] != "latency" or result["metric"] != "time" or not isinstance(value, float) or value <= 0:
        raise BadInputError("to normalise takes a result of `edgekd latency` from the other machine; this is none")
    if result["base"] is None or result["base"]["sha256"] != REFERENCE_SHA256:
        raise BadInputError(
            "the result was measured beside another reference workload, by another version of edgekd; measure it again"
        )
    return value
