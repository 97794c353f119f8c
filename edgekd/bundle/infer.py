"""Runs this folder's network: `infer.py` checks its samples, `infer.py SAMPLE [out.npz]` one more. JSON lines.

SAMPLE is an array (.npy), or a CSV where the network takes readings, or a WAV file where it takes sound, or a text in
quotes where it takes texts.
"""

import csv
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


def read_sound(path: str, wanted: dict[str, Any]) -> Any:
    """The beginning of a WAV file, or all of it and silence, as the network was trained on."""
    from read_wav import fit, read_wav  # type: ignore[import-not-found]  # lies beside this file in a bundle

    try:
        samples, rate = read_wav(Path(path), mix=wanted["audio"]["mono"] == "mix")
    except ValueError as err:
        sys.exit(str(err))
    if rate != wanted["audio"]["sample_rate"]:
        sys.exit(f"{path}: {rate} samples a second; expected {wanted['audio']['sample_rate']}: resample it")
    return fit(samples, wanted["shape"][1])


def read_table(path: str, wanted: dict[str, Any]) -> Any:
    """A window of readings from a CSV with a header line; the channels by name, where the network knows their names."""
    with Path(path).open(encoding="utf-8-sig", newline="") as file:
        header, *rows = [row for row in csv.reader(file) if row] or [[]]
    header = [name.strip() for name in header]
    names = wanted["series"]["channels"] or header
    if missing := [name for name in names if name not in header]:
        sys.exit(f"{path}: has no column '{missing[0]}'; expected {', '.join(names)}")
    try:
        sample = np.array([[row[header.index(name)] for name in names] for row in rows], dtype=np.float64)
    except (ValueError, IndexError) as err:
        sys.exit(f"{path}: {err}; expected a number in every column")
    return sample.astype(wanted["dtype"])


def read_text(text: str, wanted: dict[str, Any]) -> Any:
    """Token numbers of a text, cut and padded with 0 as the network was trained on."""
    file = Path(__file__).resolve().parent / "tokenizer.json"
    if not file.exists():
        sys.exit("this bundle has no tokenizer.json; give token numbers as an .npy file")
    try:
        from tokenizers import Tokenizer
    except ImportError:
        sys.exit("texts need the package tokenizers: pip install tokenizers; or give token numbers as an .npy file")
    tokenizer = Tokenizer.from_file(str(file))
    length = wanted["text"]["max_tokens"]
    tokenizer.no_padding()
    tokenizer.enable_truncation(length)
    numbers = tokenizer.encode(text).ids
    return np.array(numbers + [0] * (length - len(numbers)), dtype=wanted["dtype"])


def read_sample(path: str, wanted: dict[str, Any]) -> Any:
    if "text" in wanted and not path.endswith(".npy"):
        return read_text(path, wanted)
    if "audio" in wanted and path.lower().endswith(".wav"):
        return read_sound(path, wanted)
    table = "series" in wanted and path.lower().endswith(".csv")
    sample, shape = read_table(path, wanted) if table else np.load(path, allow_pickle=False), wanted["shape"][1:]
    sample = sample[0] if sample.ndim == len(shape) + 1 and len(sample) == 1 else sample
    fits = sample.ndim == len(shape) and all(want in (None, n) for want, n in zip(shape, sample.shape, strict=True))
    if not fits or sample.dtype != wanted["dtype"]:
        sys.exit(f"found {sample.dtype} {list(sample.shape)}; expected {wanted['dtype']} {shape}")
    if "series" in wanted and not np.isfinite(sample).all():
        row, channel = np.argwhere(~np.isfinite(sample))[0]
        sys.exit(f"{path}: found {sample[row, channel]} in reading {row}, channel {channel}; expected finite numbers")
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
