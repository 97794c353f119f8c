"""The document that a measured verdict leaves behind: raw samples, what follows from them, a hash over what is raw.

The hash is against slips, half-copied files and edited numbers. It is no signature: whoever wants to can make it anew.
"""

import datetime
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekd import __version__, strict_json
from edgekd.environment import Environment, fingerprint
from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.files import sha256, write_atomic

VERSION = 1
PARTS: dict[str, type | tuple[type, ...]] = {
    "kind": str,
    "metric": str,
    "name": str,
    "created": str,
    "edgekd": str,
    "model": dict,
    "base": (dict, type(None)),
    "target": dict,
    "environment": dict,
    "fingerprint": str,
    "conditions": dict,
    "limits": dict,
    "sources": dict,
    "measured": dict,
    "raw": dict,
    "raw_sha256": str,
    "gate": dict,
}


FIELDS: dict[str, dict[str, type]] = {
    "model": {"path": str, "sha256": str, "size_bytes": int},
    "base": {"path": str, "sha256": str, "size_bytes": int},
    "target": {"name": str, "title": str, "proxy": bool, "sha256": str},
    "conditions": {"inputs": str, "isa": str, "provider": str, "batch_size": int, "threads": int, "warnings": list},
}
"""What every reader of a result relies on."""


def document(
    *,
    kind: str,
    metric: str,
    model: Mapping[str, Any],
    base: Mapping[str, Any] | None,
    target: Mapping[str, Any],
    environment: Environment,
    conditions: Mapping[str, Any],
    limits: Mapping[str, float],
    sources: Mapping[str, str],
    measured: Mapping[str, Any],
    raw: Mapping[str, Any],
    gate: Mapping[str, Any],
    name: str | None = None,
) -> dict[str, Any]:
    """A result, JSON-ready.

    model, base: as `file_facts`; target: as `target_facts`; raw: all that `measured` and `gate` follow from; gate: a
    `Gate` as a mapping. name: in place of the model's own.
    """
    stem = Path(model["path"]).stem
    made = {
        "edgekd_result": VERSION,
        "kind": kind,
        "metric": metric,
        "name": name or stem,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "edgekd": __version__,
        "model": dict(model),
        "base": None if base is None else dict(base),
        "target": dict(target),
        "environment": environment.as_dict(),
        "fingerprint": fingerprint(environment),
        "conditions": dict(conditions),
        "limits": dict(limits),
        "sources": dict(sources),
        "measured": dict(measured),
        "raw": dict(raw),
        "gate": dict(gate) | {"variant": stem},
    }
    plain: dict[str, Any] = json.loads(json.dumps(made))  # as it will be read again: lists, no tuples
    return plain | {"raw_sha256": seal(plain)}


def file_facts(path: Path) -> dict[str, Any]:
    """What tells one file from another."""
    return {"path": str(path), "sha256": sha256(path), "size_bytes": path.stat().st_size}


def target_facts(values: Mapping[str, Any]) -> dict[str, Any]:
    """A target as a result names it. values: all of its fields, JSON-ready."""
    known = {name: values[name] for name in ("name", "title", "proxy")}
    return known | {"sha256": strict_json.digest(dict(values))}


def seal(result: Mapping[str, Any]) -> str:
    """SHA-256 over all but what is made of the rest again: the measured numbers and the gate."""
    rests_on = [name for name in PARTS if name not in ("measured", "raw_sha256", "gate")]
    return strict_json.digest([result.get(name) for name in rests_on])


def write(result: Mapping[str, Any], path: Path) -> None:
    """Put the document at `path`, whole or not at all.

    Raises:
        EnvironmentFault: it cannot be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(result, indent=1, allow_nan=False) + "\n")
    except OSError as err:
        raise EnvironmentFault(f"cannot write {path}: {err.strerror}; choose another place with --out") from err


def is_result(document: Mapping[str, Any]) -> bool:
    """Whether a parsed JSON object says that it is one of these."""
    return "edgekd_result" in document


def read(path: Path) -> dict[str, Any]:
    """The document at `path`.

    Raises:
        BadInputError: no such file, no strict JSON, another version, a part that is missing or of another type, or
            numbers that were edited.
    """
    return checked(strict_json.read_object(path, what="result", expected="what --out wrote"), path)


def checked(found: dict[str, Any], path: Path) -> dict[str, Any]:
    """The parsed document, once it is known to be whole and unedited."""
    if found.get("edgekd_result") != VERSION or isinstance(found["edgekd_result"], bool):
        raise BadInputError(
            f"result {path}: edgekd_result is {found.get('edgekd_result')!r}; expected {VERSION}: was it made by "
            "another version of edgekd? Measure again"
        )
    for name, kind in PARTS.items():
        if not isinstance(found.get(name, ...), kind):
            raise BadInputError(f"result {path}: '{name}' is missing or of another type; was it edited? Measure again")
    for name in ("model", "base", "target", "conditions"):
        for key, kind in FIELDS[name].items():
            if found[name] is not None and not _is(found[name].get(key), kind):
                raise BadInputError(
                    f"result {path}: {name}.{key} is missing or of another type; was it edited? Measure again"
                )
    if found["raw_sha256"] != seal(found):
        raise BadInputError(
            f"result {path}: its raw samples, files, target or limits are not those that were measured (the hash does "
            "not fit); was it edited? Measure again"
        )
    return found


def _is(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


def belongs(found: Mapping[str, Any], *, model: Path | None = None, target: Mapping[str, Any] | None = None) -> None:
    """Raise BadInputError unless the result is of that file and of that target."""
    if model is not None and not model.is_file():
        raise BadInputError(f"model {model}: no such file; expected the one that was measured")
    if model is not None and (sha := sha256(model)) != found["model"]["sha256"]:
        raise BadInputError(
            f"the result is of {found['model']['path']} ({found['model']['sha256'][:12]}), not of {model} "
            f"({sha[:12]}); measure the file that is to be judged"
        )
    if target is not None and target_facts(target) != found["target"]:
        raise BadInputError(
            f"the result is of target {found['target'].get('name')}, not of {target['name']} as it is now; "
            "measure again"
        )


def finite(value: float | None) -> float | None:
    """None for what JSON cannot say."""
    return value if value is not None and math.isfinite(value) else None
