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
from edgekd.language import rejudge as language
from edgekd.language.report import conditions


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One result. kind: the command that wrote it, `run` for any report.json but that of `edgekd language`.

    content: the file, parsed.
    """

    path: Path
    kind: Literal["compare", "latency", "baseline", "run", "language"]
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
    """A result of `edgekd compare`, `latency` or `baseline compare`, or the report.json of a run or a language run.

    Its gate and its measured numbers are made again from its raw numbers; what the file says of them must agree.

    Raises:
        BadInputError: missing, damaged, of another version, or its verdict does not follow from its raw numbers.
    """
    readers = {"result": _result, "language": _language, "report": _report}
    document = readers[_kind(path)](path)
    if document.verdict == "pass" and not document.gate["checks"]:
        raise BadInputError(f"{path}: it passes without a check; expected at least one: was it edited? Measure again")
    return document


def worst(documents: Iterable[Document]) -> Verdict:
    """Fail before inconclusive before pass; nothing at all is inconclusive."""
    verdicts = {document.verdict for document in documents} or {"inconclusive"}
    return next(verdict for verdict in WORST_FIRST if verdict in verdicts)


def _kind(path: Path) -> str:
    """What the file says of itself; what cannot be read is left to the reader of reports."""
    try:
        content = strict_json.parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "report"
    if not isinstance(content, dict):
        return "report"
    return "result" if results.is_result(content) else "language" if language.is_language(content) else "report"


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


def _language(path: Path) -> Document:
    content = language.checked(strict_json.read_object(path, what="report", expected=reports.EXPECTED), path)
    with _named(path):
        gate = language.rejudge(content)
    try:
        conditions(content)
    except (KeyError, TypeError, AttributeError) as err:
        raise BadInputError(f"report {path}: its conditions are not whole ({err}); was it edited? Run again") from err
    if not isinstance(content.get("created"), str):
        raise BadInputError(f"report {path}: no created; expected a whole report. Run again")
    told = content | {"gate": _as_dict(gate, str(content["gate"].get("variant")))}
    return Document(path=path, kind="language", content=told)


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
