"""`ci`: the verdicts of result files, told in every form that a CI system reads."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgekd.cli import console
from edgekd.cli.options import JsonOption, file
from edgekd.errors import ExitCode

if TYPE_CHECKING:
    from edgekd.ci import Document

RESULTS_HELP = "Files from --out of `edgekd compare`, `latency` or `baseline compare`, or a report.json."
SUMMARY_HELP = "Job summary in Markdown. Default: added to $GITHUB_STEP_SUMMARY where that is set."


def _out(name: str, text: str) -> Any:
    return typer.Option(name, parser=file, metavar="<path>", help=text, show_default=False)


def ci(
    results: Annotated[list[Path], typer.Argument(metavar="RESULT...", help=RESULTS_HELP, show_default=False)],
    junit: Annotated[Path | None, _out("--junit", "JUnit XML, a test case a check.")] = None,
    summary: Annotated[Path | None, _out("--summary", SUMMARY_HELP)] = None,
    comment: Annotated[Path | None, _out("--comment", "Body of a pull-request comment, in Markdown.")] = None,
    benchmark: Annotated[Path | None, _out("--benchmark", "JSON for github-action-benchmark.")] = None,
    bencher: Annotated[Path | None, _out("--bencher", "JSON for Bencher.")] = None,
    annotations: Annotated[
        bool | None,
        typer.Option(help="GitHub annotations in the log. Default: where GITHUB_ACTIONS is true.", show_default=False),
    ] = None,
    allow_inconclusive: Annotated[
        bool,
        typer.Option("--allow-inconclusive", help="Exit 0 instead of 3 where nothing is proved; every text says so."),
    ] = False,
    json_: JsonOption = False,
) -> int:
    """Answer with the worst verdict of result files, and tell it to a CI system."""
    from edgekd import ci as told
    from edgekd.gate import exit_code

    documents = [told.read(path) for path in results]
    asked = {"junit": junit, "summary": summary, "comment": comment, "benchmark": benchmark, "bencher": bencher}
    told.publish(documents, outs={name: path for name, path in asked.items() if path is not None})
    if summary is None and (step := os.environ.get("GITHUB_STEP_SUMMARY")):
        told.add_summary(documents, Path(step))
    if annotations or (annotations is None and os.environ.get("GITHUB_ACTIONS") == "true"):
        log = sys.stderr if json_ else sys.stdout  # GitHub reads both; a program reads stdout
        print("\n".join(told.annotations(documents)), file=log)
    verdict = told.worst(documents)
    allowed = allow_inconclusive and verdict == "inconclusive"
    code = ExitCode.PASS if allowed else exit_code(verdict)
    if json_:
        console.print_json(_as_json(documents, verdict=verdict, code=code))
    else:
        _show(documents)
    if allowed:
        console.warn("inconclusive is allowed here (--allow-inconclusive): nothing was proved, and the exit code is 0")
    return int(code)


def _as_json(documents: list["Document"], *, verdict: str, code: ExitCode) -> dict[str, Any]:
    from edgekd.ci import headline

    return {
        "verdict": verdict,
        "exit_code": int(code),
        "results": [
            {
                "path": str(document.path),
                "kind": document.kind,
                "name": document.name,
                "target": document.target,
                "headline": headline(document),
                **document.gate,
            }
            for document in documents
        ],
    }


def _show(documents: list["Document"]) -> None:
    from edgekd import ci as told

    for document in documents:
        console.say(told.headline(document))
        for text in told.warnings(document):
            console.warn(text)
        if told.advice(document):
            console.say(f"  {told.advice(document)}")
    if len(documents) > 1:
        console.say(told.overview(documents))
