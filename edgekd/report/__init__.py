"""The report of a run: report.json (the data), report.md, report.html and junit.xml (the same, for people and CI)."""

import importlib.util
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd import strict_json
from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.files import write_atomic
from edgekd.recheck import SCHEMA_VERSION
from edgekd.report.html import render as render_html
from edgekd.report.junit import render as render_junit
from edgekd.report.markdown import render as render_markdown
from edgekd.report.profile import write_profile as write_profile

FILES = ("report.json", "report.md", "report.html", "junit.xml")
"""What `write` makes."""
EXPECTED = "the report.json of a run (`edgekd run RECIPE`)"
VERDICTS = ("pass", "inconclusive", "fail")
OBJECT, OPTIONAL, LIST, TEXT = (dict,), (dict, type(None)), (list,), (str,)
REQUIRED: dict[str, tuple[type, ...]] = {
    "name": TEXT,
    "edgekd_version": TEXT,
    "created": TEXT,
    "recipe": OPTIONAL,
    "environment": OBJECT,
    "target": OBJECT,
    "data": OPTIONAL,
    "teacher": OPTIONAL,
    "student": OPTIONAL,
    "export": OPTIONAL,
    "qat": OPTIONAL,
    "search": OPTIONAL,
    "variants": LIST,
    "gate": OBJECT,
    "timings": OBJECT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """Where the files of one report are."""

    json: Path
    markdown: Path
    html: Path
    junit: Path


def check_packages() -> None:
    """Refuse before hours of measuring what would fail at the report.

    Raises:
        EnvironmentFault: jinja2 or matplotlib is not installed.
    """
    missing = [name for name in ("jinja2", "matplotlib") if importlib.util.find_spec(name) is None]
    if missing:
        raise EnvironmentFault(f'the HTML report needs {", ".join(missing)}; pip install "edgekd[report]"')


def write(report: Mapping[str, Any], folder: Path) -> Written:
    """The paths of report.json, report.md, junit.xml and report.html, written into `folder` (made if missing).

    Each file is replaced whole. The page comes last: a machine without its packages keeps the data and the verdict.

    Raises:
        EnvironmentFault: jinja2 or matplotlib is not installed; the other three files are written.
        OSError: the disk is full or the folder is read-only.
    """
    written = Written(
        json=folder / "report.json",
        markdown=folder / "report.md",
        html=folder / "report.html",
        junit=folder / "junit.xml",
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(written.json, dump(report))
    write_atomic(written.markdown, render_markdown(report))
    write_atomic(written.junit, render_junit(report))
    write_atomic(written.html, render_html(report))
    return written


def read(path: Path) -> dict[str, Any]:
    """The report in a report.json.

    Raises:
        BadInputError: missing, empty or truncated file, not JSON, a key that stands twice, NaN, another schema version,
            keys missing or of the wrong kind.
    """
    return checked(strict_json.read_object(path, what="report", expected=EXPECTED), path)


def checked(report: dict[str, Any], path: Path) -> dict[str, Any]:
    """The report, parsed from `path`, once it is known to be whole.

    Raises:
        BadInputError: as `read`.
    """
    if report.get("kind") == "language":
        raise BadInputError(
            f"report {path}: is of `edgekd language`; `edgekd gate` and `edgekd ci` read it, and the bundle to ship is "
            f"{path.parent / 'bundle'}, which the run made of the file that won"
        )
    version = report.get("schema_version")
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise BadInputError(
            f"report {path}: schema_version is {version!r}; this edgekd reads {SCHEMA_VERSION}. "
            "Run again, or use the edgekd that wrote it"
        )
    missing = [key for key in REQUIRED if key not in report]
    if missing:
        raise BadInputError(f"report {path}: no {', '.join(missing)}; expected a whole report. Run again")
    for key, kinds in REQUIRED.items():
        if not isinstance(report[key], kinds):
            raise BadInputError(f"report {path}: {key} is {report[key]!r:.40}; expected {_kind(kinds)}. Run again")
    if "name" not in report["target"]:
        raise BadInputError(f"report {path}: no target.name; was it edited? Run again")
    if report["gate"].get("verdict") not in VERDICTS:
        raise BadInputError(
            f"report {path}: gate.verdict is {report['gate'].get('verdict')!r}; expected one of {', '.join(VERDICTS)}"
        )
    if "variant" not in report["gate"]:
        raise BadInputError(f"report {path}: no gate.variant; was it edited? Run again")
    return report


def _kind(kinds: tuple[type, ...]) -> str:
    words = {dict: "an object", list: "a list", str: "text", type(None): "null"}
    return " or ".join(words[kind] for kind in kinds)


def dump(report: Mapping[str, Any]) -> str:
    """Indented JSON with every flat list on one line: thousands of samples would be thousands of lines.

    A string holds no raw newline, so what follows `[` and a newline is a list.
    """
    text = json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False)
    return re.sub(r'\[\n[^\[\]{}"]*\]', lambda found: re.sub(r"\s+", "", found[0]).replace(",", ", "), text) + "\n"
