"""The summaries of a report, computed again from its raw numbers, so that no edited summary is believed."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from edgekd import label_counts
from edgekd.errors import BadInputError
from edgekd.statistics import latency_quantiles, mcnemar, newcombe_paired, wilson
from edgekd.strict_json import digest

SCHEMA_VERSION = 4
SEALED = ("name", "sha256", "size_bytes", "accuracy", "latency", "portability")
"""What of a variant its hash covers: all that a gate looks at."""
FOREIGN = {
    "classes": ("micro_f1", "macro_f1_low", "map", "exact_match", "micro_f1_drop", "outcomes"),
    "multi-label": ("top1", "top1_drop", "confusion", "paired"),
}
"""Task -> what an accuracy of it does not hold, as `edgekd.accuracy` measures it."""
PAIRED = ("both", "only_fp32", "only_model", "neither")
# 1 ns, the resolution of the clock, in ms; also room for a summary rounded to 6 decimals.
TOLERANCE = 1e-6


def raw_sha256(
    variant: Mapping[str, Any], checks: Sequence[Mapping[str, Any]], target: Mapping[str, Any] | None
) -> str:
    """The hash of everything that the gate's verdict on a variant follows from: numbers, limits and target.

    It is against slips, half-finished edits and mixed-up files. It is no signature: whoever edits a report on purpose
    can compute it again, and what keeps such a person out is who may write to where the reports are kept.

    Args:
        variant: as report.json has it; `SEALED` names what counts.
        checks: of its gate; of each, name, limit and source count, not the verdict, which is computed again.
        target: as report.json has it.
    """
    limits = [[check.get("name"), check.get("limit"), check.get("source")] for check in checks]
    return digest({key: variant.get(key) for key in SEALED} | {"limits": limits, "target": target})


def trusted_variant(report: Mapping[str, Any]) -> dict[str, Any]:
    """The one selected variant, its latency and accuracy rechecked, both keys always there.

    Raises:
        BadInputError: another schema version, no or several selected variants, a gate of another variant, a summary
            that does not follow from its raw numbers, or a hash that does not fit.
    """
    version = report.get("schema_version")
    if version != SCHEMA_VERSION or isinstance(version, bool):
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
    gate = part(report, "gate")
    if gate is None or gate.get("variant") != selected[0].get("name"):
        raise BadInputError(
            f"the report's gate.variant is {(gate or {}).get('variant')!r}; expected {selected[0].get('name')!r}, the "
            "variant that is selected: was the report edited? Run again"
        )
    latency = trusted_latency(part(selected[0], "latency"))
    accuracy = trusted_accuracy(part(selected[0], "accuracy"))
    _check_hash(selected[0], objects(gate, "checks"), part(report, "target"))
    return {**selected[0], "latency": latency, "accuracy": accuracy}


def _check_hash(
    variant: Mapping[str, Any], checks: Sequence[Mapping[str, Any]], target: Mapping[str, Any] | None
) -> None:
    recorded = variant.get("raw_sha256")
    try:
        expected = raw_sha256(variant, checks, target)
    except (ValueError, RecursionError) as err:
        raise BadInputError(f"the report's raw numbers are no plain JSON ({err}); measure again") from err
    if recorded != expected:
        raise BadInputError(
            f"the report's raw_sha256 of {variant.get('name')!r} is {str(recorded)[:12]}, but its raw numbers, limits "
            f"and target give {expected[:12]}: one of them was edited, added or removed; measure again"
        )


def trusted_latency(latency: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The latency with its quantiles recomputed from the raw samples.

    Raises:
        BadInputError: no samples, samples that are no durations (a clock that went back gives one below 1), or
            quantiles that do not follow from them.
    """
    if latency is None:
        return None
    samples = latency.get("samples_ns")
    if not isinstance(samples, list | tuple) or not samples or not all(_is_round(samples_ns) for samples_ns in samples):
        raise BadInputError("samples_ns holds something else than rounds of positive whole nanoseconds; measure again")
    recomputed = {"n": sum(map(len, samples)), **latency_quantiles(samples)}
    check_recorded(latency, recomputed, raw="samples_ns")
    return {**latency, **recomputed}


