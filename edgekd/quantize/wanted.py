"""What a search for variants may do, as plain values."""

from dataclasses import dataclass

from edgekd.quantize.scheme import Method, Saturation


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the search may do. method: None tries all; per_channel: None tries both.

    portable: files that compute the same on CPUs whose int8 kernels saturate; saturation: how (edgekd.quantize.scheme).
    tolerable_drop: the top-1 that may be lost (without labels: the share of classes that may differ).
    smallest_sqnr_db: what the gate asks of the outputs' closeness to fp32's, None where it does not.
    """

    variants: tuple[str, ...]
    method: Method | None = None
    per_channel: bool | None = None
    portable: bool = True
    saturation: Saturation = "safe"
    tolerable_drop: float = 0.01
    smallest_sqnr_db: float | None = None
    budget_seconds: float = 300.0
    max_memory_bytes: int | None = None
