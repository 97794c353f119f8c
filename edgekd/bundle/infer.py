"""Runs this folder's classifier: `infer.py` checks its samples, `infer.py image.npy` names one image. JSON lines."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort


def open_session(model: Path, facts: dict[str, Any]) -> Any:
    options, wanted = ort.SessionOptions(), facts["options"]
    options.intra_op_num_threads, options.inter_op_num_threads = wanted["threads"], wanted["inter_op_threads"]
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, facts["graph_optimization_level"])
    for key, value in facts["session_config"].items():
        options.add_session_config_entry(key, value)
    session = ort.InferenceSession(str(model), options, [(wanted["provider"], wanted["provider_options"])])
    if session.get_providers()[0] != wanted["provider"]:  # ONNX Runtime would run on the CPU without an error
        sys.exit(f"{wanted['provider']} is not in this onnxruntime, or did not start")
    return session


def infer(session: Any, facts: dict[str, Any], sample: Any) -> tuple[Any, Any]:
    batch = np.repeat(sample[None], facts["input"]["shape"][0] or 1, axis=0)  # null where the batch is dynamic
    outputs = session.run([facts["output"]["name"]], {facts["input"]["name"]: batch})[0][0].astype(np.float32)
    weights = np.exp(outputs - outputs.max()) if facts["output"]["kind"] == "logits" else outputs
    return outputs, weights / weights.sum()


def main() -> int:
    here = Path(__file__).resolve().parent
    facts, labels = (json.loads((here / f"{name}.json").read_text("utf-8")) for name in ("session", "labels"))
    session = open_session(here / "model.onnx", facts)
    if len(sys.argv) > 1:
        image, shape = np.load(sys.argv[1], allow_pickle=False), facts["input"]["shape"][1:]
        image = image[0] if image.ndim == len(shape) + 1 and len(image) == 1 else image
        fits = image.ndim == len(shape) and all(want in (None, n) for want, n in zip(shape, image.shape, strict=True))
        if not fits or image.dtype != facts["input"]["dtype"]:
            sys.exit(f"found {image.dtype} {list(image.shape)}; expected {facts['input']['dtype']} {shape}")
        probability = infer(session, facts, image)[1]
        for k in np.argsort(-probability, kind="stable")[:3]:
            print(json.dumps({"label": labels[k], "probability": float(probability[k])}))
        return 0
    differing = 0
    samples = np.load(here / "samples.npz", allow_pickle=False)
    for sample, expected in zip(samples["inputs"], samples["outputs"], strict=True):
        outputs, probability = infer(session, facts, sample)
        top, difference = int(outputs.argmax()), float(np.abs(outputs - expected).max())
        differing += int(top != expected.argmax())
        print(json.dumps({"label": labels[top], "probability": float(probability[top]), "max_difference": difference}))
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
