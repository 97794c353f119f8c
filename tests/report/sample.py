"""A report as a quickstart run writes it, with plausible numbers from a seeded generator."""

import math
from typing import Any

import numpy as np

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
# name: size in bytes, top-1, median in milliseconds, gate verdict, reason
VARIANTS: dict[str, tuple[int, float, float, str, str]] = {
    "fp32": (316_480, 0.874, 0.402, "pass", "slower than int8-u8s8: 0.402 ms against 0.171 ms"),
    "int8-u8s8": (101_733, 0.871, 0.171, "pass", "the fastest of those that meet every limit"),
    "int8-u8s8-7bit": (101_733, 0.868, 0.174, "pass", "slower than int8-u8s8: 0.174 ms against 0.171 ms"),
    "int8-u8u8": (101_914, 0.872, 0.339, "pass", "slower than int8-u8s8: 0.339 ms against 0.171 ms"),
    "int8-s8s8": (101_733, 0.870, 0.388, "inconclusive", "max_top1_drop: 0.40 pt [-0.9, 1.7] spans the limit of 1 pt"),
    "int8-dynamic": (104_220, 0.842, 0.731, "fail", "misses max_top1_drop and min_top1; slower than fp32"),
}
NOT_BUILT = ("fp16", "target x86-1t does not run fp16 (the CPU provider casts it to fp32)")
SHIPPED = "int8-u8s8"
TEST_IMAGES = 1000


def build(*, seed: int = 0, classes: tuple[str, ...] = CLASSES, labelled: bool = True) -> dict[str, Any]:
    """A whole passing report."""
    rng = np.random.default_rng(seed)
    variants = [_variant(name, rng, classes=classes, labelled=labelled) for name in VARIANTS]
    variants.append({**dict.fromkeys(variants[0]), "name": NOT_BUILT[0], "selected": False, "reason": NOT_BUILT[1]})
    variants[-1]["precision"] = NOT_BUILT[0]
    shipped = next(variant for variant in variants if variant["selected"])
    return {
        "schema_version": 1,
        "name": "quickstart",
        "edgekd_version": "0.1.0",
        "created": "2026-03-02T09:41:17Z",
        "recipe": _recipe(),
        "environment": _environment(),
        "target": _target(),
        "data": {
            "source": "fashion-mnist",
            "classes": list(classes),
            "counts": {"train": 4000, "calibration": 500, "validation": 500, "test": TEST_IMAGES},
            "input_shape": [28, 28, 1],
            "index_hash": "5f0c" * 16,
            "content_hash": "91ab" * 16,
            "repeated": 0,
        },
        "teacher": _teacher(rng, len(classes)),
        "student": _student(rng),
        "export": _export(),
        "variants": variants,
        "gate": {**shipped["gate"], "variant": SHIPPED, "exit_code": 0},
        "timings": {"data": 0.41, "distill": 51.8, "export": 3.2, "quantize": 6.9, "validate": 24.6},
    }


def judged(report: dict[str, Any], verdict: str) -> dict[str, Any]:
    """The report with its first check, its gate and its variant turned to `verdict`; a failure ships nothing."""
    for gate in (report["gate"], *(v["gate"] for v in report["variants"] if v["selected"])):
        gate["verdict"] = gate["checks"][0]["verdict"] = verdict
        gate["checks"][0]["note"] = "too slow for the budget" if verdict == "fail" else "the interval spans the limit"
    report["gate"]["exit_code"] = {"pass": 0, "fail": 1, "inconclusive": 3}[verdict]
    for variant in report["variants"]:
        if variant["selected"] and verdict != "pass":
            variant["reason"] = f"the best candidate, but max_p50_ms is {verdict}"
        variant["selected"] = variant["selected"] and verdict != "fail"
    return report


def _variant(name: str, rng: np.random.Generator, *, classes: tuple[str, ...], labelled: bool) -> dict[str, Any]:
    size, top1, p50, verdict, reason = VARIANTS[name]
    accuracy = _accuracy(rng, name, top1, classes) if labelled else _agreement(name)
    latency = _latency(rng, p50)
    return {
        "name": name,
        "precision": name.split("-", maxsplit=1)[0],
        "path": f"variants/{name}.onnx",
        "size_bytes": size,
        "sha256": rng.bytes(32).hex(),
        "accuracy": accuracy,
        "latency": latency,
        "gate": {"verdict": verdict, "checks": _checks(accuracy, latency, size, verdict)},
        "selected": name == SHIPPED,
        "reason": reason,
    }


def _wilson(share: float, n: int) -> tuple[float, float]:
    z2 = 1.96**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = 1.96 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return centre - half, centre + half


