"""A result in a sentence, the conditions it holds under, and what to do where it decides nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekd.ci.document import Document, worst
from edgekd.language import report as language
from edgekd.recheck import number
from edgekd.report.facts import machine
from edgekd.report.rows import check_rows, chosen
from edgekd.report.rows import headline as report_headline
from edgekd.report.wording import NBSP, WORDS, change, plural

MORE = {
    "time": "Give it more time (`--max-seconds`), run it on a machine with less to do beside it, or count instructions "
    "instead of time (`--metric instructions`), which other jobs on the machine cannot disturb.",
    "instructions": "Run it again; a count that differs from run to run is of a model whose work is random.",
    "run": "Measure longer (`[validate] seconds`), or test on more samples; each check's note says which.",
}
TIMES = ("is", "faster than", "slower than", "as fast as")
RATIOS = {
    "ratio_p50": TIMES,
    "ratio_p90": TIMES,
    "ratio_instructions": ("needs", "fewer instructions than", "more instructions than", "as many instructions as"),
    "ratio_size": ("is", "smaller than", "bigger than", "as big as"),
}
"""Metric of a check -> verb, and what is said below, above and at 1."""
EXIT_3 = "This is exit code 3: nothing is known to be wrong, and nothing is proved."


def headline(document: Document) -> str:
    """`PASS: new.onnx is 3.1 % faster than base.onnx (95 % interval −4.0 to −2.2 %), limit +5 %`."""
    says = {"compare": _compared, "baseline": _compared, "latency": _budgeted, "run": _run, "language": _language}
    sentence = " ".join(says[document.kind](document).split())  # names may hold newlines
    return f"{WORDS[document.verdict]}: {sentence}".replace("##[", "## [")  # GitHub's older workflow commands


def overview(documents: Sequence[Document]) -> str:
    """The worst verdict and how many results have it; the one result's own sentence where there is one."""
    if len(documents) == 1:
        return headline(documents[0])
    verdict = worst(documents)
    count = sum(document.verdict == verdict for document in documents)
    return f"{WORDS[verdict]}: {count} of {plural(len(documents), 'result')}"


def conditions(document: Document) -> str:
    """Target, machine and session in a line: without them no number means anything."""
    target = document.content["target"]
    parts = [f"Target {document.target}"]
    if target.get("proxy"):
        parts[0] += " by proxy: measured on this machine, not on the device"
    if document.kind == "run":
        return ". ".join([*parts, machine(document.content, chosen(document.content))])
    if document.kind == "language":
        return ". ".join([*parts, language.conditions(document.content).partition(", target ")[0]])
    parts += [_machine(document.content), f"edgekd {document.content['edgekd']}", _files(document.content)]
    return ". ".join(part for part in parts if part)


def warnings(document: Document) -> list[str]:
    """What makes the numbers less trustworthy."""
    return [str(text) for text in (document.content.get("conditions") or {}).get("warnings") or ()]


def advice(document: Document) -> str:
    """What to do where the verdict is inconclusive, else nothing; Markdown, none of it from the document."""
    if document.verdict != "inconclusive":
        return ""
    return f"{MORE.get(document.content.get('metric', 'run'), MORE['run'])} {EXIT_3}"


def _compared(document: Document) -> str:
    """The ratio that decides, in words; and what decides beside it, where no ratio does."""
    new, base = _names(document.content)
    checks, rows = document.gate["checks"], check_rows(document.gate)
    ratios = [index for index, check in enumerate(checks) if check["unit"] == "x"]
    deciding = [index for index, check in enumerate(checks) if check["verdict"] == document.verdict]
    if not ratios:
        return f"{new} could not be compared with {base}"
    index = next((index for index in ratios if index in deciding), ratios[0])
    beside = "" if index in deciding or not deciding else f"; but {rows[deciding[0]].name}: {rows[deciding[0]].note}"
    value = number(checks[index], "value")
    if value is None:
        return f"{new} could not be compared with {base}{beside}"
    said = _difference(value, str(checks[index]["metric"]))
    at = " at p90" if checks[index]["metric"] == "ratio_p90" else ""
    error = number(document.content["measured"], "error")
    span = _span(number(checks[index], "low"), number(checks[index], "high"), 0.95 if error is None else 1 - 2 * error)
    return f"{new} {said} {base}{at}{span}, limit {rows[index].limit.removeprefix('≤ ')}{beside}"


def _difference(ratio: float, metric: str) -> str:
    verb, less, more, same = RATIOS.get(metric, RATIOS["ratio_p50"])
    size = change(ratio).lstrip("+−")
    return f"{verb} {same}" if size.startswith("0.0") else f"{verb} {size} {less if ratio < 1 else more}"


def _span(low: float | None, high: float | None, level: float) -> str:
    if low is None or high is None or low == high:
        return ""
    return f" ({100 * level:.3g}{NBSP}% interval {change(low).removesuffix(f'{NBSP}%')} to {change(high)})"


def _budgeted(document: Document) -> str:
    """The first check that has the gate's verdict, and how many there are beside it."""
    rows = check_rows(document.gate)
    if not rows:
        return f"no limit was set to judge {document.name} by"
    row = next(row for row in rows if row.verdict == document.verdict)
    found = f"{row.value} {row.interval}".strip()
    beside = f"; {plural(len(rows) - 1, 'more limit')} beside it" if len(rows) > 1 else ""
    return f"{document.name}: {row.name} {found}, limit {row.limit}{beside}"


def _run(document: Document) -> str:
    return f"{document.name}: {report_headline(document.content)}"


def _language(document: Document) -> str:
    return language.headline(document.content)


def _names(content: Mapping[str, Any]) -> tuple[str, str]:
    """File names, or the paths as they were named where both files have the same name."""
    new, base = str(content["model"]["path"]), str((content["base"] or {}).get("path", "no base"))
    if content["kind"] == "baseline":  # mostly an earlier file of the same path
        return Path(new).name, "its baseline"
    short = Path(new).name, Path(base).name
    return short if short[0] != short[1] else (new, base)


def _machine(content: Mapping[str, Any]) -> str:
    known, environment = content["conditions"], content["environment"]
    threads, asked = known.get("threads"), known.get("threads_requested")
    provider = str(known.get("provider", "")).removesuffix("ExecutionProvider")
    parts = [
        environment.get("cpu_model"),
        known.get("isa"),
        threads and plural(threads, "thread") + (f" of {asked} asked for" if asked and asked > threads else ""),
        known.get("onnxruntime") and f"onnxruntime {known['onnxruntime']} ({provider})",
        known.get("batch_size") and f"batch {known['batch_size']}",
        known.get("inputs") and f"inputs: {known['inputs']}",
        f"machine {content['fingerprint']}",
    ]
    return ", ".join(str(part) for part in parts if part)


def _files(content: Mapping[str, Any]) -> str:
    files = [content["model"]]
    if content["base"] and content["kind"] != "latency":  # of a budget it is edgekd's own reference workload
        files.append(content["base"])
    return ", ".join(f"{Path(file['path']).name} {file['sha256'][:12]}" for file in files)
