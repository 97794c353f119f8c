"""What a person sees: progress on stderr, tables on stdout, colour only on a terminal."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from edgekd.progress import Listener, Progress

if TYPE_CHECKING:
    from edgekd.pipeline import Step

LOG_WIDTH = 160
"""Columns where there is no terminal: a log has no width of its own, and folded tables are hard to read."""

stdout = Console(highlight=False, emoji=False, soft_wrap=True, width=None if sys.stdout.isatty() else LOG_WIDTH)
stderr = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)

VERDICT_STYLE = {"pass": "bold green", "inconclusive": "bold yellow", "fail": "bold red"}


def print_json(value: Any) -> None:
    """`value` as JSON on stdout, for programs: in ASCII, which every encoding of stdout can say."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


@contextmanager
def progress() -> Iterator[Listener]:
    """A listener that draws a bar a stage with ETA on a terminal, and a line a stage and minute elsewhere."""
    if stderr.is_terminal:
        with _bars() as bars:
            yield _Drawn(bars)
    else:
        yield _Lines()


@contextmanager
def timing() -> Iterator[Listener]:
    """As `progress`, for a command that measures latency: it warns first if another edgekd is at that."""
    from edgekd.alone import alone

    with alone() as disturbed, progress() as listener:
        if disturbed:
            warn(disturbed)
        yield listener


