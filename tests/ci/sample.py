"""Result documents as `edgekd compare` and `edgekd latency` write them, from drawn times instead of measured ones."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edgekd import budget, environment, result, targets, versus

MS = 1_000_000
CONDITIONS: dict[str, Any] = {
    "threads": 1,
    "threads_requested": 1,
    "spinning": True,
    "provider": "CPUExecutionProvider",
    "batch_size": 1,
    "inputs": "random numbers",
    "isolated": False,
    "isa": "avx2",
    "onnxruntime": "1.32.0",
    "warnings": [],
}


def cycles(*, new_ms: float, base_ms: float, count: int = 40, seed: int = 0) -> list[dict[str, Any]]:
    """Times that vary by 1 % about their medians."""
    rng = np.random.default_rng(seed)

    def block(median: float) -> list[int]:
        return [int(ns) for ns in median * MS * rng.lognormal(0, 0.01, size=20)]

    return [{"new": block(new_ms), "base": block(base_ms), "new_first": True} for _ in range(count)]


def compared(ratio: float, *, name: str = "net", warnings: tuple[str, ...] = (), **changed: Any) -> dict[str, Any]:
    """A comparison at a limit of 5 %: 0.97 passes, 1.05 is undecided, 1.2 fails."""
    raw = {"cycles": cycles(new_ms=ratio, base_ms=1.0), "constant": {"new": False, "base": False}}
    limits, sources = {"max_regression": 0.05}, {"max_regression": "given"}
    measured, gate = versus.judge(raw, limits=limits, sources=sources)
    return document("compare", raw, measured, gate, limits, sources, name=name, warnings=warnings) | changed


def budgeted(p90_ms: float, *, name: str = "net", **limits: float) -> dict[str, Any]:
    """A file with a median of 1 ms, judged against max_p90_ms and further limits."""
    wanted = {"max_p90_ms": p90_ms, **limits}
    raw = {"cycles": cycles(new_ms=1.0, base_ms=0.2), "constant": {"new": False}, "factor": 1.0}
    sources = dict.fromkeys(wanted, "given")
    measured, gate = budget.judge(raw, limits=wanted, sources=sources)
    return document("latency", raw, measured, gate, wanted, sources, name=name)


def document(
    kind: str,
    raw: dict[str, Any],
    measured: Any,
    gate: Any,
    limits: dict[str, float],
    sources: dict[str, str],
    *,
    name: str,
    warnings: tuple[str, ...] = (),
) -> dict[str, Any]:
    """The document, sealed by edgekd's own hand."""
    file = {"path": f"new/{name}.onnx", "sha256": "ab" * 32, "size_bytes": 98_304}
    base = {"path": "base/old.onnx", "sha256": "cd" * 32, "size_bytes": 99_000}
    return result.document(
        kind=kind,
        metric="time",
        model=file,
        base=base,
        target=result.target_facts(targets.load("x86-1t").model_dump(mode="json")),
        environment=environment.describe(),
        conditions=CONDITIONS | {"warnings": list(warnings)},
        limits=limits,
        sources=sources,
        measured=measured,
        raw=raw,
        gate=asdict(gate),
    )


def saved(found: dict[str, Any], path: Path) -> Path:
    """The path of the document, written."""
    result.write(found, path)
    return path
