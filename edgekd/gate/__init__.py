"""Measurements x limits -> verdicts; only a number whose whole interval is inside the limit passes."""

from edgekd.gate.belongs import check_belongs
from edgekd.gate.check import WORST_FIRST, Check, Verdict, compare, judged
from edgekd.gate.judge import Gate, conclude, exit_code, judge
from edgekd.gate.rejudge import check_verdicts, rejudge
from edgekd.gate.rules import FLOORS, RULES, Rule, Section, Unit, check_classes, check_task, flat, merge_limits

__all__ = [
    "FLOORS",
    "RULES",
    "WORST_FIRST",
    "Check",
    "Gate",
    "Rule",
    "Section",
    "Unit",
    "Verdict",
    "check_belongs",
    "check_classes",
    "check_task",
    "check_verdicts",
    "compare",
    "conclude",
    "exit_code",
    "flat",
    "judge",
    "judged",
    "merge_limits",
    "rejudge",
]
