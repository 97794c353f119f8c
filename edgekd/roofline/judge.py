"""Where a kernel stands under the roofline: what bounds it, and which share of that bound it reaches.

Reference: Williams, Waterman, Patterson 2009, Roofline: an insightful visual performance model for multicore
architectures, CACM 52(4), https://doi.org/10.1145/1498765.1498785. There the roof is
min(peak, bandwidth * operations / byte); here, as a time: the longer of operations / peak and bytes / bandwidth, where
the bandwidth is that of a working set of the kernel's own tensors. That is a bound from below: weights that other
kernels have pushed out of the caches in the meantime come more slowly.
"""

from dataclasses import dataclass
from typing import Literal

from edgekd.kernels import Node
from edgekd.roofline.peaks import Peaks
from edgekd.roofline.work import Work, work

Verdict = Literal["compute", "memory", "overhead", "unknown"]

FAR_BELOW = 0.1
"""Below a tenth of the roof neither computing nor moving explains the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A kernel and its roof.

    roof_us: the least microseconds of one call. verdict: compute or memory, what the roof is made of; overhead: far
    below it, which a launch or a poor kernel explains; unknown: its work cannot be counted. attained: roof_us over the
    time, above 1 where a cache held more than assumed.
    """

    node: Node
    work: Work | None
    roof_us: float | None
    verdict: Verdict
    attained: float | None


def place(node: Node, peaks: Peaks | None) -> Placed:
    """The verdict for one kernel; unknown without peaks."""
    found = work(node)
    if found is None or peaks is None:
        return Placed(node=node, work=found, roof_us=None, verdict="unknown", attained=None)
    computing, moving = computing_us(found, peaks), moving_us(found.bytes_moved, peaks)
    roof = max(computing, moving)
    attained = roof / node.median_us if node.median_us else 1.0
    bound: Verdict = "compute" if computing > moving else "memory"
    return Placed(
        node=node,
        work=found,
        roof_us=roof,
        verdict="overhead" if attained < FAR_BELOW else bound,
        attained=attained,
    )


def computing_us(done: Work, peaks: Peaks) -> float:
    """Microseconds of its operations at the peak."""
    peak = peaks.int8 if done.rate == "int8" else peaks.fp32
    return done.operations / peak.best * 1e6


def moving_us(bytes_moved: float, peaks: Peaks) -> float:
    """Microseconds of its bytes at the bandwidth of a working set that large."""
    return bytes_moved / peaks.bandwidth(bytes_moved) * 1e6 if bytes_moved else 0.0


def least_us(placed: Placed, peaks: Peaks) -> float | None:
    """The least time of one call that a change to the file may reach; None where that is unknown.

    Nothing for what computes nothing by itself: conversions and changes of layout. The int8 roof, with a quarter of the
    bytes, for products of floats. Its own roof for the rest. No kernel takes less than an empty one.
    """
    node, done = placed.node, placed.work
    if is_removable(node):
        return 0.0
    if done is None or placed.roof_us is None:
        return None
    if done.macs and done.rate == "fp32" and node.kind == "float":
        int8 = max(done.operations / peaks.int8.best * 1e6, moving_us(done.bytes_moved / 4, peaks))
        return max(min(int8, placed.roof_us), peaks.profiled_us)
    return max(placed.roof_us, peaks.profiled_us)


def is_removable(node: Node) -> bool:
    """Whether a network may do without it: conversions, casts, copies and changes of layout."""
    return node.kind in ("quantize", "copy") or node.op_type in (
        "Cast", "Identity", "ReorderInput", "ReorderOutput", "Transpose",
    )  # fmt: skip
