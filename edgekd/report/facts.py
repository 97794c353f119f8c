"""Facts of a run as (name, value) pairs: everything that the report holds beside tables and charts."""

from collections.abc import Iterator, Mapping
from typing import Any

from edgekd.report.wording import DASH, percent, plural

Fact = tuple[str, str]
BULK = {
    "fixed_entropy",
    "soft_entropy",
    "test_predictions",
    "history",
    "classes",
    "values",
    "samples_ns",
    "per_class",
    "not_measured",
    "positives",
    "outcomes",
}
METHODS = {
    "cist": "CIST, adaptive temperature",
    "entropy": "soft labels of equal entropy",
    "kd": "knowledge distillation, fixed temperature",
    "ce": "labels alone",
}
SYMBOLS = {
    "rho": "ρ",
    "temperature": "T",
    "target_nats": "entropy",
    "kd_weight": "weight of KL",
    "ce_weight": "of labels",
}


def flatten(values: Mapping[str, Any] | None, *, prefix: str = "") -> list[Fact]:
    """Every leaf of a nested mapping as (dotted name, value in words); bulk arrays are left out."""
    return list(_leaves(values or {}, prefix))


def method(student: Mapping[str, Any]) -> str:
    """How the student learned, with the numbers that matter to the method."""
    how = student["method"]
    parts = [f"{SYMBOLS.get(key, key)} = {number(value)}" for key, value in how["knobs"].items()]
    epochs = plural(len(student.get("history") or ()), "epoch")
    return ", ".join([METHODS.get(how["name"], how["name"]), *parts, epochs])


def quality(network: Mapping[str, Any]) -> str | None:
    """How right a teacher or student is on the test samples: top-1, or F1 of sets of labels; None without labels."""
    if network.get("test_micro_f1") is not None:
        return f"{percent(network['test_micro_f1'])} micro F1, {percent(network['test_map'])} mAP"
    return None if network["test_top1"] is None else f"{percent(network['test_top1'])} top-1"


def machine(report: Mapping[str, Any], variant: Mapping[str, Any] | None) -> str:
    """Where the latency was measured: processor, instruction set, threads, provider and runtime version."""
    latency = (variant or {}).get("latency") or {}
    parts = [str(report["environment"].get("cpu_model") or "")]
    if latency:
        provider = str(latency["provider"]).removesuffix("ExecutionProvider")
        parts += [
            latency["isa"],
            plural(latency["threads"], "thread"),
            f"onnxruntime {latency['onnxruntime']} ({provider})",
            f"batch {latency['batch_size']}",
            f"n = {latency['n']:,} in {plural(latency['rounds'], 'round')}",
        ]
    return ", ".join(part for part in parts if part)


def number(value: Any) -> str:
    """A setting as its author would write it: no padding zeros."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _leaves(values: Mapping[str, Any], prefix: str) -> Iterator[Fact]:
    for key, value in values.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if key in BULK:
            continue
        if isinstance(value, Mapping):
            yield from _leaves(value, name)
        elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
            for index, item in enumerate(value, start=1):
                yield from _leaves(item, f"{name}.{index}")
        else:
            yield name, _leaf(key, value)


def _leaf(key: str, value: Any) -> str:
    if value is None or value in ("", [], ()):
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and key.endswith(("top1", "agreement", "f1", "map")):
        return percent(value, decimals=2)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    return ", ".join(number(item) for item in value) if isinstance(value, list | tuple) else str(value)
