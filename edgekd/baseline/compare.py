"""Saves documents as baselines, and compares new ones with them."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from edgekd import result
from edgekd.baseline.document import Document, parse
from edgekd.baseline.judge import JUDGES
from edgekd.baseline.key import Key
from edgekd.baseline.same import check_same, conditions, differing
from edgekd.baseline.store import Store, Written, stored
from edgekd.baseline.unpaired import NORMALISED_FLOOR, OTHER_MACHINE_FLOOR, SESSION_FLOOR
from edgekd.environment import fingerprint
from edgekd.errors import BadInputError

KIND = "baseline"
DEFAULT_LIMITS = {"max_regression": 0.05, "max_size_regression": 0.05, "max_top1_drop": 0.01}
"""Fractions. The second and third are those of a report alone."""

METHOD = (
    "ratio of quantiles of two sessions at different times; 95 % interval of Welch's t over sections of each session "
    "and of what equal sessions differ by"
)


def save(document: Document, store: Store, *, name: str | None = None) -> tuple[Key, Written]:
    """File the document under `name`, or its own; the one that is there goes.

    Raises:
        BadInputError: a name that cannot be filed, or a network that is broken.
        EnvironmentFault: the store cannot be written.
    """
    _check_works(document)
    key = document.key(name)
    return key, store.write(key, document.content)


def compare(
    new: Document,
    store: Store,
    *,
    name: str | None = None,
    limits: Mapping[str, float] | None = None,
    normalise: bool = False,
) -> dict[str, Any]:
    """A result document of kind "baseline": the new document beside the stored one of the same key.

    limits: in place of DEFAULT_LIMITS. normalise: divide times by the reference workload's.

    Raises:
        BadInputError: nothing is stored under the key, one of the two was edited, or they cannot be compared: of
            another model, target, metric or conditions, or of another machine without `normalise`.
        EnvironmentFault: the store cannot be read.
    """
    key = new.key(name)
    base = parse(stored(store, key), f"baseline {key}")
    _check_works(base)
    check_same(new, base, normalise=normalise)
    given = dict(limits or {})
    judge, known = JUDGES[new.metric]
    holding = {limit: given.get(limit, DEFAULT_LIMITS[limit]) for limit in known}
    sources = {limit: "given" if limit in given else "edgekd" for limit in known}
    raw = _raw(new, base, normalise=normalise)
    measured, gate = judge(raw, limits=holding, sources=sources)
    return result.document(
        kind=KIND,
        name=key.name,
        metric=new.metric,
        model=_file(new),
        base=_file(base),
        target=_target(new),
        environment=new.environment,
        conditions=_conditions(new, base, store, normalise) | {"warnings": _warnings(new, base, measured)},
        limits=holding,
        sources=sources,
        measured=measured,
        raw=raw,
        gate=asdict(gate),
    )


def _check_works(document: Document) -> None:
    if document.constant:
        raise BadInputError(
            f"{document.where}: the network gives different inputs one and the same output; expected a baseline that "
            "works: check its weights and preprocessing"
        )


def _raw(new: Document, base: Document, *, normalise: bool) -> dict[str, Any]:
    """All that the verdict follows from."""
    sides = {"new": _numbers(new), "base": _numbers(base)}
    if new.metric == "instructions":
        return sides
    return sides | {"normalise": normalise, "floor": _floor(new, base, normalise)}


def _numbers(document: Document) -> Mapping[str, Any]:
    if document.variant is None:
        return dict(document.found["raw"])
    accuracy, latency = document.variant["accuracy"] or {}, document.variant["latency"] or {}
    confusion = accuracy.get("confusion") or ()
    return {
        "sha256": document.variant.get("sha256"),
        "size_bytes": document.variant.get("size_bytes"),
        "samples_ns": latency.get("samples_ns") or [],
        "n": sum(map(sum, confusion)),
        "hits": sum(row[index] for index, row in enumerate(confusion)),
        "constant": document.constant,
    }


def _floor(new: Document, base: Document, normalise: bool) -> float:
    if not normalise:
        return SESSION_FLOOR
    other = {"CPU model", "cores granted"} & differing(new.environment, base.environment).keys()
    return OTHER_MACHINE_FLOOR if other else NORMALISED_FLOOR


def _file(document: Document) -> dict[str, Any]:
    if document.variant is None:
        return dict(document.found["model"])
    found = {"path": document.variant.get("path") or document.variant["name"]}
    found |= {name: document.variant.get(name) for name in ("sha256", "size_bytes")}
    if not isinstance(found["sha256"], str):
        raise BadInputError(f"{document.where}: its selected variant has no sha256; was it edited? Run again")
    return found


def _target(document: Document) -> dict[str, Any]:
    target: dict[str, Any] = document.found["target"]
    return dict(target) if document.variant is None else result.target_facts(target)


def _conditions(new: Document, base: Document, store: Store, normalise: bool) -> dict[str, Any]:
    """Those of the new measurement, and what it was compared with."""
    kept = {name: value for name, value in conditions(new).items() if name != "designed_error"}
    measured_by = {} if new.metric == "instructions" else {"method": METHOD}
    return {
        **kept,
        **measured_by,
        "normalised": normalise,
        "baseline": store.place,
        "baseline_created": base.found["created"],
        "baseline_cpu": base.environment.cpu_model,
    }


def _warnings(new: Document, base: Document, measured: Mapping[str, float | None]) -> list[str]:
    warnings = list(conditions(new).get("warnings", ()))
    found = differing(new.environment, base.environment)
    if found:
        said = ", ".join(f"{name} {ours}, stored {theirs}" for name, (ours, theirs) in found.items())
        warnings.append(f"another machine than the baseline's: {said}")
    moved = measured.get("reference_drift")
    if moved is not None and abs(moved) > SESSION_FLOOR:
        warnings.append(
            f"the reference workload took {moved:+.1%} more time than beside the baseline: the machine's speed changed"
        )
    return warnings


def entry(store: Store, key: Key) -> dict[str, str | None]:
    """A row of what is stored: its key, when and where it was measured; `state` is "ok", or what is wrong with it."""
    row: dict[str, str | None] = {"name": key.name, "target": key.target, "metric": key.metric}
    row |= dict.fromkeys(("created", "cpu", "onnxruntime", "fingerprint"))
    try:
        document = parse(stored(store, key), f"baseline {key}")
    except BadInputError as err:
        return row | {"state": f"damaged: {err}"}
    if document.key(key.name) != key:
        return row | {"state": f"misplaced: it is of {document.key(key.name)}"}
    found = document.environment
    return row | {
        "created": str(document.found["created"]),
        "cpu": found.cpu_model,
        "onnxruntime": found.packages.get("onnxruntime", found.packages.get("onnxruntime-gpu")),
        "fingerprint": fingerprint(found),
        "state": "ok",
    }
