"""How far repeats of an instruction count are apart, whatever else the machine does.

    python -m benchmarks.instructions_repeat                     # a dense net, an int8 and an fp32 CNN made here
    python -m benchmarks.instructions_repeat MODEL.onnx ...      # your files, on random numbers
    python -m benchmarks.instructions_repeat --repeats 5 --method callgrind

Each repeat is a run of N and one of 2N inferences, in fresh processes. The goal is a range of at most 0.5 %.
"""

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks import turns
from edgekd.instructions import Instructions, count, interval
from edgekd.progress import Progress
from edgekd.session import INPUT_TYPES, SessionOptions, open_session

OPTIONS = SessionOptions()
GOAL = 0.005
PICTURE = (1, 3, 16, 16)
Array = npt.NDArray[Any]


def main() -> int:
    """Print a table, a row a file."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("files", nargs="*", type=Path, metavar="MODEL.onnx", help="instead of the small nets")
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--runs", type=int, default=100, help="N; slow networks get fewer")
    arguments.add_argument("--method", choices=("callgrind", "perf"), help="perf where it counts, else callgrind")
    arguments.add_argument("--timeout-seconds", type=float, default=600.0, help="of each process")
    arguments.add_argument("--out", type=Path, help="a JSON file for the raw counts")
    return turns.answer(report, arguments.parse_args())


def report(chosen: argparse.Namespace) -> None:
    """Count every file and print what came out."""
    env = turns.start(chosen)
    found: dict[str, Instructions] = {}
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for path in chosen.files or small_nets(Path(folder)):
            started = time.monotonic()
            found[path.stem] = count(path, feeds(path), OPTIONS, runs=chosen.runs, repeats=chosen.repeats,
                                     method=chosen.method, timeout_seconds=chosen.timeout_seconds,
                                     listener=say)  # fmt: skip
            seconds[path.stem] = time.monotonic() - started
    first = next(iter(found.values()))
    print(
        turns.head(env, [{"device": "cpu", "versions": {"onnxruntime": first.onnxruntime, first.method: first.tool}}])
    )
    rows = [row(name, result, seconds[name]) for name, result in found.items()]
    print("\n" + turns.table(("file", "method", "ISA seen", "N", "instructions", "range of repeats", "goal 0.5 %",
                              "uncertainty used", "s a repeat"), rows))  # fmt: skip
    turns.keep(chosen.out, env, chosen, {name: asdict(result) for name, result in found.items()})


def row(name: str, found: Instructions, seconds: float) -> tuple[str, ...]:
    """The cells of a file; the range of one repeat says nothing."""
    several = len(found.counts) > 1
    return (
        name,
        found.method,
        found.isa,
        f"{found.runs[0]}",
        f"{found.per_inference:,.0f}",
        f"{found.spread:.4%}" if several else "–",
        ("met" if found.spread <= GOAL else "missed") if several else "–",
        f"{interval(found):.2%}",
        f"{seconds / len(found.counts):.0f}",
    )


def feeds(path: Path) -> dict[str, Array]:
    """Five batches of random numbers for every input, sizes that the file leaves open taken as 1."""
    rng = np.random.default_rng(0)
    made: dict[str, Array] = {}
    for entry in open_session(path, OPTIONS).get_inputs():
        shape = [5, *(size if isinstance(size, int) and size > 0 else 1 for size in entry.shape)]
        if entry.type == "tensor(uint8)":
            made[entry.name] = rng.integers(0, 256, shape, dtype=np.uint8)
        else:
            made[entry.name] = rng.normal(size=shape).astype(INPUT_TYPES.get(entry.type, np.int64))
    return made


def small_nets(folder: Path) -> Sequence[Path]:
    """Three layers of MatMul, and three convolutions as fp32 and as int8."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    dense = write(folder / "dense_fp32.onnx", (1, 128), layers("MatMul", [(128, 256), (256, 256), (256, 10)]))
    cnn = write(folder / "cnn_fp32.onnx", PICTURE, layers("Conv", [(16, 3, 3, 3), (16, 16, 3, 3), (16, 16, 3, 3)]))
    int8 = folder / "cnn_int8.onnx"

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches = iter([{"x": batch} for batch in feeds(cnn)["x"]])

        def get_next(self) -> dict[str, Array] | None:
            return next(self.batches, None)

    logging.disable(logging.WARNING)  # it advises a preparation that these nets do not need
    quantize_static(str(cnn), str(int8), Reader(), per_channel=True, activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8)  # fmt: skip
    return dense, int8, cnn


def layers(op: str, shapes: Sequence[tuple[int, ...]]) -> Mapping[str, tuple[str, Array]]:
    """Name of a layer -> its operator and its weight, random, seed 0."""
    rng = np.random.default_rng(0)
    return {f"l{i}": (op, rng.normal(0, 0.1, shape).astype(np.float32)) for i, shape in enumerate(shapes)}


def write(path: Path, shape: tuple[int, ...], made: Mapping[str, tuple[str, Array]]) -> Path:
    """A chain of the layers with a ReLU after each, input `x`."""
    nodes, last = [], "x"
    for name, (op, _) in made.items():
        pads: dict[str, Any] = {"pads": [1] * 4} if op == "Conv" else {}
        nodes += [helper.make_node(op, [last, f"{name}_w"], [f"{name}_y"], name=name, **pads)]
        nodes += [helper.make_node("Relu", [f"{name}_y"], [f"{name}_r"], name=f"{name}_relu")]
        last = f"{name}_r"
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, f"{name}_w") for name, (_, weight) in made.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(onnx.shape_inference.infer_shapes(model), str(path))
    return path


def say(progress: Progress) -> None:
    """A line of progress on stderr."""
    turns.say(f"{progress.stage}: {progress.done:.0f} of {progress.total:.0f} {progress.note}")


if __name__ == "__main__":
    sys.exit(main())
