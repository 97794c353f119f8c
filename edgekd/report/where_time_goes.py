"""The section of a run's report on where the time of an inference goes: the shipped variant beside fp32."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgekd.report.charts import Chart
from edgekd.report.rows import chosen, label
from edgekd.report.time_charts import kernel_ms, time_by_operator
from edgekd.report.wording import percent

Report = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class WhereTimeGoes:
    """rows: (node, operator, kernel's kind, time, share) of the slowest kernels of the variant, in words."""

    variant: str
    sentence: str
    chart: Chart
    rows: list[tuple[str, str, str, str, str]]


def where_time_goes(report: Report) -> WhereTimeGoes | None:
    """The section; None for a report that has no times of kernels, such as one of an older edgekd."""
    variant = chosen(report)
    ran = (variant or {}).get("kernels") or {}
    if variant is None or not ran.get("by_op_type"):
        return None
    name = label(report, variant)
    sides = [(name, ran["by_op_type"])]
    reference = next((v for v in report["variants"] if v["name"] == "fp32" and v is not variant), None)
    before = ((reference or {}).get("kernels") or {}).get("by_op_type")
    if before:
        sides.insert(0, ("fp32", before))
    chart = time_by_operator(sides, name="operators")
    if chart is None:
        return None
    rows = [
        (one["name"], one["op_type"], one["kind"], kernel_ms(one["ms"]), percent(one["share"]))
        for one in ran.get("slowest") or ()
    ]
    return WhereTimeGoes(variant=name, sentence=ran.get("sentence", ""), chart=chart, rows=rows)
