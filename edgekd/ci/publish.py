"""Every form of the results, each into its file: whole or not at all."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekd.ci.document import Document
from edgekd.ci.markdown import SUMMARY_BYTES, comment, summary
from edgekd.ci.trackers import bencher, benchmark
from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.files import write_atomic
from edgekd.report.junit import render


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


FORMATS: dict[str, Callable[[Sequence[Document]], str]] = {
    "junit": lambda documents: render(*(document.content for document in documents)),
    "summary": summary,
    "comment": comment,
    "benchmark": lambda documents: _json(benchmark(documents)),
    "bencher": lambda documents: _json(bencher(documents)),
}
"""What a file can hold -> its text."""


def publish(documents: Sequence[Document], *, outs: Mapping[str, Path]) -> None:
    """Write the documents in each wanted format. outs: a name of FORMATS -> where; missing folders are made.

    Raises:
        BadInputError: two formats, or a format and a result, have one path; nothing is written.
        EnvironmentFault: a path cannot be written; those before it are.
    """
    taken = {document.path.resolve() for document in documents}
    for name, path in outs.items():
        if path.resolve() in taken:
            raise BadInputError(f"--{name} {path}: also the path of a result or of another output; choose another")
        taken.add(path.resolve())
    texts = {path: FORMATS[name](documents) for name, path in outs.items()}
    for path, text in texts.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, text)
        except OSError as err:
            raise _fault(path, err) from err


def add_summary(documents: Sequence[Document], path: Path) -> None:
    """Add the summary to $GITHUB_STEP_SUMMARY, in one write: other commands of the step write to it as well.

    Raises:
        EnvironmentFault: the path cannot be written.
    """
    try:
        room = SUMMARY_BYTES - (path.stat().st_size if path.exists() else 0)
        with path.open("ab") as file:
            file.write(summary(documents, most_bytes=room).encode())
    except OSError as err:
        raise _fault(path, err) from err


def _fault(path: Path, err: OSError) -> EnvironmentFault:
    return EnvironmentFault(f"cannot write {path}: {err.strerror or err}; expected a writable file: choose another")
