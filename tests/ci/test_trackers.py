"""Numbers for services that keep them: the shapes that their parsers take, and the values worked by hand."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edgekd import ci
from edgekd.ci.trackers import bencher, benchmark

from ..report.sample import build  # noqa: TID252  one sample report for both
from . import sample

# As BenchmarkResult in src/extract.ts of https://github.com/benchmark-action/github-action-benchmark reads it.
BENCHMARK = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["name", "unit", "value"],
        "additionalProperties": False,
        "properties": {
            "value": {"type": "number"},
            **{name: {"type": "string", "minLength": 1} for name in ("name", "unit", "range", "extra")},
        },
    },
}
# As https://bencher.dev/docs/reference/bencher-metric-format/ has it, and no name or value beyond it.
BENCHER = {
    "type": "object",
    "minProperties": 1,
    "propertyNames": {"minLength": 1, "maxLength": 1024},
    "additionalProperties": {
        "type": "object",
        "propertyNames": {"pattern": "^[a-z0-9-]{1,64}$"},
        "additionalProperties": {
            "type": "object",
            "required": ["value"],
            "additionalProperties": False,
            "properties": {name: {"type": "number"} for name in ("value", "lower_value", "upper_value")},
        },
    },
}


@pytest.fixture(scope="module")
def documents() -> list[ci.Document]:
    """A comparison, a budget and a run."""
    return [
        ci.Document(path=Path("compare.json"), kind="compare", content=sample.compared(0.97)),
        ci.Document(path=Path("latency.json"), kind="latency", content=sample.budgeted(2.0)),
        ci.Document(path=Path("report.json"), kind="run", content=build()),
    ]


def test_the_numbers_fit_github_action_benchmark(documents: list[ci.Document]) -> None:
    entries = json.loads(json.dumps(benchmark(documents), allow_nan=False))
    jsonschema.validate(entries, BENCHMARK)
    names = [entry["name"] for entry in entries]
    assert len(names) == len(set(names))
    assert names[:3] == ["net on x86-1t: p50", "net on x86-1t: p90", "net on x86-1t: p50 relative to base"]


def test_the_numbers_fit_bencher(documents: list[ci.Document]) -> None:
    found = json.loads(json.dumps(bencher(documents), allow_nan=False))
    jsonschema.validate(found, BENCHER)
    assert list(found) == ["net on x86-1t", "net on x86-1t (latency.json)", "quickstart on x86-1t"]


def test_bencher_gets_latency_in_nanoseconds_with_its_ends() -> None:
    content = sample.budgeted(2.0) | {"measured": {"p50_ms": 1.25, "p50_low": 1.2, "p50_high": 1.3, "p99_ms": None}}
    found = bencher([ci.Document(path=Path("r.json"), kind="latency", content=content)])
    assert found["net on x86-1t"] == {
        "latency": {"value": 1_250_000.0, "lower_value": 1_200_000.0, "upper_value": 1_300_000.0},
        "file-size": {"value": 98_304.0},
    }


def test_a_number_that_was_not_measured_is_not_tracked() -> None:
    content: Any = sample.budgeted(2.0) | {"measured": {"p50_ms": None, "p90_ms": float("nan")}}
    entries = benchmark([ci.Document(path=Path("r.json"), kind="latency", content=content)])
    assert [entry["name"] for entry in entries] == ["net on x86-1t: size"]