def _bars() -> Bars:
    return Bars(
        SpinnerColumn(),
        TextColumn("{task.description:<9}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
        console=stderr,
    )


class _Drawn:
    def __init__(self, bars: Bars) -> None:
        self.bars, self.tasks = bars, dict[str, TaskID]()

    def __call__(self, progress: Progress) -> None:
        if progress.stage not in self.tasks:
            self.tasks[progress.stage] = self.bars.add_task(progress.stage, total=progress.total, note="")
        task = self.tasks[progress.stage]
        self.bars.update(task, completed=progress.done, total=progress.total, note=escape(progress.note))


class _Lines:
    """For logs: a line when a stage starts, at every tenth of it, and when it is done."""

    def __init__(self) -> None:
        self.last: dict[str, int] = {}

    def __call__(self, progress: Progress) -> None:
        tenth = int(10 * progress.done / progress.total) if progress.total else 10
        if self.last.get(progress.stage) != tenth:
            self.last[progress.stage] = tenth
            note = f"  {progress.note}" if progress.note else ""
            print(f"{progress.stage:<9} {10 * tenth:3d}%{note}", file=sys.stderr, flush=True)


def say(text: str) -> None:
    """A line on stdout as it is: what looks like rich's markup, in a path, stays text."""
    stdout.print(text, markup=False)


def warn(text: str) -> None:
    """A line on stderr that a reader should not miss."""
    print(f"warning: {text}", file=sys.stderr)


def portability_line(report: Mapping[str, Any]) -> None:
    """How far the file's outputs on another instruction set are from the machine's own."""
    found = next(variant["portability"] for variant in report["variants"] if variant["selected"])
    step = "" if found["output_step"] is None else f", a step of the output is {found['output_step']:.4g}"
    apart = "bit-equal" if found["bit_equal"] else f"outputs up to {found['max_difference']:.4g} apart{step}"
    alike = "with the same labels" if report["data"].get("task") == "multi-label" else "in the same class"
    same = f"{found['top1_same']} of {found['n']} samples {alike}"
    say(f"{found['isa']} against {found['native_isa']}: {same}, {apart}")


def bundle_line(folder: Path, gate: Mapping[str, Any]) -> None:
    """Where the bundle is, and that it is not to ship where the gate failed."""
    note = " (the gate failed: for inspection, not to ship)" if gate["verdict"] == "fail" else ""
    say(f"bundle  {folder}{note}")


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str | None = None) -> None:
    """A plain table on stdout; the first column to the left, what looks like numbers to the right."""
    drawn = Table(title=title and escape(title), title_justify="left", box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(columns):
        cells = [row[index] for row in rows]
        number = bool(cells) and all(cell[:1].isdigit() or cell[:1] in "–-<" for cell in cells)
        drawn.add_column(name, justify="right" if number else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(escape(cell) for cell in row))
    stdout.print(drawn)


def plan(steps: "Sequence[Step]", folder: Path, as_json: bool) -> int:
    """What a run would do: each stage, and whether it is there. Always 0: nothing was judged."""
    rows = [(step.name, "cached" if step.cached else "run") for step in steps]
    if as_json:
        print_json({"folder": str(folder), "stages": dict(rows)})
    else:
        table(["stage", "what happens"], rows, title=f"plan for {folder}")
    return 0


def cached_line(cached: Sequence[str]) -> None:
    """On stderr, which stages were there already."""
    if cached:
        stderr.print(f"unchanged, not run again: {', '.join(cached)}")


def variants_table(report: Mapping[str, Any]) -> None:
    """The table of variants: what each measured, and why it ships or does not."""
    from edgekd.report.rows import quality_key

    rows, quality = [], quality_key(report)
    base = next((v["latency"]["p50_ms"] for v in report["variants"] if v["latency"]), None)
    for variant in report["variants"]:
        accuracy, latency = variant["accuracy"] or {}, variant["latency"] or {}
        p50 = latency.get("p50_ms")
        rows.append(
            [
                ("▶ " if variant["selected"] else "  ") + variant["name"],
                _number(variant["size_bytes"] and variant["size_bytes"] / 1024, "{:.0f} KiB"),
                _percent(accuracy.get(quality)),
                _percent(accuracy.get("agreement_fp32")),
                _number(p50, "{:.3f} ms"),
                _number(latency.get("p90_ms"), "{:.3f} ms"),
                _number(p50 and base and base / p50, "{:.2f}x"),
                (variant["gate"] or {}).get("verdict", "–"),
                variant["reason"],
            ]
        )
    table(
        [
            "variant",
            "size",
            "top-1" if quality == "top1" else "micro F1",
            "as fp32",
            "p50",
            "p90",
            "speed",
            "gate",
            "reason",
        ],
        rows,
    )
    timed = next((v["latency"] for v in report["variants"] if v["latency"]), None)
    if timed:
        stdout.print(_conditions(timed), style="dim")


def _conditions(latency: Mapping[str, Any]) -> str:
    """Under which conditions the times hold, in a line."""
    asked = latency["threads_requested"]
    of = f" of the {asked} asked for (no more cores are granted)" if asked > latency["threads"] else ""
    return (
        f"{latency['isa']}, {latency['threads']} thread(s){of}, {latency['provider']}, batch {latency['batch_size']}, "
        f"n = {latency['n']:,} in {latency['rounds']} fresh processes, onnxruntime {latency['onnxruntime']}"
    )


def verdict_table(gate: Mapping[str, Any], target: Mapping[str, Any], *, level: str = "95 %") -> None:
    """Each check of the gate with value, interval of that level and limit, then the verdict."""
    rows = [
        [
            check["name"],
            _value(check["value"], check["unit"]),
            f"{_value(check['low'], check['unit'])} to {_value(check['high'], check['unit'])}"
            if check["low"] is not None or check["high"] is not None
            else "–",
            _limit(check["limit"], check["unit"]),
            check["source"],
            check["verdict"],
            check["note"],
        ]
        for check in gate["checks"]
    ]
    if rows:
        table(["check", "value", f"{level} interval", "limit", "set by", "verdict", "note"], rows)
    stdout.print()
    style = VERDICT_STYLE[gate["verdict"]]
    proxy = " (proxy: measured on this machine)" if target.get("proxy") else ""
    stdout.print(f"[{style}]{gate['verdict'].upper()}[/] {escape(gate['variant'])} on {escape(target['name'])}{proxy}")


def measured(found: Mapping[str, Any]) -> None:
    """A result document: what was measured under which conditions, each check, the verdict."""
    conditions, numbers = found["conditions"], found["measured"]
    for warning in conditions["warnings"]:
        warn(warning)
    if conditions.get("evaluated"):
        stderr.print(f"accuracy on {conditions['evaluated']}", markup=False, highlight=False)
    if numbers.get("cycles"):
        names = ("new", "base") if found["kind"] == "compare" else ("",)
        rows = [
            [
                found["model" if name != "base" else "base"]["path"],
                *(_number(numbers[key], "{:.3f} ms") for key in keys),
            ]
            for name in names
            for keys in [[f"{name}_{q}_ms".lstrip("_") for q in ("p50", "p90")]]
        ]
        table(["file", "p50", "p90"], rows)
    stdout.print(_circumstances(found), style="dim", markup=False)
    stdout.print()
    error = numbers.get("error")
    verdict_table(found["gate"], found["target"], level="95 %" if error is None else f"{100 * (1 - 2 * error):.3g} %")


def _circumstances(found: Mapping[str, Any]) -> str:
    conditions, numbers = found["conditions"], found["measured"]
    parts = [conditions["isa"], f"{conditions['threads']} thread(s)", conditions["provider"]]
    parts += [f"batch {conditions['batch_size']}", f"inputs: {conditions['inputs']}"]
    parts += [f"onnxruntime {conditions['onnxruntime']}"] if conditions.get("onnxruntime") else []
    if numbers.get("cycles"):
        parts += [f"n = {numbers['n']:,.0f} each in {numbers['cycles']:.0f} interleaved cycles"]
    if conditions.get("designed_error"):
        parts += [f"wrong for at most {100 * conditions['designed_error']:g} % of files on the limit, each way"]
    if conditions.get("normalised_to"):
        parts += [f"normalised to {conditions['normalised_to']['cpu']}"]
    return ", ".join(parts)


def _value(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    if unit == "bytes":
        return f"{value:,.0f} B"
    if unit in ("instructions", "outputs"):
        return f"{value:,.0f}"
    if unit == "x":
        return f"{value:.3f}x"
    return f"{value:.3f} {unit}" if unit in ("ms", "dB") else f"{value:.4f}"


def _limit(value: float, unit: str) -> str:
    """As its author wrote it: how much slower a ratio may be, in per cent."""
    return f"{100 * (value - 1):+.4g} %" if unit == "x" else _value(value, unit)


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
