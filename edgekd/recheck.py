"""The summaries of a report, computed again from its raw numbers, so that no edited summary is believed."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from edgekd.errors import BadInputError
from edgekd.statistics import latency_quantiles, wilson

SCHEMA_VERSION = 3
# 1 ns, the resolution of the clock, in ms; also room for a summary rounded to 6 decimals.
TOLERANCE = 1e-6


def trusted_variant(report: Mapping[str, Any]) -> dict[str, Any]:
    """The one selected variant, its latency and accuracy rechecked, both keys always there.

    Raises:
        BadInputError: another schema version, no or several selected variants, or a summary that does not follow
            from its raw numbers.
    """
    version = report.get("schema_version")
    if version != SCHEMA_VERSION:
        raise BadInputError(
            f"the report has schema_version {version!r}; expected {SCHEMA_VERSION}: is it a report.json of edgekd's?"
        )
    variants = objects(report, "variants")
    selected = [variant for variant in variants if variant.get("selected") is True]
    if len(selected) != 1:
        raise BadInputError(
            f"the report has {len(selected)} selected variants of {len(variants)}; expected 1 to judge: "
            "run again so that one is chosen"
        )
    latency = trusted_latency(part(selected[0], "latency"))
    return {**selected[0], "latency": latency, "accuracy": trusted_accuracy(part(selected[0], "accuracy"))}


def trusted_latency(latency: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The latency with its quantiles recomputed from the raw samples, where there are any."""
    if latency is None or latency.get("samples_ns") is None:
        return latency
    samples = latency["samples_ns"]
    if not isinstance(samples, list | tuple) or not samples or not all(_is_round(samples_ns) for samples_ns in samples):
        raise BadInputError("samples_ns holds something else than rounds of positive whole nanoseconds; measure again")
    recomputed = {"n": sum(map(len, samples)), **latency_quantiles(samples)}
    _check_recorded(latency, recomputed, raw="samples_ns")
    return {**latency, **recomputed}


def trusted_accuracy(accuracy: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The accuracy with top-1 and `constant` recomputed from the confusion matrix, where there is one."""
    if accuracy is None or not accuracy.get("confusion"):
        return accuracy
    rows = accuracy["confusion"]
    if (
        not isinstance(rows, list | tuple)
        or not all(_is_counts(row, len(rows)) for row in rows)
        or not sum(map(sum, rows))
    ):
        raise BadInputError("confusion is not a square table of counts; measure again")
    n, hits = sum(map(sum, rows)), sum(row[k] for k, row in enumerate(rows))
    interval = wilson(hits, n)
    recomputed = {"n": n, "top1": hits / n, "top1_low": interval.low, "top1_high": interval.high}
    _check_recorded(accuracy, recomputed, raw="confusion")
    constant = sum(map(any, rows)) > 1 and sum(map(any, zip(*rows, strict=True))) == 1  # true classes, predicted
    return {**accuracy, **recomputed, "constant": constant or accuracy.get("constant", False)}


def number(numbers: Mapping[str, Any], key: str) -> float | None:
    """The number under `key`, None where it is null, absent, NaN or infinite.

    Raises:
        BadInputError: it is something else than a number.
    """
    value = numbers.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadInputError(f"{key} is {value!r}; expected a number or null: was the report edited?")
    return float(value) if math.isfinite(value) else None


def part(parent: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    """The object under `key`, None where it is null or absent."""
    value = parent.get(key)
    if value is not None and not isinstance(value, Mapping):
        raise BadInputError(
            f"the report's {key} is {type(value).__name__}; expected an object or null: did edgekd write it?"
        )
    return value


def objects(parent: Mapping[str, Any], key: str) -> Sequence[Mapping[str, Any]]:
    """The list of objects under `key`."""
    items = parent.get(key)
    if not isinstance(items, list | tuple) or not all(isinstance(item, Mapping) for item in items):
        raise BadInputError(
            f"the report's {key} is {type(items).__name__}; expected a list of objects: did edgekd write it?"
        )
    return items


def _check_recorded(recorded: Mapping[str, Any], recomputed: Mapping[str, float | None], *, raw: str) -> None:
    for key, expected in recomputed.items():
        found = number(recorded, key)
        same = found is expected is None or (
            found is not None
            and expected is not None
            and math.isclose(found, expected, rel_tol=1e-6, abs_tol=TOLERANCE)
        )
        if not same:
            raise BadInputError(
                f"the report says {key} {found}, but its {raw} give {expected}: the summary was edited; measure again"
            )


def _is_round(samples_ns: object) -> bool:
    return (
        isinstance(samples_ns, list | tuple) and bool(samples_ns) and all(type(x) is int and x > 0 for x in samples_ns)
    )


def _is_counts(row: object, length: int) -> bool:
    return isinstance(row, list | tuple) and len(row) == length and all(type(x) is int and x >= 0 for x in row)
