"""The report as Markdown short enough for a pull-request comment."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from edgekd.report.facts import machine, method, quality
from edgekd.report.quantization import remarks, saturation, search_sentence, unmeasured
from edgekd.report.rows import VariantRow, check_rows, chosen, headline, mark, measures, variant_rows
from edgekd.report.wording import DASH, WORDS, fixed, plural

ICONS = {"pass": "✅", "fail": "❌", "inconclusive": "❔"}
WORST_FIRST = ("fail", "inconclusive", "pass")
MOST_ROWS = 20


def render(report: Mapping[str, Any]) -> str:
    """The Markdown text: headline, gate, variants, student and teacher, footnote. Under 60 lines."""
    verdict = report["gate"]["verdict"]
    rows = variant_rows(report)
    lines = [f"## {ICONS[verdict]} {WORDS[verdict]}: {escape(headline(report))}", ""]
    lines += gate_table(report["gate"])
    lines += _variant_table(rows[:MOST_ROWS], measures=measures(report), mark=mark(report))
    if len(rows) > MOST_ROWS:
        lines += ["", f"… and {plural(len(rows) - MOST_ROWS, 'variant')} more in report.html."]
    lines += ["", _student_line(report), "", *_quantization_lines(report), _footnote(report)]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """`text` as one line of plain words: no Markdown, no HTML, no table cell of its own, no @mention."""
    text = re.sub(r"([\\`*|\[\]~#$])", r"\\\1", " ".join(text.split()))
    text = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("@", "&#64;")


def gate_table(gate: Mapping[str, Any]) -> list[str]:
    """The lines of a table of the checks, the notes of those that do not pass, and an empty line."""
    rows = check_rows(gate)
    if not rows:
        return ["No limit was set: nothing was judged.", ""]
    left_out = max(0, len(rows) - MOST_ROWS)
    if left_out:
        rows = sorted(rows, key=lambda row: WORST_FIRST.index(row.verdict))[:MOST_ROWS]
    cells = [
        (row.name, _pair(row.value, row.interval), row.limit, row.source, f"{ICONS[row.verdict]} {row.verdict}")
        for row in rows
    ]
    notes = [f"{row.name}: {row.note}" for row in rows if row.note and row.verdict != "pass"]
    return [
        *_table(("Check", "Value", "Limit", "Source", "Verdict"), cells, numeric=(1, 2)),
        *([f"\n… and {plural(left_out, 'check')} more, none of them worse."] if left_out else []),
        "",
        *(f"- {escape(note)}" for note in notes),
        *([""] if notes else []),
    ]


def _variant_table(rows: list[VariantRow], *, measures: tuple[str, str], mark: str) -> list[str]:
    cells = [
        (
            f"{row.name} ← {mark}" if row.selected else row.name,
            row.size,
            _pair(row.accuracy, row.accuracy_interval),
            row.drop,
            _pair(row.p50, row.p50_interval),
            row.speedup,
            f"{ICONS.get(row.verdict, DASH)} {row.reason or row.verdict}",
        )
        for row in rows
    ]
    header = ("Variant", "Size", *measures, "p50", "Speed-up", "Result")
    return _table(header, cells, numeric=(1, 2, 3, 4, 5))


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]], *, numeric: tuple[int, ...]) -> list[str]:
    rule = ["--:" if index in numeric else ":--" for index in range(len(header))]
    body = [[escape(cell) for cell in row] for row in rows]
    return ["| " + " | ".join(cells) + " |" for cells in (header, rule, *body)]


def _student_line(report: Mapping[str, Any]) -> str:
    student, teacher = report["student"], report["teacher"]
    if student is None:
        return "No training: the model was brought, not distilled."
    text = f"Student {student['model']} ({fixed(student['parameters'] / 1e3)} k parameters): "
    text += quality(student) or "accuracy not measured"
    if teacher is not None:
        text += f"; teacher {teacher['model']}: {quality(teacher) or DASH}"
    return escape(f"{text}. Method: {method(student)}.")


def _quantization_lines(report: Mapping[str, Any]) -> list[str]:
    """How the chosen file was quantized, and what to know of it."""
    variant, lines = chosen(report), [*unmeasured(report), *remarks(report)]
    if variant and variant.get("description"):
        lines = [f"{variant['name']}: {variant['description']}; {saturation(variant)}", *lines]
    if variant and variant.get("kernels"):
        lines.append(variant["kernels"]["sentence"])
    if report["search"]:
        lines.append(f"Search: {search_sentence(report)}")
    return [*(f"- {escape(line)}" for line in lines), *([""] if lines else [])]


def _footnote(report: Mapping[str, Any]) -> str:
    variant, target = chosen(report), report["target"]
    parts = [machine(report, variant), f"edgekd {report['edgekd_version']}", _overrides(report)]
    if target.get("proxy"):
        parts.append(
            f"Proxy for {target.get('name', DASH)}: shows {_sentence(target.get('shows'))}; "
            f"does not show {_sentence(target.get('does_not_show'))}"
        )
    return "<sub>" + escape(". ".join(part.rstrip(".") for part in parts if part)) + ".</sub>"


def _overrides(report: Mapping[str, Any]) -> str:
    changed = (report["recipe"] or {}).get("overrides") or ()
    return "Not the recipe as it is written: " + " ".join(f"--set {text}" for text in changed) if changed else ""


def _sentence(text: Any) -> str:
    joined = ", ".join(text) if isinstance(text, list | tuple) else str(text or DASH)
    return joined.rstrip(".")


def _pair(value: str, ends: str) -> str:
    return f"{value} {ends}".strip()
