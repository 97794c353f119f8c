"""A report's verdict follows from its raw parts: each block's nats, each sample of the times."""

import copy
from pathlib import Path
from typing import Any

import pytest

from edgekd.errors import BadInputError
from edgekd.language.rejudge import checked, rejudge

from .reports import report


def test_the_verdict_is_made_again() -> None:
    # Mean ln of the ratio: (99 + 121 + 111 - 300) / 150 = 31 / 150, so the ratio is e^0.20667 = 1.22957.
    found = rejudge(report())
    assert found.verdict == "pass"
    assert found.checks[0].value == pytest.approx(1.22957, abs=1e-5)
    assert rejudge(report(max_token_ms=0.5)).verdict == "fail"


def test_a_limit_may_be_another_and_says_that_it_was_given() -> None:
    found = rejudge(report(), limits={"max_size_bytes": 10})
    assert found.verdict == "fail"
    assert {check.name: check.source for check in found.checks}["max_size_bytes"] == "given"


def edited(path: str, value: Any) -> dict[str, Any]:
    made = copy.deepcopy(report())
    *parents, last = path.split(".")
    place: Any = made
    for key in parents:
        place = place[int(key)] if key.isdigit() else place[key]
    place[int(last) if last.isdigit() else last] = value
    return made


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("gate.verdict", "fail", "says fail, but its numbers give pass"),
        ("gate.checks.0.limit", 9.0, "raw_sha256"),
        ("gate.variant", "int8", "selected variants, and gate.variant is 'int8'"),
        ("variants.0.scores.nats.0", 98.0, "was edited; measure again"),
        ("variants.0.scores.nats", [1e6, 1e6, 1e6], "nats a token, of which no perplexity can be computed"),
        ("variants.0.scores.nats", [1.0], "no lists of positive numbers, one a block"),
        ("variants.0.ratio.perplexity_ratio", 1.0, "perplexity_ratio 1.0, but its nats give"),
        ("variants.0.test.bits_per_character", 1.0, "was edited"),
        ("variants.0.token.p50_ms", 0.1, "p50_ms 0.1, but its samples_ns give"),
        ("variants.0.token.samples_ns", [[-1]], "positive whole nanoseconds"),
        ("variants.0.size_bytes", 800, "raw_sha256"),
        ("variants.0.selected", False, "0 selected variants"),
        ("arms.0.scores.nats.0", 91.0, "was edited"),
        ("base", "student-ce", "0 networks named 'student-ce'"),
        ("target.proxy", False, "raw_sha256"),
    ],
)
def test_what_was_edited_is_refused(path: str, value: Any, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        rejudge(edited(path, value))


def test_another_schema_or_an_unknown_limit_is_named() -> None:
    with pytest.raises(BadInputError, match="schema_version is 1"):
        checked(report() | {"schema_version": 1}, Path("report.json"))
    with pytest.raises(BadInputError, match="unknown limit 'max_p50_ms'"):
        rejudge(report(), limits={"max_p50_ms": 1.0})
