"""A result file of any command, trusted only as far as its numbers carry it."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from edgekd import gate as gates
from edgekd import rejudge, strict_json
from edgekd import report as reports
from edgekd import result as results
from edgekd.errors import BadInputError
from edgekd.gate import WORST_FIRST, Check, Gate, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One result. kind: the command that wrote it, `run` for a report.json. content: the file, parsed."""

    path: Path
    kind: Literal["compare", "latency", "baseline", "run"]
    content: Mapping[str, Any]

    @property
    def gate(self) -> Mapping[str, Any]:
        """verdict, message, variant and checks."""
        gate: Mapping[str, Any] = self.content["gate"]
        return gate

    @property
    def verdict(self) -> Verdict:
        """Of the whole gate."""
        verdict: Verdict = self.gate["verdict"]
        return verdict

    @property
    def name(self) -> str:
        """What was judged: the model's or the run's name."""
        return str(self.content["name"])

    @property
    def target(self) -> str:
        """The name of the target that it was judged for."""
        return str(self.content["target"].get("name", "–"))


def read(path: Path) -> Document:
    """The result of `edgekd compare`, `latency` or `baseline compare`, or the report.json of a run, at `path`.

    Its gate and its measured numbers are made again from its raw numbers; what the file says of them must agree.

    Raises:
        BadInputError: missing, damaged, of another version, or its verdict does not follow from its raw numbers.
    """
    document = _result(path) if _is_result(path) else _report(path)
    if document.verdict == "pass" and not document.gate["checks"]:
        raise BadInputError(f"{path}: it passes without a check; expected at least one: was it edited? Measure again")
    return document


def worst(documents: Iterable[Document]) -> Verdict:
    """Fail before inconclusive before pass; nothing at all is inconclusive."""
    verdicts = {document.verdict for document in documents} or {"inconclusive"}
    return next(verdict for verdict in WORST_FIRST if verdict in verdicts)


def _is_result(path: Path) -> bool:
    """Whether the file says of itself that it is a result document; what cannot be read is left to the readers."""
    try:
        content = strict_json.parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and results.is_result(content)


def _result(path: Path) -> Document:
    content = results.read(path)
    with _named(path):
        measured, gate = rejudge.remeasure(content)
    told = content | {"measured": measured, "gate": _as_dict(gate, content["name"])}
    return Document(path=path, kind=content["kind"], content=told)


def _report(path: Path) -> Document:
    """A report that ships nothing has no selected variant to judge again; it is believed, unless it says pass."""
    content = reports.read(path)
    recorded = content["gate"]
    if recorded["verdict"] == "pass" or any(variant.get("selected") is True for variant in content["variants"]):
        with _named(path):
            gate = gates.rejudge(content)
        content = content | {"gate": _as_dict(gate, str(recorded.get("variant")))}
        if gate.verdict != recorded["verdict"]:
            raise BadInputError(
                f"report {path}: it says {recorded['verdict']}, but its numbers give {gate.verdict}; was it edited? "
                "Run again"
            )
    elif not _whole(recorded.get("checks")):
        raise BadInputError(f"report {path}: gate.checks is not a list of whole checks; was it edited? Run again")
    return Document(path=path, kind="run", content=content)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Say of which file the message is: there may be many."""
    try:
        yield
    except BadInputError as err:
        raise BadInputError(f"{path}: {err}") from err


def _as_dict(gate: Gate, variant: str) -> dict[str, Any]:
    return asdict(gate) | {"variant": variant}


def _whole(checks: Any) -> bool:
    """Whether these are checks with all their fields."""
    names = {field.name for field in fields(Check)}
    return isinstance(checks, list) and all(isinstance(check, dict) and names <= check.keys() for check in checks)
