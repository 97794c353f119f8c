"""Runs this folder's network: `infer.py` checks its samples, `infer.py SAMPLE [out.npz]` one more. JSON lines.

SAMPLE is an array (.npy), or what the network was trained on: a PNG or JPEG, a CSV of readings, a WAV file, a text in
quotes or a .txt file. A file beside this one, which read the training data too, makes the same numbers of it.
`infer.py --samples out.npz` saves what it makes of the bundle's own sample files, for `edgekd verify`.
"""

import json
import os
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent

READERS = {
    "image": ("read_picture.py", (".png", ".jpg", ".jpeg")),
    "audio": ("read_wav.py", (".wav",)),
    "series": ("read_window.py", (".csv", ".tsv")),
    "text": ("read_text.py", (".txt",)),
}
"""Kind of data -> the file beside this one that reads it, and the endings of such files."""

PACKAGES = {"image": "pillow", "text": "tokenizers"}
"""Kind of data -> the package that its reader needs."""

NOT_INSTALLED = 3
"""The exit code where a package is missing."""


def open_session(model: Path, facts: dict[str, Any]) -> Any:
    import onnxruntime as ort

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


def middle(facts: dict[str, Any]) -> float:
    """The output of a multi-label network at a probability of 1/2."""
    return 0.5 if facts["outputs"][0].get("scale") == "probabilities" else 0.0


def named(output: Any, labels: list[str], half: float) -> list[dict[str, Any]]:
    """The labels of a multi-label network whose probability is above 1/2, the surest first."""
    each = output.astype(np.float64) if half else 1.0 / (1.0 + np.exp(-output.astype(np.float64)))
    order = [k for k in np.argsort(-each, kind="stable") if output[k] > half]
    return [{"label": labels[k], "probability": float(each[k])} for k in order]


def apart(measure: str, output: Any, expected: Any) -> float:
    difference = np.abs(output.astype(np.float64).ravel() - expected.astype(np.float64).ravel())
    if difference.size == 0:
        return 0.0
    if measure == "largest":
        return float(difference.max())
    return float(np.sqrt(np.square(difference).mean()) if measure == "rms" else (difference > 0).mean())


def check(session: Any, facts: dict[str, Any], limits: list[Any], samples: Any, labels: list[str]) -> int:
    """A line a sample; 1 if one has another class, other labels or, without classes, is further off than allowed."""
    differing, kind = 0, facts["outputs"][0]["kind"]
    expected = [samples[f"outputs_{k}" if k else "outputs"] for k in range(len(limits))]
    for k, sample in enumerate(samples["inputs"]):
        outputs = infer(session, facts, sample)
        far = [apart(limit["measure"], o, e[k]) for limit, o, e in zip(limits, outputs, expected, strict=True)]
        if kind == "values":
            differing += any(not d <= limit["allowed"] for d, limit in zip(far, limits, strict=True))
            names = [output["name"] for output in facts["outputs"]]
            print(json.dumps({"sample": k, "difference": dict(zip(names, far, strict=True))}))
        elif kind == "multi-label":  # a logit as near to 0 as outputs may differ elsewhere decides nothing
            half = middle(facts)
            clear = np.abs(expected[0][k] - half) > limits[0]["allowed"]
            differing += bool((((outputs[0] > half) != (expected[0][k] > half)) & clear).any())
            print(json.dumps({"labels": named(outputs[0], labels, half), "max_difference": far[0]}))
        else:
            top, probability = int(outputs[0].argmax()), float(probabilities(outputs[0], kind).max())
            differing += int(top != expected[0][k].argmax())
            print(json.dumps({"label": labels[top], "probability": probability, "max_difference": far[0]}))
    return 1 if differing else 0


def show(outputs: list[Any], facts: dict[str, Any], labels: list[str]) -> None:
    kind = facts["outputs"][0]["kind"]
    if kind == "multi-label":
        for line in named(outputs[0], labels, middle(facts)) or [{"labels": []}]:
            print(json.dumps(line))
        return
    if kind != "values":
        probability = probabilities(outputs[0], kind)
        for k in np.argsort(-probability, kind="stable")[:3]:
            print(json.dumps({"label": labels[k], "probability": float(probability[k])}))
        return
    for output, array in zip(facts["outputs"], outputs, strict=True):
        ends = {"min": array.min().item(), "max": array.max().item()} if array.size else {}
        print(json.dumps({"output": output["name"], "shape": array.shape, "dtype": str(array.dtype), **ends}))


def reader(kind: str) -> Any:
    """The code that read the files for training; it lies beside this file."""
    path = HERE / READERS[kind][0]
    module = types.ModuleType(path.stem)
    module.__file__ = str(path)
    exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)  # an import would leave a folder of bytecode
    return module


