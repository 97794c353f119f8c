"""Annotations as GitHub's runner reads them."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd import ci

from . import sample


def document(content: dict[str, Any]) -> ci.Document:
    return ci.Document(path=Path("result.json"), kind="compare", content=content)


def parse(line: str) -> tuple[str, dict[str, str], str]:
    """By the rules of the runner (actions/runner, ActionCommand.cs): `::name key=value,key=value::data`."""
    assert line.startswith("::")
    head, data = line[2:].split("::", 1)
    name, _, properties = head.partition(" ")
    pairs = (part.split("=", 1) for part in properties.split(","))
    return name, {key: undo(value, ":%3A", ",%2C") for key, value in pairs}, undo(data)


def undo(text: str, *more: str) -> str:
    for pair in ("\r%0D", "\n%0A", *more, "%%25"):
        text = text.replace(pair[1:], pair[0])
    return text


@pytest.mark.parametrize(("ratio", "kind"), [(0.97, "notice"), (1.05, "warning"), (1.2, "error")])
def test_each_verdict_has_its_kind(ratio: float, kind: str) -> None:
    (line,) = ci.annotations([document(sample.compared(ratio))])
    name, properties, message = parse(line)
    assert name == kind
    assert properties["title"].startswith("edgekd ") and "net on x86-1t" in properties["title"]
    assert message.startswith(ci.headline(document(sample.compared(ratio))))


def test_percent_signs_colons_and_commas_are_escaped_as_documented() -> None:
    content = sample.compared(1.2, name="a,b:c%0A")
    (line,) = ci.annotations([document(content)])
    assert line.startswith("::error title=edgekd fail%3A a%2Cb%3Ac%250A on x86-1t%2C max_regression::")
    assert "\n" not in line and "%0Amax_regression: 1.201×" in line


@given(text=st.text(min_size=1))
def test_any_text_stays_within_its_annotation(text: str) -> None:
    content = sample_with(text)
    (line,) = ci.annotations([document(content)])
    assert "\n" not in line and "\r" not in line
    name, properties, message = parse(line)
    assert (name, set(properties)) == ("error", {"title"})
    assert text in properties["title"] and text in message


FAILED = sample.compared(1.2)


def sample_with(text: str) -> dict[str, Any]:
    (check,) = FAILED["gate"]["checks"]
    return FAILED | {"name": text, "gate": {**FAILED["gate"], "checks": [{**check, "note": text}]}}


def test_more_than_github_shows_are_counted_in_the_last_one() -> None:
    lines = ci.annotations([document(sample_with(str(number))) for number in range(25)])
    assert len(lines) == 10
    assert parse(lines[-1])[2] == "16 more like this; the job summary has them all"
