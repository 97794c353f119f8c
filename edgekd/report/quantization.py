"""How the variants came to be: what the search tried, which layers can saturate, what ran on int8 kernels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgekd.report.facts import Fact
from edgekd.report.wording import DASH, plural, points

Report = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRow:
    """One try of the search, in words."""

    stage: str
    variant: str
    tried: str
    speedup: str
    sqnr: str
    drop: str
    kept: bool
    reason: str
    seconds: str


def decision_rows(report: Report) -> list[DecisionRow]:
    """The rows of the search's table, in the order in which things were tried."""
    return [
        DecisionRow(
            stage=one["stage"],
            variant=one["variant"],
            tried=one["tried"],
            speedup=f"{1 / one['ratio']:.2f}×" if one["ratio"] else DASH,
            sqnr=DASH if one["sqnr_db"] is None else f"{one['sqnr_db']:.1f} dB",
            drop=points(one["drop"]),
            kept=one["kept"],
            reason=one["reason"],
            seconds=f"{one['seconds']:.1f} s",
        )
        for one in (report["search"] or {}).get("decisions", ())
    ]


def search_sentence(report: Report) -> str:
    """How much was tried, and whether the time sufficed."""
    search = report["search"]
    if not search:
        return ""
    text = f"{plural(len(search['decisions']), 'try', 'tries')} in {search['seconds']:.0f} s"
    return text + ("" if search["complete"] else ", then the time was up: the best so far is what competes")


def unmeasured(report: Report) -> list[str]:
    """What no number can say because samples have no label, a sentence each."""
    return list((report["data"] or {}).get("not_measured", ()))


def remarks(report: Report) -> list[str]:
    """What to know of the samples, and what was done to the network first."""
    search, on = report["search"] or {}, (report["data"] or {}).get("evaluated")
    return [*([f"Evaluated on {on}."] if on else []), *search.get("warnings", ()), *search.get("notes", ())]


def schemes(report: Report) -> list[Fact]:
    """(variant, how it was quantized)."""
    return [(v["name"], v["description"]) for v in report["variants"] if v.get("description")]


def portability(report: Report) -> list[Fact]:
    """(variant, the layers whose sums can saturate on CPUs without VNNI)."""
    return [(v["name"], saturation(v)) for v in report["variants"] if v["path"] and v["name"].startswith("int8")]


def saturation(variant: Mapping[str, Any]) -> str:
    """Whether a file computes the same on every x86 CPU, in a sentence."""
    layers, sums = variant.get("saturates") or (), variant.get("pair_sums") or ()
    if not layers:
        largest = f" (at most {max(worst for _, worst, _ in sums):,} of 32,767)" if sums else ""
        return f"no 16-bit pair sum can saturate{largest}"
    reached = {name: f"{name} ({worst:,}, on samples {seen:,})" for name, worst, seen in sums if seen is not None}
    named = ", ".join(reached.get(name, name) for name in layers)
    return f"{plural(len(layers), 'layer')} can saturate on AVX2: {named}"


def kernel_facts(report: Report) -> list[Fact]:
    """(variant, the share of time in int8 kernels, conversions and what stayed in float)."""
    return [(v["name"], v["kernels"]["sentence"]) for v in report["variants"] if v.get("kernels")]
