"""Measurements x limits -> verdicts; only a number whose whole interval is inside the limit passes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgekd.errors import ExitCode
from edgekd.gate.check import WORST_FIRST, Check, Verdict, judged
from edgekd.gate.classes import floor_for_all, floors
from edgekd.gate.rules import AGREEMENT_FP32, RULES, Section, known_limits
from edgekd.recheck import number

EXIT_CODES: dict[Verdict, ExitCode] = {
    "pass": ExitCode.PASS,
    "inconclusive": ExitCode.INCONCLUSIVE,
    "fail": ExitCode.GATE_FAILED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The worst verdict of all checks. message: one line for people."""

    verdict: Verdict
    checks: tuple[Check, ...]
    message: str


def judge(
    *,
    accuracy: Mapping[str, Any] | None,
    latency: Mapping[str, Any] | None,
    size_bytes: int | None,
    limits: Mapping[str, float],
    sources: Mapping[str, str],
    portability: Mapping[str, Any] | None = None,
) -> Gate:
    """Each limit as a check, and the worst of their verdicts.

    Pass: the whole interval is inside the limit, which itself is inside. Fail: wholly outside. Else inconclusive, and
    so is every number that is missing or NaN. A model that gives one answer to all fails every limit: that it is fast
    and small, or right as often as that answer is, means nothing.

    Args:
        accuracy, latency: in the form of report.json, None where not measured.
        size_bytes: size of the ONNX file.
        limits: name -> limit, in the unit its name says; the floor of one class is `class_floors.NAME`.
        sources: name -> "recipe" or "target", one for each limit.
        portability: the outputs on another instruction set beside the machine's own, None where not compared.

    Raises:
        BadInputError: a limit is unknown or no number, or a measurement is impossible (negative, text, outside its
            own interval).
    """
    known = known_limits(limits)
    measured: dict[Section, Mapping[str, Any] | None] = {
        "accuracy": accuracy,
        "latency": latency,
        "file": {"size_bytes": size_bytes},
        "portability": portability,
    }
    constant = accuracy is not None and bool(accuracy.get("constant"))
    checks = [
        _check(name, limit=known[name], source=sources[name], measured=measured, constant=constant)
        for name in RULES
        if name in known
    ]
    return conclude([*checks, *floors(known, accuracy, sources=sources, constant=constant)])


def conclude(checks: Sequence[Check]) -> Gate:
    """The worst verdict of the checks, and which they are; without a check nothing is proved, so it is inconclusive."""
    if not checks:
        return Gate(verdict="inconclusive", checks=(), message="no limit was set")
    verdict = next(verdict for verdict in WORST_FIRST if any(check.verdict == verdict for check in checks))
    named = [check.name for check in checks if check.verdict == verdict]
    message = f"{len(named)} of {len(checks)} limits {verdict}: {', '.join(named)}"
    return Gate(verdict=verdict, checks=tuple(checks), message=message)


def exit_code(verdict: Verdict) -> ExitCode:
    """What the process answers: 0 pass, 1 fail, 3 inconclusive."""
    return EXIT_CODES[verdict]


def _check(
    name: str, *, limit: float, source: str, measured: Mapping[Section, Mapping[str, Any] | None], constant: bool
) -> Check:
    rule, accuracy = RULES[name], measured["accuracy"]
    if name == "min_class_top1":
        return floor_for_all(name, accuracy, limit=limit, source=source, constant=constant)
    if name == "min_agreement" and (accuracy is None or accuracy.get("agreement_teacher") is None):
        rule = AGREEMENT_FP32
    check = judged(name, rule, measured[rule.section], limit=limit, source=source, constant=constant)
    if name == "max_top1_drop" and check.verdict != "pass" and not constant:
        return replace(check, note="; ".join(filter(None, (_disagreements(accuracy), check.note))))
    return check


def _disagreements(accuracy: Mapping[str, Any] | None) -> str:
    """On how many samples only one of the two files is right, and how often chance alone gives as many more of one."""
    paired = (accuracy or {}).get("paired")
    if accuracy is None or not paired:
        return ""
    p = number(accuracy, "mcnemar_p")
    sure = "" if p is None else f" (exact McNemar p = {p:.2g})"
    return f"only fp32 is right on {paired['only_fp32']:,} samples, only this file on {paired['only_model']:,}{sure}"
