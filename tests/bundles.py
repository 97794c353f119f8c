"""What the tests of bundles share: small classifiers, and ways to change and run a bundle."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static
from onnxruntime.transformers.float16 import convert_float_to_float16

from edgekd import bundle, report
from edgekd.files import sha256
from edgekd.session import SessionOptions

CLASSES = ("top", "<script>", "unten ünd oben")
OPTIONS = SessionOptions(threads=1, session_config={"session.disable_prepacking": "1"})
FILES = {
    "model.onnx", "session.json", "labels.json", "samples.npz", "target.toml", "infer.py", "README.txt",
    "manifest.json", *report.FILES,
}  # fmt: skip

Write = Callable[..., bundle.Bundled]


def classifier(path: Path, *, batch: int | str = "batch", probabilities: bool = False, seed: int = 0) -> Path:
    """(batch, 8, 8, 1) uint8 -> cast, scale, convolution, ReLU, dense -> (batch, 3)."""
    draw = np.random.default_rng(seed)
    weights = {
        "scale": np.array(255, np.float32),
        "kernel": draw.normal(0, 0.5, (4, 1, 3, 3)).astype(np.float32),
        "dense": draw.normal(0, 0.2, (4 * 8 * 8, 3)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["floats", "scale"], ["unit"]),
        helper.make_node("Transpose", ["unit"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "kernel"], ["features"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["features"], ["positive"]),
        helper.make_node("Flatten", ["positive"], ["flat"]),
        helper.make_node("Gemm", ["flat", "dense"], ["scores"]),
        helper.make_node("Softmax" if probabilities else "Identity", ["scores"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, [batch, 8, 8, 1])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [batch, 3])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(model, {"edgekd": json.dumps({"input_layout": "nhwc", "classes": CLASSES})})
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def pictures(count: int = 16, *, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 1), dtype=np.uint8)


class Calibration(CalibrationDataReader):
    """Random pictures, one a batch."""

    def __init__(self) -> None:
        self.batches = iter(pictures(16, seed=2)[:, None])

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"pixels": batch}


def quantized(folder: Path, name: str) -> Path:
    """The classifier as ONNX Runtime's own tools convert it."""
    source, target = classifier(folder / "fp32.onnx"), folder / f"{name}.onnx"
    if name == "fp16":
        onnx.save(convert_float_to_float16(onnx.load(str(source)), keep_io_types=True), str(target))
    elif name == "int8-dynamic":
        quantize_dynamic(str(source), str(target), weight_type=QuantType.QUInt8)
    else:
        quantize_static(str(source), str(target), Calibration())
    return target


def writer(tmp_path: Path) -> Write:
    """A function that bundles a small classifier into `tmp_path/bundle`; arguments override the usual ones."""
    reports = [tmp_path / file for file in report.FILES]
    for path in reports:
        path.write_text(path.name)

    def write(folder: Path = tmp_path / "bundle", **more: Any) -> bundle.Bundled:
        usual = {
            "model": more.pop("model", None) or classifier(tmp_path / "made.onnx"),
            "variant": "fp32",
            "options": OPTIONS,
            "classes": CLASSES,
            "target_toml": 'name = "x86-1t"\n',
            "reports": reports,
            "inputs": pictures(),
            "isa": "avx2",
        }
        return bundle.write(folder, **{**usual, **more})

    return write


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "manifest.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def rehash(folder: Path, name: str) -> None:
    """Make the manifest agree with a file that was changed."""
    entry = {"sha256": sha256(folder / name), "size_bytes": (folder / name).stat().st_size}
    edit_manifest(folder, lambda document: document["files"].update({name: entry}))


def failed(verified: bundle.Verified) -> dict[str, str]:
    assert verified.passed is False
    return {check.name: check.detail for check in verified.checks if check.passed is False}


def run_infer(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """infer.py in isolated mode (-I: no current folder, no PYTHON variables), from another folder."""
    command = [sys.executable, "-I", str(folder / "infer.py"), *arguments]
    return subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)


def verify_without_onnxruntime(folder: Path) -> dict[str, Any]:
    code = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "import json, dataclasses, pathlib\n"
        "from edgekd import bundle\n"
        "print(json.dumps(dataclasses.asdict(bundle.verify(pathlib.Path(sys.argv[1])))))\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
