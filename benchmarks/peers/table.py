"""The table of one net, and what became of the goals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks import turns
from benchmarks.peers.build import OURS, Built
from benchmarks.peers.judge import Judged, portable
from benchmarks.turns import MIB, Ratio

TIED_SPEED = 0.03
TIED_ACCURACY = 0.003
HEADER = ("tool", "s (CPU s)", "peak, MiB", "file, KiB", "speed against fp32", "{}", "agrees with fp32", "AVX2 agrees",
          "AVX2 differs", "portable")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One tool on one net. speed: fp32's time over the file's; None where it was not measured."""

    built: Built
    judged: Judged | None
    speed: Ratio | None
    portable: bool | None

    @property
    def quality(self) -> float | None:
        """Accuracy where there are labels, else agreement with fp32."""
        if self.judged is None:
            return None
        return self.judged.agreement if self.judged.accuracy is None else self.judged.accuracy


def rows(built: Mapping[str, Built], judged: Mapping[str, Judged], seconds: Mapping[str, Sequence[float]]) -> list[Row]:
    """One row a tool, fp32 first."""
    found = []
    for name, one in built.items():
        known = judged.get(name)
        speed = turns.paired_ratio(seconds["fp32"], seconds[name]) if name in seconds else None
        same = portable(known, judged["fp32"]) if known else None
        found.append(Row(built=one, judged=known, speed=speed, portable=same))
    return found


def table(found: Sequence[Row]) -> str:
    """Markdown, and below it why some tools have no numbers."""
    labelled = any(row.judged and row.judged.accuracy is not None for row in found)
    header = [title.format("accuracy, %") for title in HEADER if labelled or title != "{}"]
    lines = [[cell for cell in _cells(row) if labelled or cell is not None] for row in found]
    text = turns.table(header, [[cell or "–" for cell in line] for line in lines])
    reasons = [
        f"- {row.built.tool}: {row.built.reason or (row.judged and row.judged.error)}"
        for row in found
        if row.built.reason or (row.judged and row.judged.error)
    ]
    return "\n\n".join([text, "\n".join(reasons)] if reasons else [text])


def goals(found: Sequence[Row]) -> list[str]:
    """One line a goal of edgekd's on this net: met or missed, and against which tool."""
    ours = next((row for row in found if row.built.tool == OURS), None)
    if ours is None or ours.speed is None or ours.quality is None:
        return ["- edgekd has no file here"]
    # Without fp32, which is no tool, agrees with itself by nature, and has a goal of its own.
    peers = [
        row for row in found if row is not ours and row.built.tool != "fp32" and row.speed and row.quality is not None
    ]
    if not peers:
        return ["- no other tool has a file here"]
    fastest = max(peers, key=lambda row: row.speed.value if row.speed else 0.0)
    best = max(peers, key=lambda row: row.quality or 0.0)
    assert fastest.speed is not None and best.quality is not None
    others = [row.built.tool for row in peers if row.portable]
    return [
        f"- fastest or tied within 3 %: {_met(ours.speed.value >= fastest.speed.value * (1 - TIED_SPEED))} "
        f"({ours.speed.value:.2f}x; {fastest.built.tool} {fastest.speed.value:.2f}x)",
        f"- best or tied within 0.3 point: {_met(ours.quality >= best.quality - TIED_ACCURACY)} "
        f"({100 * ours.quality:.2f} %; {best.built.tool} {100 * best.quality:.2f} %)",
        f"- not slower than fp32: {_met(ours.speed.high >= 1.0)}",
        f"- portable: {_met(bool(ours.portable))}; so are: {', '.join(others) or 'none'}",
    ]


def _met(is_met: bool) -> str:
    return "met" if is_met else "missed"


def _cells(row: Row) -> list[str | None]:
    """In the order of HEADER; None for an accuracy that is not there, which may go with its column."""
    built, judged = row.built, row.judged
    name = f"{built.tool} ({built.chosen})" if built.chosen else built.tool
    took = "" if built.seconds is None else f"{built.seconds:.0f} ({built.cpu_seconds:.0f})"
    return [
        name,
        took,
        "" if built.peak_bytes is None else f"{built.peak_bytes / MIB:,.0f}",
        "" if built.size_bytes is None else f"{built.size_bytes / 1024:,.0f}",
        "" if row.speed is None else str(row.speed),
        None if judged is None or judged.accuracy is None else f"{100 * judged.accuracy:.2f}",
        "" if judged is None or judged.agreement is None else f"{100 * judged.agreement:.2f} %",
        ""
        if judged is None or judged.avx2_agreement is None
        else f"{100 * judged.avx2_agreement:.1f} % of {judged.avx2_n}",
        "" if judged is None or judged.avx2_difference is None else f"{100 * judged.avx2_difference:.2g} %",
        {True: "yes", False: "no", None: ""}[row.portable],
    ]
