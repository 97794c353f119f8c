"""A small language report, as `edgekd language` writes it, in the parts that are judged."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgekd.language import judge
from edgekd.language.rejudge import checked, seal
from edgekd.language.report import SCHEMA_VERSION
from edgekd.language.score import Scores
from edgekd.statistics import latency_quantiles

TEACHER = Scores(nats=(90.0, 110.0, 100.0), tokens=(50, 50, 50), characters=(50, 50, 50))
FILE = Scores(nats=(99.0, 121.0, 111.0), tokens=(50, 50, 50), characters=(50, 50, 50))
LIMITS = {"max_perplexity_ratio": 1.5, "max_token_ms": 2.0, "max_size_bytes": 1000.0}
TARGET = {"name": "x86-1t", "proxy": True}


def timed(ns: int) -> dict[str, Any]:
    rounds = [[ns + step for step in range(40)] for _ in range(3)]
    return {**latency_quantiles(rounds), "tokens_per_second": 1.0, "n": 120, "samples_ns": rounds}


def report(**limits: float) -> dict[str, Any]:
    """As `edgekd language` writes it, in its parts that are judged; as JSON gives it back."""
    files = {"fp32": {"path": "variants/fp32.onnx", "sha256": "a" * 64, "size_bytes": 900, "scores": asdict(FILE)}}
    speed = {"fp32": {"prefill": timed(2_000_000), "token": timed(1_000_000)}}
    variants, gate = judge.variants(files, speed, base=TEACHER, limits=LIMITS | limits)
    base = json.loads(json.dumps(asdict(TEACHER)))
    variants = json.loads(json.dumps(variants))
    for variant in variants:
        variant["raw_sha256"] = seal(variant, base=base, checks=variant["gate"]["checks"], target=TARGET)
    made = {
        "schema_version": SCHEMA_VERSION,
        "kind": "language",
        "name": "story",
        "base": "teacher",
        "arms": [{"name": "teacher", "scores": base, "test": TEACHER.summary()}],
        "variants": variants,
        "gate": {**asdict(gate), "variant": "fp32"},
        "target": TARGET,
    }
    found: dict[str, Any] = json.loads(json.dumps(made))
    return checked(found, Path("report.json"))
