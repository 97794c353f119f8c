"""A language run's report as Markdown, and the rows of its tables, which the page and the terminal show too."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekd.report.markdown import escape, gate_table
from edgekd.report.wording import DASH, WORDS, fixed

KIND, SCHEMA_VERSION = "language", 2

ARM_HEADER = ("Network", "Bits a character", "Perplexity", "To the student's", "Parameters", "Trained")
FILE_HEADER = ("File", "Size", "Bits a character", "Perplexity to the teacher's", "Prefill", "Next token", "Result")


def render(report: Mapping[str, Any]) -> str:
    """The report as Markdown: verdict, limits, what each network is worth, each file, conditions."""
    gate = report["gate"]
    lines = [f"## {WORDS[gate['verdict']]}: {escape(headline(report))}", ""]
    lines += gate_table(gate)
    lines += _table(ARM_HEADER, arm_rows(report))
    lines += _table(FILE_HEADER, variant_rows(report))
    return "\n".join([*lines, *(f"- {escape(fact)}" for fact in facts(report))]) + "\n"


def headline(report: Mapping[str, Any]) -> str:
    """The verdict in one sentence."""
    gate = report["gate"]
    name, where = f"{report['name']}, {gate['variant']}", f"on {report['target']['name']}"
    if gate["verdict"] == "pass":
        return f"{name}, ships {where}"
    if gate["verdict"] == "fail":
        return f"{name}: misses a limit {where}"
    return f"{name}: undecided {where}" + ("" if gate["checks"] else ", no limit was set")


def facts(report: Mapping[str, Any]) -> list[str]:
    """What the numbers are of and where they were measured, a sentence each."""
    data = report["data"]
    words = data["vocabulary"]
    told = [
        f"Text: {', '.join(Path(source).name for source in data['sources'])}, {data['characters']:,} characters "
        f"(SHA-256 {data['sha256'][:12]}), {words['size']} {words['kind']}, context {data['context']}. Bits and "
        f"perplexity on {data['blocks']['test']} test blocks, 95 % intervals over them.",
        f"Prefill: {data['context']} tokens at once. Next token: one, after {data['context'] - 1} that are kept.",
        conditions(report),
    ]
    if report["target"]["proxy"]:
        told.append("Times are a proxy: measured on this machine, not on the device.")
    changed = report["recipe"]["overrides"]
    if changed:
        told.append("Not the recipe as it is written: " + " ".join(f"--set {text}" for text in changed))
    return told


def conditions(report: Mapping[str, Any]) -> str:
    """The machine and the session, in a sentence."""
    environment, session = report["environment"], report["session"]
    return (
        f"{environment['cpu_model']} ({environment['isa']}), {session['threads']} thread(s), {session['provider']}, "
        f"onnxruntime {environment['packages'].get('onnxruntime', DASH)}, target {report['target']['name']}."
    )


def arm_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Teacher, student and what it was compared with, as a table's cells."""
    rows: list[tuple[str, ...]] = []
    for arm in report["arms"]:
        scores = arm["test"]
        knobs = ", ".join(f"{name} {value:.3g}" for name, value in arm["knobs"].items())
        trained = DASH if arm["seconds"] is None else f"{arm['steps']:,} steps, {arm['seconds']:.0f} s"
        rows.append(
            (
                f"{arm['name']}{f' ({knobs})' if knobs else ''}",
                with_ends(scores, "bits_per_character", 4),
                with_ends(scores, "perplexity", 4),
                with_ends(arm["ratio"], "perplexity_ratio", 4),
                f"{arm['parameters']:,}",
                trained,
            )
        )
    return rows


def variant_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Each file as a table's cells."""
    rows: list[tuple[str, ...]] = []
    for variant in report["variants"]:
        if variant["sha256"] is None:
            rows.append((variant["name"], *[DASH] * 5, variant["reason"]))
            continue
        prefill, token = variant["prefill"], variant["token"]
        rows.append(
            (
                ("▶ " if variant["selected"] else "") + variant["name"],
                f"{variant['size_bytes'] / 1024:,.0f} KiB",
                with_ends(variant["test"], "bits_per_character", 4),
                with_ends(variant["ratio"], "perplexity_ratio", 4),
                f"{fixed(prefill['p50_ms'])} ms, {prefill['tokens_per_second']:,.0f} tokens/s",
                f"{fixed(token['p50_ms'])} ms, {token['tokens_per_second']:,.0f} tokens/s",
                f"{variant['gate']['verdict']}: {variant['reason']}",
            )
        )
    return rows


def with_ends(numbers: Mapping[str, Any], name: str, digits: int) -> str:
    """The number under `name`, and the ends of its interval."""
    low, high = (numbers[f"{name}_{end}"] for end in ("low", "high"))
    ends = (
        f"{fixed(low, digits=digits)} to {fixed(high, digits=digits)}" if low is not None and high is not None else DASH
    )
    return f"{fixed(numbers[name], digits=digits)} ({ends})"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    body = [[escape(cell) for cell in row] for row in rows]
    return ["| " + " | ".join(cells) + " |" for cells in (header, [":--"] * len(header), *body)] + [""]