def read_file(name: str, kind: str | None, wanted: dict[str, Any], preprocessing: dict[str, Any]) -> Any:
    if kind is not None and name.lower().endswith(READERS[kind][1]) and os.path.isfile(name):  # noqa: PTH113  a text may be too long a name
        sample = reader(kind).read(Path(name), preprocessing[kind]).astype(wanted["dtype"])
        if kind == "image" and wanted["layout"] == "nchw":
            sample = np.ascontiguousarray(sample.transpose(2, 0, 1))
    elif kind == "text" and not name.endswith(".npy"):
        sample = reader(kind).read_words(name, preprocessing[kind]).astype(wanted["dtype"])
    else:
        sample = np.load(name, allow_pickle=False)
    return sample


def read_sample(name: str, wanted: dict[str, Any], preprocessing: dict[str, Any]) -> Any:
    """What the network is fed for a file, or a text. wanted: of its input; preprocessing: of manifest.json.

    Raises:
        ValueError: the file cannot be read, or is not what the network takes.
        ImportError: a package that reads such files is not installed.
    """
    kind = next((kind for kind in READERS if kind in preprocessing), None)
    try:
        sample = read_file(name, kind, wanted, preprocessing)
    except ImportError as err:
        raise ImportError(f"{err}; to read such files: pip install {PACKAGES.get(kind or '', 'numpy')}") from err
    shape = wanted["shape"][1:]
    sample = sample[0] if sample.ndim == len(shape) + 1 and len(sample) == 1 else sample
    fits = sample.ndim == len(shape) and all(want in (None, n) for want, n in zip(shape, sample.shape, strict=True))
    if not fits or sample.dtype != wanted["dtype"]:
        raise ValueError(f"found {sample.dtype} {list(sample.shape)}; expected {wanted['dtype']} {shape}")
    if sample.dtype.kind == "f" and not np.isfinite(sample).all():
        place = np.argwhere(~np.isfinite(sample))[0]
        raise ValueError(f"{name}: found {sample[tuple(place)]} at {place.tolist()}; expected finite numbers")
    return sample


def check_files(facts: dict[str, Any], manifest: dict[str, Any], inputs: Any) -> int:
    """A line for each sample file; 1 if one is read as other numbers than the network was evaluated on."""
    differing = 0
    for entry in manifest.get("sample_files", ()):
        try:
            found = read_sample(str(HERE / entry["name"]), facts["input"], manifest["preprocessing"])
        except ImportError as err:
            print(f"{entry['name']}: not read ({err})", file=sys.stderr)
            continue
        far = apart("largest", found, inputs[entry["row"]])
        differing += far > entry["largest"]
        print(json.dumps({"file": entry["name"], "input_difference": far}))
    return 1 if differing else 0


def save_files(session: Any, facts: dict[str, Any], manifest: dict[str, Any], out: str) -> int:
    """What the network is fed for each sample file, and what it answers, for `edgekd verify`."""
    arrays = {}
    for k, entry in enumerate(manifest["sample_files"]):
        sample = read_sample(str(HERE / entry["name"]), facts["input"], manifest["preprocessing"])
        arrays[f"input_{k}"] = sample
        outputs = [] if session is None else infer(session, facts, sample)
        arrays |= {f"output_{k}_{i}": output for i, output in enumerate(outputs)}
    np.savez(out, **arrays)
    return 0


def session_if_installed(facts: dict[str, Any]) -> Any:
    try:
        return open_session(HERE / "model.onnx", facts)
    except ImportError:
        return None


def run(arguments: list[str]) -> int:
    facts, manifest = (json.loads((HERE / f"{name}.json").read_text("utf-8")) for name in ("session", "manifest"))
    if arguments[:1] == ["--samples"]:
        return save_files(session_if_installed(facts), facts, manifest, arguments[1])
    labels = json.loads((HERE / "labels.json").read_text("utf-8")) if (HERE / "labels.json").exists() else []
    session = open_session(HERE / "model.onnx", facts)
    if not arguments:
        samples = np.load(HERE / "samples.npz", allow_pickle=False)
        differing = check(session, facts, manifest["tolerance"]["outputs"], samples, labels)
        return max(differing, check_files(facts, manifest, samples["inputs"]))
    outputs = infer(session, facts, read_sample(arguments[0], facts["input"], manifest["preprocessing"] or {}))
    show(outputs, facts, labels)
    if len(arguments) > 1:
        np.savez(
            arguments[1], **{output["name"]: array for output, array in zip(facts["outputs"], outputs, strict=True)}
        )
    return 0


def main() -> int:
    try:
        return run(sys.argv[1:])
    except (ValueError, OSError) as err:
        print(err, file=sys.stderr)
        return 1
    except ImportError as err:
        print(err, file=sys.stderr)
        return NOT_INSTALLED


if __name__ == "__main__":
    sys.exit(main())
