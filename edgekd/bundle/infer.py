"""Runs this folder's network: `infer.py` checks its samples, `infer.py sample.npy [out.npz]` one more. JSON lines."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort


def open_session(model: Path, facts: dict[str, Any]) -> Any:
    options, wanted, config = ort.SessionOptions(), facts["options"], dict(facts["session_config"])
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    options.intra_op_num_threads = min(wanted["threads"], cores)
    options.inter_op_num_threads = min(wanted["inter_op_threads"], cores)
    if max(wanted["threads"], wanted["inter_op_threads"]) > cores:  # they would wait for one another
        print(f"{wanted['threads']} threads wanted; this process has {cores} core(s)", file=sys.stderr)
        config.pop("session.intra_op_thread_affinities", None)  # it names as many processors as there were threads
    options.execution_mode = getattr(ort.ExecutionMode, facts["execution_mode"])
    options.enable_cpu_mem_arena, options.enable_mem_pattern = wanted["arena"], wanted["mem_pattern"]
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, facts["graph_optimization_level"])
    for key, value in config.items():
        options.add_session_config_entry(key, value)
    session = ort.InferenceSession(str(model), options, [(wanted["provider"], wanted["provider_options"])])
    if session.get_providers()[0] != wanted["provider"]:  # ONNX Runtime would run on the CPU without an error
        sys.exit(f"{wanted['provider']} is not in this onnxruntime, or did not start")
    return session


def infer(session: Any, facts: dict[str, Any], sample: Any) -> list[Any]:
    """All outputs of one sample, without the axis of the batch where they have one."""
    size = facts["input"]["shape"][0] or 1  # null where the batch is dynamic
    batch = np.repeat(sample[None], size, axis=0)
    outputs = session.run([output["name"] for output in facts["outputs"]], {facts["input"]["name"]: batch})
    return [output[0] if output.shape[:1] == (size,) else output for output in outputs]


def probabilities(output: Any, kind: str) -> Any:
    weights = np.exp(output.astype(np.float64) - output.max()) if kind == "logits" else output
    return weights / weights.sum()


def apart(measure: str, output: Any, expected: Any) -> float:
    difference = np.abs(output.astype(np.float64).ravel() - expected.astype(np.float64).ravel())
    if difference.size == 0:
        return 0.0
    if measure == "largest":
        return float(difference.max())
    return float(np.sqrt(np.square(difference).mean()) if measure == "rms" else (difference > 0).mean())


def check(session: Any, facts: dict[str, Any], limits: list[Any], samples: Any, labels: list[str]) -> int:
    """A line a sample; 1 if one has another class or, in a network without classes, is further off than allowed."""
    differing, kind = 0, facts["outputs"][0]["kind"]
    expected = [samples[f"outputs_{k}" if k else "outputs"] for k in range(len(limits))]
    for k, sample in enumerate(samples["inputs"]):
        outputs = infer(session, facts, sample)
        far = [apart(limit["measure"], o, e[k]) for limit, o, e in zip(limits, outputs, expected, strict=True)]
        if kind == "values":
            differing += any(not d <= limit["allowed"] for d, limit in zip(far, limits, strict=True))
            names = [output["name"] for output in facts["outputs"]]
            print(json.dumps({"sample": k, "difference": dict(zip(names, far, strict=True))}))
        else:
            top, probability = int(outputs[0].argmax()), float(probabilities(outputs[0], kind).max())
            differing += int(top != expected[0][k].argmax())
            print(json.dumps({"label": labels[top], "probability": probability, "max_difference": far[0]}))
    return 1 if differing else 0


def show(outputs: list[Any], facts: dict[str, Any], labels: list[str]) -> None:
    kind = facts["outputs"][0]["kind"]
    if kind != "values":
        probability = probabilities(outputs[0], kind)
        for k in np.argsort(-probability, kind="stable")[:3]:
            print(json.dumps({"label": labels[k], "probability": float(probability[k])}))
        return
    for output, array in zip(facts["outputs"], outputs, strict=True):
        ends = {"min": array.min().item(), "max": array.max().item()} if array.size else {}
        print(json.dumps({"output": output["name"], "shape": array.shape, "dtype": str(array.dtype), **ends}))


def read_sample(path: str, wanted: dict[str, Any]) -> Any:
    sample, shape = np.load(path, allow_pickle=False), wanted["shape"][1:]
    sample = sample[0] if sample.ndim == len(shape) + 1 and len(sample) == 1 else sample
    fits = sample.ndim == len(shape) and all(want in (None, n) for want, n in zip(shape, sample.shape, strict=True))
    if not fits or sample.dtype != wanted["dtype"]:
        sys.exit(f"found {sample.dtype} {list(sample.shape)}; expected {wanted['dtype']} {shape}")
    return sample


def main() -> int:
    here = Path(__file__).resolve().parent
    facts, manifest = (json.loads((here / f"{name}.json").read_text("utf-8")) for name in ("session", "manifest"))
    labels = json.loads((here / "labels.json").read_text("utf-8")) if (here / "labels.json").exists() else []
    session = open_session(here / "model.onnx", facts)
    if len(sys.argv) == 1:
        samples = np.load(here / "samples.npz", allow_pickle=False)
        return check(session, facts, manifest["tolerance"]["outputs"], samples, labels)
    outputs = infer(session, facts, read_sample(sys.argv[1], facts["input"]))
    show(outputs, facts, labels)
    if len(sys.argv) > 2:
        np.savez(
            sys.argv[2], **{output["name"]: array for output, array in zip(facts["outputs"], outputs, strict=True)}
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
