"""The report as one self-contained page: no scripts, no network, light and dark, from phone to print."""

from collections.abc import Mapping
from typing import Any

from edgekd.report.charts import latency_spread, teacher_entropy, training_curves
from edgekd.report.confusion import class_rows, confusion
from edgekd.report.facts import Fact, flatten, machine, method, quality
from edgekd.report.quantization import (
    decision_rows,
    kernel_facts,
    portability,
    remarks,
    schemes,
    search_sentence,
    unmeasured,
)
from edgekd.report.rows import VariantRow, check_rows, chosen, headline, label, mark, measures, variant_rows
from edgekd.report.template import fill
from edgekd.report.tradeoff import accuracy_against_latency
from edgekd.report.where_time_goes import where_time_goes
from edgekd.report.wording import DASH, WORDS, decibels, fixed, interval, milliseconds, percent, size

Report = Mapping[str, Any]
CHARTS = (accuracy_against_latency, latency_spread, training_curves, teacher_entropy)


def render(report: Report) -> str:
    """The page as text. Every word of the report is escaped; equal input gives equal text.

    Raises:
        EnvironmentFault: jinja2 or matplotlib is not installed.
    """
    return fill("report.html", charts=[c for chart in CHARTS if (c := chart(report))], **_view(report))


def _view(report: Report) -> dict[str, Any]:
    """What the template fills in, already in words."""
    variant = chosen(report)
    accuracy = variant["accuracy"] if variant else None
    verdict = report["gate"]["verdict"]
    return {
        "report": report,
        "verdict": verdict,
        "word": WORDS[verdict],
        "headline": headline(report),
        "variant": label(report, variant) if variant else DASH,
        "reason": variant["reason"] if variant else "",
        "machine": machine(report, variant),
        "tiles": _tiles(report, variant),
        "proxy": proxy(report["target"]),
        "learned": _learned(report),
        "checks": check_rows(report["gate"]),
        "variants": variant_rows(report),
        "mark": mark(report),
        "measures": measures(report),
        "confusion": confusion(accuracy),
        "classes": class_rows(accuracy),
        "time": where_time_goes(report),
        "search": search_sentence(report),
        "decisions": decision_rows(report),
        "remarks": remarks(report),
        "unmeasured": unmeasured(report),
        "sections": _sections(report),
    }


def _tiles(report: Report, variant: Mapping[str, Any] | None) -> list[tuple[str, str, str]]:
    """(name, number, how sure) of the four numbers that decide."""
    if variant is None:
        return []
    row = next(row for row in variant_rows(report) if row.name == variant["name"])
    accuracy, latency = variant["accuracy"] or {}, variant["latency"] or {}
    n = f"n = {accuracy['n']:,}" if accuracy else ""
    load = f"loads in {milliseconds(latency['load_ms'])}" if latency else ""
    return [
        _quality_tile(report, row, n),
        ("Median latency", row.p50, f"{row.p50_interval} p90 {row.p90}".strip() if latency else ""),
        ("File size", row.size, load),
        ("Against fp32", row.speedup, "median of fp32 / median of this"),
    ]


def _quality_tile(report: Report, row: VariantRow, n: str) -> tuple[str, str, str]:
    """Accuracy; without labels agreement and SQNR, or SQNR alone of outputs that decide nothing."""
    measure, second = measures(report)
    if measure == "Top-1":
        return "Top-1 accuracy", row.accuracy, f"{row.accuracy_interval} {n}".strip()
    if measure == "Micro F1":
        return "Micro F1 at 1/2", row.accuracy, f"{row.accuracy_interval} {n}".strip()
    if row.accuracy == DASH:
        return f"{second} against fp32", row.drop, n
    return measure, row.accuracy, f"{row.accuracy_interval} {n}, {second} {row.drop}".strip()


def proxy(target: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a proxy's numbers show and what they do not; None on the device itself."""
    if not target.get("proxy"):
        return None
    return {key: _listed(target.get(key)) for key in ("shows", "does_not_show")} | {"name": target.get("name", DASH)}


def _listed(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list | tuple) else [str(value or DASH)]


def _learned(report: Report) -> list[tuple[str, str, str]]:
    """(role, model, accuracy and more) of teacher and student."""
    rows = []
    for role in ("teacher", "student"):
        network = report[role]
        if network is not None:
            size = network["parameters"]
            known = "parameters unknown" if size is None else f"{fixed(size / 1e3)} k parameters"
            facts = f"{quality(network) or 'accuracy not measured'} on test, {known}"
            rows.append((role, network["model"], f"{facts}, {method(network)}" if role == "student" else facts))
    return rows


def _sections(report: Report) -> list[tuple[str, list[Fact]]]:
    """(title, facts) of everything that is folded away; empty ones are left out."""
    recipe = report["recipe"] or {}
    data = report["data"] or {}
    classes = [("classes", ", ".join(data["classes"]))] if data.get("classes") else []
    sections = [
        ("Target", flatten(report["target"])),
        ("Data", flatten(data) + classes),
        ("Teacher", flatten(report["teacher"])),
        ("Student", flatten(report["student"])),
        ("Export", flatten(report["export"])),
        ("Quantization-aware distillation", flatten(report["qat"])),
        ("How each variant was quantized", schemes(report)),
        ("Portability: 16-bit sums on CPUs without VNNI", portability(report)),
        ("Kernels that ran", kernel_facts(report)),
        ("Accuracy of every variant", _accuracy_facts(report)),
        ("Latency, memory and start-up of every variant", _latency_facts(report)),
        ("Environment", flatten(report["environment"])),
        ("Recipe", flatten(recipe) + flatten(recipe.get("values"))),
        ("Seconds a stage took", flatten(report["timings"])),
        ("Hashes of the variants", [(v["path"], v["sha256"]) for v in report["variants"] if v["path"]]),
    ]
    return [(title, facts) for title, facts in sections if facts]


def _accuracy_facts(report: Report) -> list[Fact]:
    names = {
        "top1": "top-1",
        "top5": "top-5",
        "micro_f1": "micro F1",
        "macro_f1": "macro F1",
        "map": "mean average precision",
        "exact_match": "every label right",
        "ece": "expected calibration error",
        "agreement_teacher": "agreement with the teacher",
        "agreement_fp32": "agreement with fp32",
    }
    facts = []
    for variant in report["variants"]:
        if accuracy := variant["accuracy"]:
            parts = [f"{name} {percent(accuracy[key])}" for key, name in names.items() if accuracy.get(key) is not None]
            sqnr = accuracy.get("sqnr_db")
            parts += [] if sqnr is None else [f"SQNR against fp32 {decibels(sqnr)}"]
            facts.append((variant["name"], ", ".join([*parts, f"n = {accuracy['n']:,}"])))
    return facts


def _latency_facts(report: Report) -> list[Fact]:
    return [
        (
            variant["name"],
            f"load {milliseconds(latency['load_ms'])} {interval(latency['load_low'], latency['load_high'])}, "
            f"first inference {milliseconds(latency['first_inference_ms'])}, "
            f"peak memory {size(latency['peak_rss_bytes'])}, {fixed(latency['throughput_per_s'])} samples/s, "
            f"warm-up {', '.join(map(str, latency['warmup_runs']))} runs, {latency['provider']}, {latency['isa']}, "
            f"{latency['threads']} of {latency['threads_requested']} threads, "
            f"spinning {'on' if latency['spinning'] else 'off'}",
        )
        for variant in report["variants"]
        if (latency := variant["latency"])
    ]
