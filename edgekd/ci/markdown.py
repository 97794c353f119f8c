"""The job summary and the body of a pull-request comment, in Markdown short enough for their readers and limits."""

import hashlib
import re
from collections.abc import Sequence

from edgekd.ci.document import Document
from edgekd.ci.wording import advice, conditions, headline, overview, warnings
from edgekd.gate import WORST_FIRST
from edgekd.report.markdown import ICONS, escape, gate_table

SUMMARY_BYTES = 2**20
"""GitHub drops a step's whole summary above this: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands#step-isolation-and-limits"""
COMMENT_BYTES = 65_536
"""The longest comment that GitHub takes, in characters; in bytes it is on the safe side."""


def summary(documents: Sequence[Document], *, most_bytes: int = SUMMARY_BYTES) -> str:
    """Headline, then a section a document, the worst first; what does not fit into `most_bytes` is counted."""
    ordered = sorted(documents, key=lambda document: WORST_FIRST.index(document.verdict))
    text = ""
    if len(ordered) > 1:
        verdict = ordered[0].verdict
        text = f"## {ICONS[verdict]} {escape(overview(ordered))}\n\n"
    for index, document in enumerate(ordered):
        rest = f"… and {len(ordered) - index} more that do not fit here.\n"
        section = _section(document)
        if _size(text) + _size(section) + _size(rest) > most_bytes:
            return text + rest if _size(text) + _size(rest) <= most_bytes else ""
        text += section
    return text


def comment(documents: Sequence[Document]) -> str:
    """The summary under a hidden first line, by which a later run finds the comment to put its own in the place of.

    The line depends on what was compared for which target, not on the numbers: two jobs keep a comment each.
    """
    subjects = sorted(f"{d.kind} {d.content.get('metric')} {d.name} {d.target}" for d in documents)
    digest = hashlib.sha256("\n".join(subjects).encode()).hexdigest()[:12]
    marker = f"<!-- edgekd ci {digest} -->\n"
    return marker + summary(documents, most_bytes=COMMENT_BYTES - _size(marker))


def _section(document: Document) -> str:
    verdict = document.verdict
    lines = [f"### {ICONS[verdict]} {escape(headline(document))}", "", *gate_table(document.gate)]
    lines += [f"- {escape(text)}" for text in warnings(document)]
    lines += ["", f"**What to do.** {advice(document)}"] if advice(document) else []
    lines += ["", f"<sub>{escape(conditions(document))}.</sub>", "", ""]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))


def _size(text: str) -> int:
    return len(text.encode())
