"""The parts of the sample report that are no measurement of a variant."""

import math
from typing import Any

import numpy as np


def teacher(rng: np.random.Generator, k: int) -> dict[str, Any]:
    """The teacher's part."""
    return {
        "model": "wrn_16_2",
        "parameters": 691_674,
        "macs": 77_900_000,
        "sha256": "c0ffee00" * 8,
        "train_top1": 0.961,
        "validation_top1": 0.948,
        "test_top1": 0.942,
        "test_predictions": rng.integers(0, k, 1000).tolist(),
    }


def student(rng: np.random.Generator, k: int) -> dict[str, Any]:
    """The student's part, after ten epochs: entropies spread under one temperature, narrow under CIST."""
    top = math.log(k)
    return {
        "weights": "student.safetensors",
        "model": "resnet8",
        "parameters": 77_850,
        "macs": 9_570_000,
        "method": {"name": "cist", "knobs": {"rho": 1.27, "kd_weight": 8.0}},
        "fixed_entropy": np.clip(rng.normal(0.68 * top, 0.11 * top, 4000), 0, top).round(5).tolist(),
        "soft_entropy": np.clip(rng.normal(0.915 * top, 0.012 * top, 4000), 0, top).round(5).tolist(),
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


def export() -> dict[str, Any]:
    """The export's part."""
    return {
        "path": "model.onnx",
        "sha256": "ab12" * 16,
        "opset": 18,
        "input_layout": "nhwc",
        "input_name": "pixels",
        "tolerance": 1e-3,
        "max_difference": 6.7e-06,
        "top1_agreement": 1.0,
        "n": 1000,
        "checks": [{"batch": batch, "max_difference": 6.7e-06} for batch in (1, 2, 7)],
    }


def search() -> dict[str, Any]:
    """The part of the search for variants."""
    tried = "uint8 activations x int8 weights, a scale a channel, minmax ranges"
    return {
        "decisions": [
            _decision("variants", "int8-u8s8", tried, True, "its first file", (0.43, 31.2, 0.004)),
            _decision("ranges", "int8-u8s8", tried.replace("minmax", "mse"), True, "+2.1 dB on the 31.2 dB before",
                      (0.43, 33.3, 0.003)),
            _decision("repair", "int8-u8s8", "cross-layer equalisation", False, "no two layers whose channels could "
                      "be matched: one layer", (None, None, None)),
        ],
        "notes": ["converted from opset 11 to 13, the oldest with one scale a channel"],
        "seconds": 41.7,
        "complete": True,
        "warnings": ["calibrated on 20 samples; expected at least 32, better some hundreds"],
    }  # fmt: skip


def _decision(
    stage: str, variant: str, tried: str, kept: bool, reason: str, numbers: tuple[float | None, ...]
) -> dict[str, Any]:
    measured = dict(zip(("ratio", "sqnr_db", "drop"), numbers, strict=True))
    return {
        "stage": stage,
        "variant": variant,
        "tried": tried,
        "kept": kept,
        "reason": reason,
        "seconds": 1.3,
        **measured,
    }


# operator, kind, kernels, milliseconds
FP32_OPERATORS = (
    ("Conv", "float", 9, 0.371),
    ("GlobalAveragePool", "float", 1, 0.006),
    ("ReorderOutput", "other", 1, 0.004),
    ("Gemm", "float", 1, 0.005),
)
INT8_OPERATORS = (
    ("QLinearConv", "int8", 9, 0.131),
    ("QLinearAdd", "int8", 3, 0.015),
    ("QuantizeLinear", "quantize", 1, 0.004),
    ("QGemm", "int8", 1, 0.005),
    ("QLinearGlobalAveragePool", "int8", 1, 0.006),
)


def kernels(name: str) -> dict[str, Any]:
    """What ONNX Runtime ran of a variant."""
    int8 = name.startswith("int8")
    share = 0.93 if int8 else 0.0
    operators = INT8_OPERATORS if int8 else FP32_OPERATORS
    total = sum(ms for _, _, _, ms in operators)
    return {
        "by_op_type": [
            {"op_type": op_type, "kind": kind, "kernels": count, "ms": ms, "share": ms / total}
            for op_type, kind, count, ms in operators
        ],
        "slowest": [
            {"name": f"/block_{index}/{op_type}", "op_type": op_type, "kind": kind, "ms": ms, "share": ms / total}
            for index, (op_type, kind, _, ms) in enumerate(operators)
        ],
        "int8_time_share": share,
        "int8_node_share": share,
        "weight_only_time_share": 0.0,
        "unfused": {"count": 1, "time_share": 0.02, "names": ["input_QuantizeLinear"]},
        "fp32_islands": [],
        "nodes_per_provider": {"CPUExecutionProvider": 14},
        "on_cpu": [],
        "memory_copies": 0,
        "sentence": f"{100 * share:.0f} % of the time in int8 kernels; 1 unfused Q/DQ kernel (2 %)",
    }


def target() -> dict[str, Any]:
    """The target's part."""
    return {
        "name": "x86-1t",
        "title": "x86-64, 1 thread",
        "description": "One thread of a current x86-64 CPU; this machine stands for your x86 device.",
        "provider": "CPUExecutionProvider",
        "threads": 1,
        "spinning": True,
        "isa": None,
        "precisions": ["fp32", "int8-u8s8", "int8-u8u8"],
        "sources": ["U8S8 does not saturate with VNNI: https://onnxruntime.ai/docs/performance/"],
        "memory_bytes": 4_294_967_296,
        "proxy": True,
        "shows": "Accuracy of every variant as this CPU computes it, and which variant is fastest on this CPU.",
        "does_not_show": "Latency on a CPU with another clock or instruction set; heat and other load on the device.",
        "session_config": {},
        "budgets": {"max_p50_ms": 20.0, "max_load_ms": 500.0},
    }


def environment() -> dict[str, Any]:
    """The environment's part."""
    return {
        "python": "3.11.9",
        "platform": "Linux-6.8-x86_64",
        "machine": "x86_64",
        "cpu_model": "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz",
        "cpu_flags": ["avx2", "avx512f", "avx512_vnni"],
        "isa": "avx512_vnni",
        "cores_total": 2,
        "cores_granted": 2,
        "cgroup_quota": None,
        "memory_bytes": 16_800_000_000,
        "packages": {"onnxruntime": "1.32.0", "onnx": "1.23.2", "torch": "2.13.0", "numpy": "2.4.1"},
        "providers": ["CPUExecutionProvider"],
    }


def recipe() -> dict[str, Any]:
    """The recipe's part."""
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
