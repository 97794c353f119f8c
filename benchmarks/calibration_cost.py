"""Calibration beside ONNX Runtime's own: `python -m benchmarks.calibration_cost`.

Three goals: the same scales for any batch size; memory that does not grow with the number of images; no more than 1.2
times the time of ONNX Runtime's MinMax, and a third of its Percentile's and Entropy's. The network is a residual CNN of
a million parameters at 64x64, the images are noise. ONNX Runtime's calibrators come from `create_calibrator`, as
`quantize_static` calls it, with a session of as many threads. Both sides take turns in one process, from the file to
the ranges; a ratio is of two runs of the same round.
"""

import contextlib
import io
import json
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import turns
from benchmarks.turns import Child

GOALS = {"MinMax": 1.2, "Percentile": 1 / 3, "Entropy": 1 / 3}
SCALE_GOAL = 1e-6
MEMORY_GOAL = 150 * turns.MIB
BATCHES = (1, 7, 64)
METHODS = ("minmax", "percentile", "entropy", "mse")
FEW = 100
QUICK = {"images": 64, "many": 500, "rounds": 1}


def main() -> int:
    """Measure, print a table and what became of the goals."""
    parser = turns.parser(__doc__.split(":")[0])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--images", type=int, default=256, help="of a timed run; ONNX Runtime's Entropy keeps them all")
    parser.add_argument("--many", type=int, default=10_000, help=f"images whose peak memory is set beside {FEW}'s")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    return turns.answer(report, parser.parse_args())


def report(arguments: Namespace) -> None:
    """See `main`."""
    env = turns.start(arguments)
    for name, value in QUICK.items() if arguments.quick else ():
        setattr(arguments, name, value)
    with tempfile.TemporaryDirectory() as folder:
        write_network(Path(folder) / "cnn.onnx")
        write_images(Path(folder) / "images.npy", arguments.many)
        common = {"folder": folder, "batch_size": arguments.batch_size, "threads": arguments.threads}
        samples: dict[str, Any] = {}
        for task, images, rounds in (
            *(("scales", 2 * max(BATCHES) + 2, 1), ("memory", FEW, 1), ("memory", arguments.many, 1)),
            *((method, arguments.images, arguments.rounds) for method in GOALS),
        ):
            turns.say(f"{task}, {images} images")
            specification = common | {"task": task, "images": images, "rounds": rounds}
            samples[f"{task} {images}"] = Child(module="calibration_cost", specification=specification).run()
    print(turns.head(env, list(samples.values())), table(samples, arguments), sep="\n\n")
    print(*(f"\n{line}" for line in remarks(samples, arguments)), sep="")
    turns.keep(arguments.out, env, arguments, samples)


def table(samples: dict[str, Any], arguments: Namespace) -> str:
    """One row for each of ONNX Runtime's methods."""
    rows = []
    for method, goal in GOALS.items():
        found = samples[f"{method} {arguments.images}"]
        ratio = turns.paired_ratio(found["ours"], found["theirs"])
        each = [f"{1000 * float(np.median(found[side])) / arguments.images:.2f}" for side in ("theirs", "ours")]
        state = turns.verdict(ratio, goal, at_least=False)
        rows.append([method, *each, str(ratio), f"at most {goal:.2f}x: {state}"])
    return turns.table(["method", "ONNX Runtime, ms an image", "edgekd, ms an image", "edgekd / ORT", "goal"], rows)


def remarks(samples: dict[str, Any], arguments: Namespace) -> list[str]:
    """The other two goals."""
    apart = samples[f"scales {2 * max(BATCHES) + 2}"]["apart"]
    few, many = (samples[f"memory {images}"]["peak_bytes"] for images in (FEW, arguments.many))
    states = (
        "met" if max(apart.values()) <= SCALE_GOAL else "missed",
        "met" if many - few <= MEMORY_GOAL else "missed",
    )
    scales = ", ".join(f"{method} {value:.1e}" for method, value in apart.items())
    batches = ", ".join(map(str, BATCHES))
    return [
        f"- scales of batches {batches} apart, relative: {scales}; goal {SCALE_GOAL:g}: {states[0]}",
        f"- peak memory: {few / turns.MIB:,.0f} MiB for {FEW} images, {many / turns.MIB:,.0f} for {arguments.many:,} "
        f"({(many - few) / turns.MIB:+,.0f}); goal {MEMORY_GOAL / turns.MIB:+g}: {states[1]}",
    ]


def measure(*, task: str, folder: str, images: int, rounds: int, batch_size: int, threads: int) -> dict[str, Any]:
    """One task in this process: the scales, the peak memory, or the times beside a method of ONNX Runtime."""
    import onnx
    import onnxruntime

    network, inputs = Path(folder) / "cnn.onnx", np.load(Path(folder) / "images.npy", mmap_mode="r")[:images]
    if task == "scales":
        found: dict[str, Any] = {"apart": scales_apart(network, inputs, threads)}
    elif task == "memory":
        ours(network, inputs, "percentile", batch_size, threads)
        found = {"peak_bytes": peak_bytes()}
    else:
        found = times(network, np.array(inputs), task, batch_size, threads, rounds)
    versions = {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__, "numpy": np.__version__}
    return {**found, "device": "cpu", "versions": versions}


