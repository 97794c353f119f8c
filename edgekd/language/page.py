"""A language run's report as one self-contained page, and all four files of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekd.files import write_atomic
from edgekd.language import charts
from edgekd.language.report import (
    ARM_HEADER,
    FILE_HEADER,
    arm_rows,
    conditions,
    facts,
    headline,
    variant_rows,
    with_ends,
)
from edgekd.language.report import render as render_markdown
from edgekd.report import FILES, dump, junit
from edgekd.report.facts import flatten
from edgekd.report.html import proxy
from edgekd.report.rows import check_rows
from edgekd.report.template import fill
from edgekd.report.wording import WORDS, fixed, size

NETWORKS_HINT = "To the student's: perplexity over that of the recipe's own student on the same blocks, paired."
FILES_HINT = (
    "Bits and perplexity as ONNX Runtime computes them on the test blocks. Perplexity to the teacher's: paired by "
    "block; to that of the student in torch where there is no teacher."
)


def write(report: Mapping[str, Any], folder: Path) -> None:
    """report.json, report.md, junit.xml and report.html in `folder`, each the old or the whole new file.

    Raises:
        EnvironmentFault: jinja2 or matplotlib is not installed; the other three files are written.
        OSError: the disk is full or the folder is read-only.
    """
    json, markdown, html, xml = (folder / name for name in FILES)
    write_atomic(json, dump(report))
    write_atomic(markdown, render_markdown(report))
    write_atomic(xml, junit.render(report))
    write_atomic(html, render(report))


def render(report: Mapping[str, Any]) -> str:
    """The page as text. Every word of the report is escaped; equal input gives equal text.

    Raises:
        EnvironmentFault: jinja2 or matplotlib is not installed.
    """
    gate = report["gate"]
    drawn = (charts.bits_against_time(report), charts.learning(report))
    return fill(
        "language.html",
        report=report,
        verdict=gate["verdict"],
        word=WORDS[gate["verdict"]],
        headline=headline(report),
        variant=gate["variant"],
        conditions=conditions(report),
        proxy=proxy(report["target"]),
        tiles=_tiles(report),
        checks=check_rows(gate),
        tables=[
            ("Files", FILE_HEADER, _two_lines(variant_rows(report)), FILES_HINT),
            ("Networks", ARM_HEADER, _two_lines(arm_rows(report)), NETWORKS_HINT),
        ],
        charts=[chart for chart in drawn if chart],
        facts=facts(report),
        sections=_sections(report),
    )


def _two_lines(rows: Sequence[Sequence[str]]) -> list[list[tuple[str, str]]]:
    """Each cell as what stands large and what stands small below; the last column, which is text, as it is."""
    return [[*map(_cell, row[:-1]), (row[-1], "")] for row in rows]


def _cell(text: str) -> tuple[str, str]:
    value, found, more = text.partition(" (")
    if found:
        return value, more.removesuffix(")")
    value, _, more = text.partition(", ")
    return value, more


def _tiles(report: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(name, number, how sure) of the four numbers that decide."""
    file = next(variant for variant in report["variants"] if variant["selected"])
    token, prefill = file["token"], file["prefill"]
    ratio, bits = (
        with_ends(numbers, name, 4).partition(" ")
        for numbers, name in ((file["ratio"], "perplexity_ratio"), (file["test"], "bits_per_character"))
    )
    return [
        ("Perplexity to the teacher's", f"{ratio[0]}×", ratio[2]),
        ("Bits a character", bits[0], bits[2]),
        ("Next token", f"{fixed(token['p50_ms'])} ms", f"{prefill['tokens_per_second']:,.0f} tokens/s read at once"),
        ("File size", size(file["size_bytes"]), f"n = {token['n']:,} timed tokens"),
    ]


def _sections(report: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """(title, facts) of everything that is folded away."""
    recipe = report["recipe"]
    return [
        ("Target", flatten(report["target"])),
        ("Text", flatten(report["data"])),
        ("Export", flatten(report["export"])),
        ("Environment", flatten(report["environment"])),
        ("Recipe", flatten(recipe) + flatten(recipe["values"])),
        ("Seconds a stage took", flatten(report["timings"])),
        ("Hashes of the files", [(file["path"], file["sha256"]) for file in report["variants"] if file["path"]]),
    ]
