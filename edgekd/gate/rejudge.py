"""A report judged again from its raw numbers: nothing that it says of itself is believed."""

from collections.abc import Mapping
from typing import Any

from edgekd.errors import BadInputError
from edgekd.gate.judge import Gate, judge
from edgekd.gate.rules import known_limits
from edgekd.recheck import objects, part, trusted_variant


def rejudge(report: Mapping[str, Any], *, limits: Mapping[str, Any] | None = None) -> Gate:
    """The gate of the report's selected variant, judged again from the numbers nearest to the measurement.

    Latency quantiles are recomputed from samples_ns, top-1 from the confusion matrix, its drop from the paired counts.
    The recorded verdicts must be those that the recorded limits give.

    Args:
        report: report.json, parsed.
        limits: override the recorded limit of the same name or add to them; the other recorded ones still hold.

    Raises:
        BadInputError: another schema version, no or several selected variants, a missing part, a summary or a verdict
            that does not follow from the raw numbers, or raw numbers, limits or a target that were edited.
    """
    variant = trusted_variant(report)
    recorded = _recorded_limits(report)
    as_recorded = _judge(variant, recorded)
    check_verdicts(report, as_recorded)
    if not limits:
        return as_recorded
    given = {name: (float(limit), "given") for name, limit in known_limits(limits).items()}
    return _judge(variant, {**recorded, **given})


def _judge(variant: Mapping[str, Any], limits: Mapping[str, tuple[float, str]]) -> Gate:
    return judge(
        accuracy=variant["accuracy"],
        latency=variant["latency"],
        size_bytes=variant.get("size_bytes"),
        portability=part(variant, "portability"),
        limits={name: limit for name, (limit, _) in limits.items()},
        sources={name: source for name, (_, source) in limits.items()},
    )


def _recorded_limits(report: Mapping[str, Any]) -> dict[str, tuple[float, str]]:
    recorded: dict[str, tuple[float, str]] = {}
    for check in objects(part(report, "gate") or {}, "checks"):
        name, source = str(check.get("name")), str(check.get("source"))
        if name in recorded:
            raise BadInputError(f"the report judges {name} twice; expected each limit once: measure again")
        recorded |= {known: (limit, source) for known, limit in known_limits({name: check.get("limit")}).items()}
    return recorded


def check_verdicts(report: Mapping[str, Any], found: Gate) -> None:
    """Raise BadInputError where the report's recorded verdicts are not those of `found`."""
    gate = part(report, "gate") or {}
    said = {str(check.get("name")): check.get("verdict") for check in objects(gate, "checks")} | {
        "": gate.get("verdict")
    }
    for name, verdict in [*((check.name, check.verdict) for check in found.checks), ("", found.verdict)]:
        if said.get(name) != verdict:
            of = f" for {name}" if name else ""
            raise BadInputError(
                f"the report says {said.get(name)}{of}, but its numbers give {verdict}: the verdict was edited, or "
                "given by another version of edgekd; measure again"
            )