def times(
    network: Path, inputs: npt.NDArray[Any], method: str, batch_size: int, threads: int, rounds: int
) -> dict[str, list[float]]:
    """Seconds of each side in each round; the first round warms up."""
    seconds: dict[str, list[float]] = {"theirs": [], "ours": []}
    for number in range(-1, rounds):
        sides = {
            "theirs": lambda: theirs(network, inputs, method, batch_size, threads),
            "ours": lambda: ours(network, inputs, method.lower(), batch_size, threads),
        }
        for side in sorted(sides, reverse=bool(number % 2)):
            started = time.perf_counter()
            sides[side]()
            if number >= 0:
                seconds[side].append(time.perf_counter() - started)
    return seconds


def ours(network: Path, inputs: npt.NDArray[Any], method: Any, batch_size: int, threads: int) -> Any:
    """The ranges by edgekd."""
    from edgekd.quantize.calibrate.observe import observe
    from edgekd.quantize.calibrate.ranges import ranges

    return ranges(observe(network, inputs, input_name="x", batch_size=batch_size, threads=threads), method)


def theirs(network: Path, inputs: npt.NDArray[Any], method: str, batch_size: int, threads: int) -> Any:
    """The ranges by ONNX Runtime."""
    import onnxruntime
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.calibrate import create_calibrator

    class Reader:
        batches = iter([{"x": inputs[i : i + batch_size]} for i in range(0, len(inputs), batch_size)])

        def get_next(self) -> Any:
            return next(self.batches, None)

    augmented = str(network.with_name("augmented.onnx"))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # as its calibrators have it
    with contextlib.redirect_stdout(io.StringIO()):
        made = create_calibrator(network, None, augmented, CalibrationMethod[method])
        made.infer_session = onnxruntime.InferenceSession(augmented, options, ["CPUExecutionProvider"])
        made.collect_data(Reader())
        return made.compute_data()


def scales_apart(network: Path, inputs: npt.NDArray[Any], threads: int) -> dict[str, float]:
    """Method -> the largest relative difference of a tensor's scale between batch sizes."""
    from edgekd.quantize.calibrate.observe import observe
    from edgekd.quantize.calibrate.ranges import ranges

    seen = [observe(network, inputs, input_name="x", batch_size=batch, threads=threads) for batch in BATCHES]
    apart = {}
    for method in METHODS:
        found = [ranges(histograms, method) for histograms in seen]
        widths = np.array([[high - low for low, high in result.values()] for result in found])
        apart[method] = float((np.ptp(widths, axis=0) / widths[0]).max())
    return apart


def peak_bytes() -> int:
    """Peak resident memory of this process; `benchmarks.inside` has it too, and loads torch."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def write_images(path: Path, count: int) -> None:
    """Noise, (count, 3, 64, 64) float32, in a file to be memory-mapped."""
    generator = np.random.default_rng(0)
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(count, 3, 64, 64))
    for first in range(0, count, 500):
        images[first : first + 500] = generator.standard_normal(images[first : first + 500].shape, dtype=np.float32)
    images.flush()


def write_network(path: Path) -> None:
    """A stem and four stages of a strided convolution and a residual one, 1.0 million parameters."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    generator, nodes, weights = np.random.default_rng(0), [], []

    def convolution(source: str, channels: tuple[int, int], stride: int, name: str) -> str:
        scale = (2 / (9 * channels[0])) ** 0.5
        kernel = generator.normal(0, scale, (channels[1], channels[0], 3, 3)).astype(np.float32)
        bias = generator.normal(0, 0.1, channels[1]).astype(np.float32)
        weights.extend([numpy_helper.from_array(kernel, f"{name}_w"), numpy_helper.from_array(bias, f"{name}_b")])
        inputs = [source, f"{name}_w", f"{name}_b"]
        nodes.append(helper.make_node("Conv", inputs, [name], pads=[1] * 4, strides=[stride] * 2))
        return name

    def node(op_type: str, inputs: list[str], output: str) -> str:
        nodes.append(helper.make_node(op_type, inputs, [output]))
        return output

    last, width = node("Relu", [convolution("x", (3, 32), 1, "stem")], "stem_relu"), 32
    for stage, wide in enumerate((64, 96, 128, 192)):
        down = node("Relu", [convolution(last, (width, wide), 2, f"down{stage}")], f"down{stage}_relu")
        kept = convolution(down, (wide, wide), 1, f"residual{stage}")
        last, width = node("Relu", [node("Add", [down, kept], f"sum{stage}")], f"out{stage}"), wide
    features = node("Flatten", [node("GlobalAveragePool", [last], "pooled")], "features")
    weights.append(numpy_helper.from_array(generator.normal(0, 0.1, (width, 10)).astype(np.float32), "dense"))
    node("MatMul", [features, "dense"], "logits")
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 64, 64]),
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10]),
    ]
    graph = helper.make_graph(nodes, "cnn", ends[:1], ends[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


if __name__ == "__main__":
    if sys.argv[1:2] != ["child"]:
        sys.exit(main())
    print(json.dumps(measure(**json.loads(sys.argv[2]))))
