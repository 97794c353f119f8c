"""What a CI system is told of results: JUnit XML, annotations, a Markdown summary and comment, numbers to track.

`read` trusts a file only as far as its numbers carry its verdict; `publish` writes every form that is asked for.
"""

from edgekd.ci.annotations import annotations
from edgekd.ci.document import Document, read, worst
from edgekd.ci.publish import FORMATS, add_summary, publish
from edgekd.ci.wording import advice, headline, overview, warnings

__all__ = [
    "FORMATS",
    "Document",
    "add_summary",
    "advice",
    "annotations",
    "headline",
    "overview",
    "publish",
    "read",
    "warnings",
    "worst",
]
