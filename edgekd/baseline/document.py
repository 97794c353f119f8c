"""What can be a baseline: a result of `edgekd latency`, or the report.json of a run; whole, unchanged and checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd import report, result, strict_json
from edgekd.baseline.key import Key
from edgekd.environment import Environment, fingerprint
from edgekd.errors import BadInputError
from edgekd.recheck import trusted_variant

EXPECTED = "a result of `edgekd latency --out`, or the report.json of a run"
REPORT = "report"
METRICS = ("time", "instructions", REPORT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document that was read. content: its bytes as they are; found: the same, parsed; where: for messages.

    metric: "time", "instructions" or "report". variant: the report's selected variant, checked again, else None.
    """

    content: bytes
    found: Mapping[str, Any]
    where: str
    metric: str
    environment: Environment
    variant: Mapping[str, Any] | None

    @property
    def name(self) -> str:
        return str(self.found["name"])

    @property
    def target(self) -> str:
        return str(self.found["target"]["name"])

    @property
    def constant(self) -> bool:
        """Whether the network answers all inputs alike."""
        if self.variant is None:
            return bool((self.found["raw"].get("constant") or {}).get("new"))
        return bool((self.variant["accuracy"] or {}).get("constant"))

    def key(self, name: str | None = None) -> Key:
        """Where it is filed: under `name`, or its own."""
        return Key(name=name or self.name, target=self.target, metric=self.metric)


def read(path: Path) -> Document:
    """The document at `path`.

    Raises:
        BadInputError: no such file, or what `parse` refuses.
    """
    try:
        content = path.read_bytes()
    except OSError as err:
        raise BadInputError(f"{path} cannot be read: {err.strerror}; expected {EXPECTED}") from err
    return parse(content, str(path))


def parse(content: bytes, where: str) -> Document:
    """The document in `content`.

    Raises:
        BadInputError: no strict JSON, another version, a missing part, numbers or a machine that were edited, or a
            document that is no measurement of one file.
    """
    try:
        found = strict_json.parse(content.decode())
    except ValueError as err:
        raise BadInputError(f"{where}: not whole JSON ({err}); expected {EXPECTED}") from err
    if not isinstance(found, dict) or not ("schema_version" in found or result.is_result(found)):
        raise BadInputError(f"{where}: no document of edgekd's; expected {EXPECTED}")
    return _result(content, found, where) if result.is_result(found) else _report(content, found, where)


def _result(content: bytes, found: dict[str, Any], where: str) -> Document:
    result.checked(found, Path(where))
    if found["kind"] != "latency" or found["metric"] not in METRICS:
        raise BadInputError(
            f"{where}: a result of kind '{found['kind']}', metric '{found['metric']}'; expected {EXPECTED}: what "
            "compares two files is no baseline of one"
        )
    if not isinstance(found["target"].get("name"), str):
        raise BadInputError(f"{where}: its target has no name; was it edited? Measure again")
    environment = environment_of(found["environment"], where)
    if fingerprint(environment) != found["fingerprint"]:
        raise BadInputError(
            f"{where}: its environment does not fit its fingerprint {found['fingerprint']}; was it edited? Measure "
            "again"
        )
    return Document(
        content=content, found=found, where=where, metric=found["metric"], environment=environment, variant=None
    )


def _report(content: bytes, found: dict[str, Any], where: str) -> Document:
    report.checked(found, Path(where))
    return Document(
        content=content,
        found=found,
        where=where,
        metric=REPORT,
        environment=environment_of(found["environment"], where),
        variant=trusted_variant(found),
    )


def environment_of(values: Mapping[str, Any], where: str) -> Environment:
    """The environment that a document recorded.

    Raises:
        BadInputError: a field is missing, unknown or of another type.
    """
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    try:
        environment = Environment(**fields)
        fingerprint(environment)
    except (TypeError, AttributeError) as err:
        raise BadInputError(
            f"{where}: its environment is not whole ({err}); was it written by another version of edgekd? Measure again"
        ) from err
    return environment
