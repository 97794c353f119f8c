"""GitHub annotations: workflow commands on the job's log that show up on the pull request.

Syntax and escaping: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from edgekd.ci.document import Document
from edgekd.ci.wording import headline
from edgekd.report.rows import CheckRow, check_rows

KINDS = {"fail": "error", "inconclusive": "warning", "pass": "notice"}
MOST = 10
"""How many annotations of a kind GitHub keeps of one step."""


def annotations(documents: Sequence[Document]) -> list[str]:
    """One line a check that does not pass, and one a document whose checks all do; at most ten of a kind."""
    every = [line for document in documents for line in _lines(document)]
    counts = Counter(kind for kind, *_ in every)
    shown: Counter[str] = Counter()
    lines = []
    for kind, title, message in every:
        shown[kind] += 1
        if counts[kind] <= MOST or shown[kind] < MOST:
            lines.append(f"::{kind} title={_property(title)}::{_data(message)}")
        elif shown[kind] == MOST:
            left_out = counts[kind] - MOST + 1
            lines.append(f"::{kind} title=edgekd::{left_out} more like this; the job summary has them all")
    return lines


def _lines(document: Document) -> Iterator[tuple[str, str, str]]:
    """(kind, title, message)"""
    title = f"edgekd {document.verdict}: {document.name} on {document.target}"
    rows = [row for row in check_rows(document.gate) if row.verdict != "pass"]
    if not rows:
        yield KINDS[document.verdict], title, headline(document)
    for row in rows:
        yield KINDS[row.verdict], f"{title}, {row.name}", _message(document, row)


def _message(document: Document, row: CheckRow) -> str:
    found = f"{row.value} {row.interval}".strip()
    lines = [headline(document), f"{row.name}: {found}, limit {row.limit} ({row.source})", row.note]
    return "\n".join(line for line in lines if line)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
