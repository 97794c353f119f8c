"""A language report's verdict again, from its raw parts: the nats of each block, the samples of each inference."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekd.errors import BadInputError, nearest
from edgekd.gate import Gate, check_verdicts
from edgekd.language.judge import RULES, judge
from edgekd.language.report import KIND, SCHEMA_VERSION
from edgekd.language.score import Scores, perplexity_ratio
from edgekd.recheck import check_recorded, number, objects, part, trusted_latency
from edgekd.strict_json import digest

SEALED = ("name", "sha256", "size_bytes", "scores", "token", "prefill")
"""What of a variant its hash covers."""

EXPECTED = "the report.json of `edgekd language`"


def is_language(document: Mapping[str, Any]) -> bool:
    """Whether a parsed JSON object says that it is a report of this kind."""
    return document.get("kind") == KIND


def seal(
    variant: Mapping[str, Any],
    *,
    base: Any,
    checks: Sequence[Mapping[str, Any]],
    target: Mapping[str, Any] | None,
) -> str:
    """The hash of all that a variant's verdict follows from. base: scores of the network that it is compared with.

    As in `edgekd.recheck.raw_sha256` it is against slips, and no signature.
    """
    limits = [[check.get("name"), check.get("limit"), check.get("source")] for check in checks]
    return digest({key: variant.get(key) for key in SEALED} | {"base": base, "limits": limits, "target": target})


def checked(report: dict[str, Any], path: Path) -> dict[str, Any]:
    """The report, parsed from `path`, once it is known to have the parts that a verdict follows from.

    Raises:
        BadInputError: another schema version, or a part that is missing or of another type.
    """
    version = report.get("schema_version")
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise BadInputError(
            f"report {path}: schema_version is {version!r}; this edgekd reads {SCHEMA_VERSION} of {EXPECTED}. Run again"
        )
    for key in ("target", "gate"):
        if part(report, key) is None:
            raise BadInputError(f"report {path}: no {key}; expected a whole report. Run again")
    if "name" not in report["target"] or not isinstance(report.get("name"), str):
        raise BadInputError(f"report {path}: no target.name or no name; was it edited? Run again")
    objects(report, "variants")
    objects(report, "arms")
    objects(report["gate"], "checks")
    return report


def rejudge(report: Mapping[str, Any], *, limits: Mapping[str, Any] | None = None) -> Gate:
    """The gate of the selected variant. limits: override the recorded ones of the same name, or add to them.

    Raises:
        BadInputError: no or several selected variants, a summary or a verdict that does not follow from the raw
            numbers, raw numbers, limits or a target that were edited, or an unknown limit.
    """
    variant, base = _selected(report), _base(report)
    scores = _scores(variant, "of " + str(variant.get("name")))
    if (scores.tokens, scores.characters) != (base.tokens, base.characters):
        raise BadInputError("the file and the network that it is compared with have other blocks; measure again")
    ratio = perplexity_ratio(scores, base)
    check_recorded(part(variant, "test") or {}, scores.summary(), raw="nats")
    check_recorded(part(variant, "ratio") or {}, ratio, raw="nats")
    token = trusted_latency(part(variant, "token"))
    trusted_latency(part(variant, "prefill"))
    if token is None:
        raise BadInputError("the report's selected variant has no times of the next token; measure again")
    size = number(variant, "size_bytes")
    if size is None:
        raise BadInputError("the report's selected variant has no size_bytes; measure again")
    checks = report["gate"]["checks"]
    _check_seal(report, variant, checks)
    recorded = {str(check.get("name")): _limit(str(check.get("name")), check.get("limit")) for check in checks}
    sources = {str(check.get("name")): str(check.get("source")) for check in checks}
    if len(recorded) != len(checks):
        raise BadInputError("the report judges a limit twice; expected each once: measure again")
    found = judge(ratio=ratio, token=token, size_bytes=int(size), limits=recorded, sources=sources)
    check_verdicts(report, found)
    if not limits:
        return found
    given = {name: _limit(name, limit) for name, limit in limits.items()}
    sources |= dict.fromkeys(given, "given")
    return judge(ratio=ratio, token=token, size_bytes=int(size), limits=recorded | given, sources=sources)


def _selected(report: Mapping[str, Any]) -> Mapping[str, Any]:
    found = [variant for variant in objects(report, "variants") if variant.get("selected") is True]
    if len(found) != 1 or report["gate"].get("variant") != found[0].get("name"):
        raise BadInputError(
            f"the report has {len(found)} selected variants, and gate.variant is {report['gate'].get('variant')!r}; "
            "expected one of that name: was it edited? Run again"
        )
    return found[0]


def _base(report: Mapping[str, Any]) -> Scores:
    named = [arm for arm in report["arms"] if arm.get("name") == report.get("base")]
    if len(named) != 1:
        raise BadInputError(
            f"the report has {len(named)} networks named {report.get('base')!r}, which perplexities are compared with; "
            "expected one: was it edited? Run again"
        )
    scores = _scores(named[0], f"of {report['base']}")
    check_recorded(part(named[0], "test") or {}, scores.summary(), raw="nats")
    return scores


def _scores(owner: Mapping[str, Any], whose: str) -> Scores:
    """Nats, tokens and characters of each block: as many of each, positive."""
    raw = part(owner, "scores") or {}
    lists = [raw.get(name) for name in ("nats", "tokens", "characters")]
    sound = all(isinstance(values, list) and values and all(map(_is_positive, values)) for values in lists)
    if not sound or len({len(values) for values in lists if values}) != 1:
        raise BadInputError(f"the scores {whose} are no lists of positive numbers, one a block; measure again")
    return Scores.read(raw)


def _is_positive(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and value > 0  # type: ignore[arg-type, operator]


def _check_seal(report: Mapping[str, Any], variant: Mapping[str, Any], checks: Sequence[Mapping[str, Any]]) -> None:
    base = next(arm["scores"] for arm in report["arms"] if arm.get("name") == report["base"])
    made = seal(variant, base=base, checks=checks, target=report["target"])
    if variant.get("raw_sha256") != made:
        raise BadInputError(
            f"the report's raw_sha256 of {variant.get('name')!r} is {str(variant.get('raw_sha256'))[:12]}, but its raw "
            f"numbers, limits and target give {made[:12]}: one of them was edited, added or removed; measure again"
        )


def _limit(name: str, limit: Any) -> float:
    if name not in RULES:
        raise BadInputError(f"unknown limit '{name}'{nearest(name, list(RULES))}; known: {', '.join(RULES)}")
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not math.isfinite(limit) or limit <= 0:
        raise BadInputError(f"limit {name} is {limit!r}; expected a number above 0")
    return float(limit)