def _accuracy(rng: np.random.Generator, name: str, top1: float, classes: tuple[str, ...]) -> dict[str, Any]:
    k = len(classes)
    each = max(1, TEST_IMAGES // k)
    confusion = np.zeros((k, k), dtype=int)
    for true in range(k):
        odds = np.full(k, (1 - top1) / (2 * k))
        odds[(true + 2) % k] += (1 - top1) / 2
        odds[true] = top1
        confusion[true] = rng.multinomial(each, odds / odds.sum())
    low, high = _wilson(top1, TEST_IMAGES)
    drop = 0.874 - top1
    spread = 0.0 if name == "fp32" else 0.013
    return {
        "n": TEST_IMAGES,
        "labelled": True,
        "top1": top1,
        "top1_low": low,
        "top1_high": high,
        "top5": None,
        "macro_f1": top1 - 0.002,
        "ece": 0.031,
        "per_class": [_class(confusion, index, entry) for index, entry in enumerate(classes)],
        "confusion": confusion.tolist(),
        "agreement_teacher": 0.903,
        "agreement_teacher_low": 0.883,
        "agreement_teacher_high": 0.920,
        "agreement_fp32": 1.0 - abs(drop),
        "agreement_fp32_low": 0.98 - abs(drop),
        "agreement_fp32_high": 1.0,
        "top1_drop": drop,
        "top1_drop_low": drop - spread,
        "top1_drop_high": drop + spread,
        "outputs": "logits",
        "isa": "avx512-vnni",
    }


def _agreement(name: str) -> dict[str, Any]:
    """The accuracy of a variant on images without labels: only the agreement with fp32 is known."""
    full = _accuracy(np.random.default_rng(0), name, VARIANTS[name][1], CLASSES)
    known = ("n", "agreement_fp32", "agreement_fp32_low", "agreement_fp32_high", "outputs", "isa")
    empty = {"labelled": False, "per_class": [], "confusion": []}
    return {key: full[key] if key in known else None for key in full} | empty


def _class(confusion: np.ndarray, index: int, name: str) -> dict[str, Any]:
    right, true, taken = int(confusion[index, index]), int(confusion[index].sum()), int(confusion[:, index].sum())
    recall, precision = right / max(true, 1), right / max(taken, 1)
    f1 = 2 * recall * precision / max(recall + precision, 1e-9)
    return {"name": name, "n": true, "recall": recall, "precision": precision, "f1": f1}


def _latency(rng: np.random.Generator, p50: float) -> dict[str, Any]:
    rounds = [_round(rng, p50) for _ in range(3)]
    pooled = np.concatenate(rounds) / 1e6
    p50, p90, p99 = (float(value) for value in np.quantile(pooled, (0.5, 0.9, 0.99)))
    return {
        "batch_size": 1,
        "rounds": 3,
        "n": len(pooled),
        "p50_ms": p50,
        "p50_low": 0.985 * p50,
        "p50_high": 1.017 * p50,
        "p90_ms": p90,
        "p90_low": 0.97 * p90,
        "p90_high": 1.05 * p90,
        "p99_ms": p99,
        "p99_low": 0.9 * p99,
        "p99_high": 1.2 * p99,
        "mean_ms": float(pooled.mean()),
        "throughput_per_s": 1000 / float(pooled.mean()),
        "load_ms": 11.2,
        "load_low": 10.4,
        "load_high": 12.9,
        "first_inference_ms": 3 * p50,
        "peak_rss_bytes": 71_204_864,
        "warmup_runs": [40, 35, 50],
        "threads": 1,
        "threads_requested": 1,
        "spinning": False,
        "provider": "CPUExecutionProvider",
        "providers": ["CPUExecutionProvider"],
        "isa": "avx512-vnni",
        "onnxruntime": "1.32.0",
        "samples_ns": [samples.tolist() for samples in rounds],
    }


def _round(rng: np.random.Generator, p50: float) -> np.ndarray:
    """Log-normal around a median that drifts by a per cent from process to process, with a few late ones."""
    samples = p50 * rng.normal(1, 0.012) * np.exp(rng.normal(0, 0.045, 400))
    samples[rng.random(400) < 0.03] *= 1.6
    return (samples * 1e6).astype(int)


def _checks(accuracy: dict[str, Any], latency: dict[str, Any], size: int, verdict: str) -> list[dict[str, Any]]:
    drop = accuracy["top1_drop"]
    rows: list[tuple[str, float | None, float | None, float | None, float, str, str]] = [
        ("max_p50_ms", latency["p50_ms"], latency["p50_low"], latency["p50_high"], 5.0, "ms", "recipe"),
        ("max_load_ms", latency["load_ms"], latency["load_low"], latency["load_high"], 500.0, "ms", "target"),
        ("max_size_bytes", size, size, size, 400_000, "bytes", "recipe"),
        ("max_peak_rss_bytes", latency["peak_rss_bytes"], None, None, 512_000_000, "bytes", "target"),
        ("min_top1", accuracy["top1"], accuracy["top1_low"], accuracy["top1_high"], 0.80, "fraction", "recipe"),
        ("max_top1_drop", drop, accuracy["top1_drop_low"], accuracy["top1_drop_high"], 0.02, "fraction", "recipe"),
    ]
    return [
        {
            "name": name,
            "metric": name[4:],
            "value": value,
            "low": low,
            "high": high,
            "limit": limit,
            "unit": unit,
            "verdict": verdict if name == "max_top1_drop" else "pass",
            "source": source,
            "note": "paired with fp32 on the same 1,000 images" if name == "max_top1_drop" else "",
        }
        for name, value, low, high, limit, unit, source in rows
    ]


def _teacher(rng: np.random.Generator, k: int) -> dict[str, Any]:
    top = math.log(k)
    return {
        "model": "wrn_16_2",
        "parameters": 691_674,
        "macs": 77_900_000,
        "sha256": "c0ffee00" * 8,
        "train_top1": 0.961,
        "validation_top1": 0.948,
        "test_top1": 0.942,
        "rho": 1.27,
        "entropy_fixed": np.clip(rng.normal(0.68 * top, 0.11 * top, 4000), 0, top).round(5).tolist(),
        "entropy_cist": np.clip(rng.normal(0.915 * top, 0.012 * top, 4000), 0, top).round(5).tolist(),
        "test_predictions": rng.integers(0, k, TEST_IMAGES).tolist(),
    }


def _student(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "weights": "student.safetensors",
        "model": "resnet8",
        "parameters": 77_850,
        "macs": 9_570_000,
        "method": {"name": "cist", "rho": 1.27, "temperature": None, "kd_weight": 8.0, "ce_weight": 1.0},
        "history": [_epoch(rng, epoch) for epoch in range(1, 11)],
        "validation_top1": 0.878,
        "test_top1": 0.874,
        "seconds": 51.8,
        "device": "cpu",
        "precision": "fp32",
        "threads": 2,
        "logit_sd": 3.1,
        "logit_max": 14.2,
        "sha256": "beef" * 16,
    }


def _epoch(rng: np.random.Generator, epoch: int) -> dict[str, Any]:
    cross_entropy = 0.38 + 0.95 * math.exp(-epoch / 2.2) + float(rng.normal(0, 0.01))
    kl = 0.021 + 0.11 * math.exp(-epoch / 2.5)
    return {
        "epoch": epoch,
        "loss": cross_entropy + 8 * kl,
        "cross_entropy": cross_entropy,
        "kl": kl,
        "teacher_entropy_mean": 2.107,
        "teacher_entropy_sd": 0.027,
        "train_top1": 0.86 - 0.32 * math.exp(-epoch / 2.5),
        "learning_rate": 0.05 * (1 + math.cos(math.pi * epoch / 10)),
        "validation_top1": 0.878 - 0.30 * math.exp(-epoch / 2) + float(rng.normal(0, 0.006)),
        "seconds": 5.1,
    }


def _export() -> dict[str, Any]:
    return {
        "path": "model.onnx",
        "sha256": "ab12" * 16,
        "opset": 18,
        "input_layout": "nhwc",
        "input_name": "pixels",
        "tolerance": 1e-3,
        "max_difference": 6.7e-06,
        "top1_agreement": 1.0,
        "n": TEST_IMAGES,
        "checks": [{"batch": batch, "max_difference": 6.7e-06} for batch in (1, 2, 7)],
    }


def _target() -> dict[str, Any]:
    return {
        "name": "x86-1t",
        "description": "One thread of an x86 CPU",
        "provider": "CPUExecutionProvider",
        "threads": 1,
        "spinning": False,
        "proxy": True,
        "shows": "which variant is the fastest and the most accurate on this instruction set, and that the file runs",
        "does_not_show": "the device's own latency, its memory bandwidth, heat and throttling",
    }


def _environment() -> dict[str, Any]:
    return {
        "cpu": "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz",
        "isa": "avx512-vnni",
        "cores": 2,
        "memory_bytes": 16_800_000_000,
        "platform": "Linux-6.8-x86_64",
        "python": "3.11.9",
        "versions": {"onnxruntime": "1.32.0", "onnx": "1.23.2", "torch": "2.13.0", "numpy": "2.4.1"},
    }


def _recipe() -> dict[str, Any]:
    return {
        "path": "recipes/quickstart.toml",
        "sha256": "77aa" * 16,
        "overrides": ["distill.epochs=10"],
        "values": {
            "name": "quickstart",
            "seed": 0,
            "data": {"source": "fashion-mnist", "augment": "crop-flip", "crop_padding": 2, "resize": None},
            "distill": {"method": "cist", "rho": "auto", "epochs": 10, "learning_rate": 0.1},
            "gate": {"max_p50_ms": 5.0, "min_top1": 0.80, "max_top1_drop": 0.02},
        },
    }
