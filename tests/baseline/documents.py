"""Documents as `edgekd latency` and `edgekd run` write them, with samples from a seeded generator."""

import copy
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekd import environment, result
from edgekd.environment import Environment
from edgekd.instructions import Instructions, Method
from edgekd.recheck import raw_sha256
from edgekd.statistics import latency_quantiles, newcombe_paired, wilson
from edgekd.statistics.paired import mcnemar

from ..report.sample import build  # noqa: TID252  tests are no package

MACHINE = replace(
    environment.describe(),
    python="3.12.1",
    cpu_model="Quiet CPU",
    isa="avx512_vnni",
    cores_granted=2,
    packages={"onnxruntime": "1.32.0"},
)
TARGET = {"name": "x86-1t", "title": "One core", "proxy": True, "sha256": "7a" * 32}
REFERENCE = {"path": "reference.onnx", "sha256": "4e" * 32, "size_bytes": 1}


def cycles(
    ms: float, *, reference: float = 1.0, count: int = 24, runs: int = 20, seed: int = 0
) -> list[dict[str, Any]]:
    """Interleaved blocks whose samples vary by half a per cent. ms: of the model; reference: of that, both medians."""
    generator = np.random.default_rng(seed)
    noise = np.exp(generator.normal(0, 0.005, (count, 2, runs))) * 1e6
    return [
        {"new": (ms * new).astype(int).tolist(), "base": (reference * base).astype(int).tolist(), "new_first": True}
        for new, base in noise
    ]


def timed(
    ms: float = 2.0,
    *,
    reference: float = 1.0,
    seed: int = 0,
    name: str = "resnet8",
    machine: Environment = MACHINE,
    constant: bool = False,
    **conditions: Any,
) -> dict[str, Any]:
    """The result of `edgekd latency NAME.onnx`."""
    raw = {"cycles": cycles(ms, reference=reference, seed=seed), "constant": {"new": constant, "base": False}}
    return _result("time", name, machine, raw | {"factor": 1.0}, conditions)


def counted(
    instructions: int = 3_322_421,
    *,
    machine: Environment = MACHINE,
    method: Method = "callgrind",
    isa: str = "avx2",
    feeds: str = "fe" * 32,
    **conditions: Any,
) -> dict[str, Any]:
    """The result of `edgekd latency NAME.onnx --metric instructions`."""
    found = Instructions(
        per_inference=float(instructions),
        counts=((7_000_000 + 100 * instructions, 7_000_000 + 200 * instructions),),
        runs=(100, 200),
        method=method,
        isa=isa,
        spread=0.0,
        feeds=feeds,
        feeds_used=5,
        threads=1,
        threads_requested=1,
        tool="valgrind-3.19.0",
        onnxruntime=machine.packages["onnxruntime"],
    )
    raw = {"new": asdict(found), "constant": {"new": False}}
    return _result("instructions", "resnet8", machine, raw, conditions)


def _result(
    metric: str, name: str, machine: Environment, raw: dict[str, Any], conditions: dict[str, Any]
) -> dict[str, Any]:
    usual = {
        "threads": 1,
        "threads_requested": 1,
        "spinning": False,
        "provider": "CPUExecutionProvider",
        "options": {"session_config": {}},
        "batch_size": 1,
        "inputs": "random numbers",
        "feeds": "fe" * 32,
        "isolated": False,
        "isa": machine.isa,
        "onnxruntime": machine.packages["onnxruntime"],
        "method": "cycles",
        "designed_error": 0.025,
        "warnings": [],
    }
    return result.document(
        kind="latency",
        metric=metric,
        model={"path": f"{name}.onnx", "sha256": "ab" * 32, "size_bytes": 1000},
        base=REFERENCE if metric == "time" else None,
        target=TARGET,
        environment=machine,
        conditions=usual | conditions,
        limits={},
        sources={},
        measured={},
        raw=raw,
        gate={"verdict": "pass", "message": "", "checks": []},
    )


def report(
    *, ms: float = 2.0, hits: tuple[int, int] = (440, 460), size: int = 100_000, sha256: str = "cd" * 32, seed: int = 0
) -> dict[str, Any]:
    """The report.json of a run on 500 samples a class. hits: those that are right, of each of two classes."""
    found = build(classes=("a", "b"))
    found["environment"] = MACHINE.as_dict()
    selected = next(variant for variant in found["variants"] if variant["selected"])
    generator = np.random.default_rng(seed)
    samples = (ms * 1e6 * np.exp(generator.normal(0, 0.005, (3, 400)))).astype(int).tolist()
    n, right = 1000, sum(hits)
    interval, drop = wilson(right, n), newcombe_paired(right, 0, 0, n - right)
    selected["accuracy"] |= {
        "n": n,
        "confusion": [[hits[0], 500 - hits[0]], [500 - hits[1], hits[1]]],
        "top1": right / n,
        "top1_low": interval.low,
        "top1_high": interval.high,
        "paired": {"both": right, "only_fp32": 0, "only_model": 0, "neither": n - right},
        "top1_drop": 0.0,
        "top1_drop_low": drop.low,
        "top1_drop_high": drop.high,
        "mcnemar_p": mcnemar(0, 0),
    }
    selected["latency"] |= {"n": 1200, "samples_ns": samples, **latency_quantiles(samples)}
    selected |= {"size_bytes": size, "sha256": sha256}
    return sealed(found)


def sealed(found: dict[str, Any]) -> dict[str, Any]:
    """The report with the hash of what is in it."""
    plain: dict[str, Any] = json.loads(json.dumps(copy.deepcopy(found)))
    selected = next(variant for variant in plain["variants"] if variant["selected"])
    selected["raw_sha256"] = raw_sha256(selected, plain["gate"]["checks"], plain["target"])
    return plain


def resealed(found: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The result with other parts, and the hash of what is in it then."""
    changed = {**found, **changes}
    return changed | {"raw_sha256": result.seal(changed)}


def written(path: Path, found: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found))
    return path
