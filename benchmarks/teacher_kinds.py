"""The quickstart with its teacher as a network, an ONNX file, TorchScript, a table of scores, and an ensemble.

    python -m benchmarks.teacher_kinds --out runs/teacher-kinds [--epochs 10]

The first three are the same network in three forms: their students differ by float noise alone. A table answers for
each picture as it is, so it stands twice: with the quickstart's crops and mirrors under `fixed = true`, and without
them, beside the network without them.
"""

import argparse
import tomllib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgekd import data, pipeline
from edgekd.export import describe, export
from edgekd.network import Network
from edgekd.pixels import to_tensor
from edgekd.recipe import parse
from edgekd.teacher import load_teacher
from edgekd.teacher_kinds import weights

QUICKSTART = Path(__file__).resolve().parent.parent / "recipes" / "quickstart.toml"


def main() -> None:
    """Train the quickstart's student once with each, and print them side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=None)
    asked = parser.parse_args()
    document = tomllib.loads(QUICKSTART.read_text(encoding="utf-8"))
    if asked.epochs is not None:
        document["distill"]["epochs"] = asked.epochs
    asked.out.mkdir(parents=True, exist_ok=True)
    print(f"{'teacher':<28}{'augment':<12}{'teacher test':>14}{'student test':>14}{'seconds':>10}")
    for name, (teacher, augment) in forms(document, asked.out).items():
        changed = {**document, "teacher": teacher, "data": {"source": document["data"]["source"], "augment": augment}}
        changed["data"] |= {"crop_padding": document["data"]["crop_padding"]} if "crop" in augment else {}
        outcome = pipeline.run(parse(changed, origin=name), folder=asked.out / name, until="distill")
        learned, student = outcome.report["teacher"], outcome.report["student"]
        tops = f"{learned['test_top1']:>14.2%}{student['test_top1']:>14.2%}"
        print(f"{name:<28}{augment:<12}{tops}{student['seconds']:>10.0f}", flush=True)


def forms(document: dict[str, Any], folder: Path) -> dict[str, tuple[dict[str, Any], str]]:
    """Name -> the section [teacher] and data.augment."""
    section, augment = document["teacher"], document["data"]["augment"]
    files = written(document, folder)
    table = {"kind": "scores", "path": str(files["scores"])}
    onnx = {"kind": "onnx", "path": str(files["onnx"])}
    members = ({**section, "weight": 1.0}, {**onnx, "weight": 1.0})
    return {
        "network": (section, augment),
        "onnx": (onnx, augment),
        "torchscript": ({"kind": "torchscript", "path": str(files["torchscript"]), "dtype": "uint8"}, augment),
        "ensemble": ({"kind": "ensemble", "members": members}, augment),
        "scores-fixed": (table | {"fixed": True}, augment),
        "network-unaugmented": (section, "none"),
        "scores-unaugmented": (table, "none"),
    }


def written(document: dict[str, Any], folder: Path) -> dict[str, Path]:
    """The quickstart's teacher as files."""
    dataset = data.load(document["data"]["source"], seed=document["seed"])
    recipe = parse(document, origin="quickstart")
    assert recipe.teacher is not None
    model = str(recipe.teacher.model)
    net = load_teacher(weights(recipe.teacher), dataset, model=model, options={}, mean=None, std=None)
    paths = {"onnx": folder / "teacher.onnx", "torchscript": folder / "teacher.pt", "scores": folder / "scores.npz"}
    described = describe(net, classes=dataset.classes, input_layout="nhwc")
    inputs = dataset.test.inputs[:64]
    export(net, paths["onnx"], inputs=inputs, opset=18, input_layout="nhwc", tolerance=1e-3, metadata=described)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example = to_tensor(dataset.test.inputs[:2], torch.device("cpu"))
        torch.jit.save(torch.jit.trace(net, example), str(paths["torchscript"]))  # type: ignore[no-untyped-call]
    np.savez(paths["scores"], **table_of(net, dataset))
    return paths


def table_of(net: Network, dataset: data.Dataset) -> dict[str, np.ndarray[Any, Any]]:
    """What the network says of every sample, with its name."""
    from edgekd.core.forward import predict

    parts = (dataset.train, dataset.calibration, dataset.validation, dataset.test)
    scores = [predict(net, to_tensor(part.inputs, torch.device("cpu"))).numpy() for part in parts]
    ids = [part.ids for part in parts if part.ids is not None]
    return {"ids": np.concatenate(ids), "scores": np.concatenate(scores), "classes": np.array(dataset.classes)}


if __name__ == "__main__":
    main()
