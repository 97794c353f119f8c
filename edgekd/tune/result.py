"""What a tuning found: every candidate with what was measured of it, and the best options with their proof."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edgekd import __version__
from edgekd.session import SessionOptions

Verdict = Literal["kept", "no better", "slower", "refused", "not tried"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One candidate. changes: what differs from the target's own options; ratio, low, high: its median latency divided
    by theirs, with a 95 % interval; cpu_ms: processor time an inference, over all threads; note: why it is out.

    Numbers are None where nothing, or too little, was measured.
    """

    axis: str
    name: str
    changes: Mapping[str, Any]
    verdict: Verdict
    note: str = ""
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    p50_ms: float | None = None
    cpu_ms: float | None = None
    cycles: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """What was found. options: the best ones, the target's own (`own`) where none is measurably faster (`better`).

    changes: what differs from the target's own; tried: the same of the sweep's winner, which may not have held.
    ratio, low, high: the fresh comparison of that winner with the target's own, None where the sweep had none or there
    was too little time; low and high hold the ratio of every pair of processes as well. own_*, best_*: of that
    comparison; milliseconds of latency, and of processor time an inference. session: the session.json of `options`.
    """

    model: str
    model_sha256: str
    target: str
    isa: str
    fingerprint: str
    inputs: str
    own: SessionOptions
    options: SessionOptions
    changes: Mapping[str, Any]
    tried: Mapping[str, Any]
    better: bool
    ratio: float | None
    low: float | None
    high: float | None
    own_p50_ms: float | None
    own_cpu_ms: float | None
    best_p50_ms: float | None
    best_cpu_ms: float | None
    trials: tuple[Trial, ...]
    warnings: tuple[str, ...]
    seconds: float
    session: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain values for JSON."""
        return asdict(self)

    def note(self) -> dict[str, Any]:
        """What a session.json says of where its options are from."""
        names = ("model_sha256", "target", "isa", "fingerprint", "inputs", "better", "changes", "ratio", "low", "high",
                 "own_p50_ms", "own_cpu_ms", "best_p50_ms", "best_cpu_ms")  # fmt: skip
        return {name: getattr(self, name) for name in names} | {"edgekd": __version__}
