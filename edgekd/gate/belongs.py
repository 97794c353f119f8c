"""Whether a report is of the file and the target that somebody is about to ship."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekd.errors import BadInputError
from edgekd.files import sha256


def check_belongs(
    report: Mapping[str, Any], *, model: Path | None = None, target: Mapping[str, Any] | None = None
) -> None:
    """Refuse a report of something else. Its own hash has been checked before, by `rejudge`.

    Args:
        report: report.json, parsed, with one selected variant.
        model: the file that the selected variant must be.
        target: all fields of the target that it must have been judged for, JSON-ready.

    Raises:
        BadInputError: no such file, another file, or another target or the same one with other contents.
    """
    if model is not None:
        _check_model(report, model)
    if target is not None:
        _check_target(report["target"], target)


def _check_model(report: Mapping[str, Any], model: Path) -> None:
    if not model.is_file():
        raise BadInputError(f"model {model}: no such file; expected the .onnx file that the report is of")
    variant = next(variant for variant in report["variants"] if variant["selected"])
    found, measured = sha256(model), str(variant["sha256"])
    if found != measured:
        others = [str(v.get("name")) for v in report["variants"] if v.get("sha256") == found]
        hint = f" (it is the variant {others[0]}, which did not win)" if others else ""
        raise BadInputError(
            f"model {model}: its SHA-256 is {found[:12]}, the report's {variant['name']} has {measured[:12]}{hint}; "
            "measure the file that is to be judged"
        )


def _check_target(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    if found.get("name") != wanted["name"]:
        raise BadInputError(
            f"the report is of target {found.get('name')!r}, not of {wanted['name']!r}; measure for the target that it "
            "is to run on"
        )
    keys = sorted(found.keys() | wanted.keys())
    other = [key for key in keys if (key in found, found.get(key)) != (key in wanted, wanted.get(key))]
    if other:
        raise BadInputError(
            f"the report's target {wanted['name']} is not as it is now: {', '.join(other)} differ; measure again"
        )
