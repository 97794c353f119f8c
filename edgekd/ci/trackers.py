"""Numbers for services that keep them over time: github-action-benchmark and Bencher."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgekd.ci.document import Document
from edgekd.ci.wording import conditions
from edgekd.recheck import number
from edgekd.report.rows import chosen
from edgekd.report.wording import WORDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A number to track, smaller is better. slug: Bencher's name of it; scale: into the unit that Bencher expects."""

    key: str
    label: str
    unit: str
    slug: str
    scale: float = 1.0

    @property
    def stem(self) -> str:
        """Of the keys of its interval, STEM_low and STEM_high."""
        return self.key.removesuffix("_ms")


NANOSECONDS = 1e6  # of Bencher's latency, a millisecond
MEASURES = (
    Measure(key="p50_ms", label="p50", unit="ms", slug="latency", scale=NANOSECONDS),
    Measure(key="p90_ms", label="p90", unit="ms", slug="latency-p90", scale=NANOSECONDS),
    Measure(key="p99_ms", label="p99", unit="ms", slug="latency-p99", scale=NANOSECONDS),
    Measure(key="new_p50_ms", label="p50", unit="ms", slug="latency", scale=NANOSECONDS),
    Measure(key="new_p90_ms", label="p90", unit="ms", slug="latency-p90", scale=NANOSECONDS),
    Measure(key="ratio_p50", label="p50 relative to base", unit="x", slug="latency-relative-to-base"),
    Measure(key="ratio_p90", label="p90 relative to base", unit="x", slug="latency-p90-relative-to-base"),
    Measure(key="instructions", label="instructions", unit="instructions", slug="instructions"),
    Measure(key="new_instructions", label="instructions", unit="instructions", slug="instructions"),
    Measure(
        key="ratio_instructions",
        label="instructions relative to base",
        unit="x",
        slug="instructions-relative-to-base",
    ),
    Measure(key="perplexity_ratio", label="perplexity relative to base", unit="x", slug="perplexity-ratio"),
    Measure(key="size_bytes", label="size", unit="bytes", slug="file-size"),
)
"""Of compare (new_…), latency, run and language, whose times are a token's; one of those that share a slug is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    subject: str
    measure: Measure
    value: float
    low: float | None
    high: float | None
    document: Document


def benchmark(documents: Sequence[Document]) -> list[dict[str, Any]]:
    """For github-action-benchmark's tool `customSmallerIsBetter`: https://github.com/benchmark-action/github-action-benchmark"""
    entries = []
    for reading in _readings(documents):
        entry: dict[str, Any] = {
            "name": f"{reading.subject}: {reading.measure.label}",
            "unit": reading.measure.unit,
            "value": reading.value,
        }
        if reading.low is not None and reading.high is not None:
            entry["range"] = f"{reading.low:.6g} to {reading.high:.6g}"
        entry["extra"] = f"{WORDS[reading.document.verdict]}. {conditions(reading.document)}"
        entries.append(entry)
    return entries


def bencher(documents: Sequence[Document]) -> dict[str, dict[str, dict[str, float]]]:
    """Bencher Metric Format, for its `json` adapter: https://bencher.dev/docs/reference/bencher-metric-format/"""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for reading in _readings(documents):
        ends = {"value": reading.value, "lower_value": reading.low, "upper_value": reading.high}
        metric = {name: reading.measure.scale * end for name, end in ends.items() if end is not None}
        found.setdefault(reading.subject, {})[reading.measure.slug] = metric
    return found


def _readings(documents: Sequence[Document]) -> Iterator[_Reading]:
    """Every number under a name of its own: a service that meets a name twice keeps one of the two."""
    taken: set[tuple[str, str]] = set()
    for document in documents:
        for reading in _of(document, subject=f"{document.name} on {document.target}"):
            key = reading.subject, reading.measure.slug
            yield replace(reading, subject=f"{reading.subject} ({document.path})") if key in taken else reading
            taken.add(key)


def _of(document: Document, *, subject: str) -> Iterator[_Reading]:
    numbers = _numbers(document)
    for measure in MEASURES:
        value = number(numbers, measure.key)
        if value is not None:
            low, high = number(numbers, f"{measure.stem}_low"), number(numbers, f"{measure.stem}_high")
            yield _Reading(subject=subject, measure=measure, value=value, low=low, high=high, document=document)


def _numbers(document: Document) -> dict[str, Any]:
    """The flat numbers of a result, or those of the variant that a report's gate judged."""
    if document.kind == "language":
        judged = next(variant for variant in document.content["variants"] if variant["selected"])
        return {"size_bytes": judged["size_bytes"], **judged["token"], **judged["ratio"]}
    if document.kind != "run":
        return {**document.content["measured"], "size_bytes": document.content["model"]["size_bytes"]}
    variant = chosen(document.content) or {}
    return {"size_bytes": variant.get("size_bytes"), **(variant.get("latency") or {})}