def trusted_accuracy(accuracy: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The accuracy with top-1, `constant` and the drop recomputed from the confusion matrix and the paired counts.

    Raises:
        BadInputError: labelled and without a confusion matrix, a matrix or counts that are none, or summaries that do
            not follow from them.
    """
    if accuracy is None:
        return None
    task = accuracy.get("task", "classes")
    if task not in FOREIGN:
        raise BadInputError(f"accuracy.task is {task!r}; expected one of {', '.join(FOREIGN)}: was the report edited?")
    _check_none_of(accuracy, FOREIGN[task], task=task)
    if task == "multi-label":
        return _trusted_label_sets(accuracy)
    if not accuracy.get("confusion"):
        labelled = [key for key in ("top1", "top1_drop") if accuracy.get(key) is not None]
        if labelled or accuracy.get("labelled"):
            raise BadInputError("the accuracy has labels and no confusion matrix to count again; measure again")
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
    check_recorded(accuracy, recomputed, raw="confusion")
    drop = _trusted_drop(accuracy, n=n, hits=hits)
    constant = sum(map(any, rows)) > 1 and sum(map(any, zip(*rows, strict=True))) == 1  # true classes, predicted
    return {**accuracy, **recomputed, **drop, "constant": constant or accuracy.get("constant", False)}


def _check_none_of(accuracy: Mapping[str, Any], keys: Sequence[str], *, task: str) -> None:
    """Refuse a number of the other task: nothing here would count it again, and a limit could be judged by it."""
    found = [key for key in keys if accuracy.get(key) not in (None, [], ())]
    if found:
        raise BadInputError(
            f"the report says {found[0]} of a task that is {task!r}, which has none: the report was edited; measure "
            "again"
        )


def _trusted_label_sets(accuracy: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same of a multi-label network: F1, exact match, `constant` and the drop, from how often each set occurred."""
    outcomes = accuracy.get("outcomes")
    if not outcomes:
        counted = ("micro_f1", "macro_f1", "exact_match", "map", "micro_f1_drop")
        labelled = [key for key in counted if accuracy.get(key) is not None]
        if labelled or accuracy.get("labelled"):
            raise BadInputError("the accuracy has labels and no outcomes to count again; measure again")
        return accuracy
    named = accuracy.get("per_class")
    classes = len(named) if isinstance(named, list | tuple) else 0
    if not isinstance(outcomes, list | tuple) or not all(_is_outcome(outcome, classes) for outcome in outcomes):
        raise BadInputError("outcomes is not a list of label sets and how often each occurred; measure again")
    recomputed = label_counts.scores(outcomes, classes=classes)
    if all(outcome[2] is None for outcome in outcomes):  # fp32 itself, whose drop is 0 by definition
        recomputed |= dict.fromkeys(("micro_f1_drop", "micro_f1_drop_low", "micro_f1_drop_high"), 0.0)
    check_recorded(accuracy, recomputed, raw="outcomes")
    constant = label_counts.is_constant(outcomes) or accuracy.get("constant", False)
    return {**accuracy, **recomputed, "constant": constant}


def _is_outcome(outcome: object, classes: int) -> bool:
    if not isinstance(outcome, list | tuple) or len(outcome) != 4 or type(outcome[3]) is not int or outcome[3] < 1:
        return False
    sets = [one for one in outcome[:3] if one is not None]
    return len(sets) >= 2 and all(
        isinstance(one, list | tuple) and all(type(k) is int and 0 <= k < classes for k in one) for one in sets
    )


def _trusted_drop(accuracy: Mapping[str, Any], *, n: int, hits: int) -> dict[str, float | None]:
    """The drop, its interval and McNemar's p from the paired counts.

    Without counts there is no drop, or the file is fp32 itself, whose drop is 0 by definition.
    """
    paired = part(accuracy, "paired")
    if paired is None:
        zero = dict.fromkeys(("top1_drop", "top1_drop_low", "top1_drop_high"), 0.0)
        nothing: dict[str, float | None] = dict.fromkeys(zero)
        recomputed = zero if accuracy.get("top1_drop") is not None else nothing
        check_recorded(accuracy, recomputed, raw="missing paired counts")
        return {**recomputed, "mcnemar_p": None}
    counts: list[Any] = [paired.get(key) for key in PAIRED]
    if not _is_counts(counts, len(PAIRED)) or sum(counts) != n or paired["both"] + paired["only_model"] != hits:
        raise BadInputError(
            f"paired is {dict(paired)!r:.100}; expected the counts {', '.join(PAIRED)} of the same {n} samples, "
            f"{hits} of them right: measure again"
        )
    both, only_fp32, only_model, neither = counts
    interval = newcombe_paired(both, only_fp32, only_model, neither)
    found: dict[str, float | None] = {
        "top1_drop": (only_fp32 - only_model) / n,
        "top1_drop_low": interval.low,
        "top1_drop_high": interval.high,
        "mcnemar_p": mcnemar(only_fp32, only_model),
    }
    check_recorded(accuracy, found, raw="paired counts")
    return found


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
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError as err:
        raise BadInputError(f"{key} is a number of {len(str(value))} digits; was the report edited?") from err


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


def check_recorded(recorded: Mapping[str, Any], recomputed: Mapping[str, float | None], *, raw: str) -> None:
    """Raise BadInputError where a recorded number is not the recomputed one. raw: what it was recomputed from."""
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
