"""The part of a network that takes logarithms of energies stays in float, in every variant."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd.quantize.calibrate import observe, ranges
from edgekd.quantize.convert import CONVERTED
from edgekd.quantize.front_end import front_end
from edgekd.quantize.prepare import prepare
from edgekd.quantize.scheme import Scheme
from edgekd.quantize.write import write

FRONT = ("cast", "line", "fourier", "square", "bank", "offset", "log", "turn", "centre", "scale")


def tensor(name: str, values: object) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values, dtype=np.float32), name)


def keywords(path: Path, *, log: bool = True, log_of_scores: bool = False) -> Path:
    """(n, 256) int16 -> 8 bands of 16 frames -> convolution -> 3 scores."""
    draw = np.random.default_rng(0)
    time = np.arange(32)
    waves = np.concatenate([np.cos(2 * np.pi * np.outer(np.arange(8), time) / 32),
                            np.sin(2 * np.pi * np.outer(np.arange(8), time) / 32)]) / 32_768  # fmt: skip
    nodes = [
        helper.make_node("Cast", ["audio"], ["float"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["float", "axes"], ["line_out"], name="line"),
        helper.make_node("Conv", ["line_out", "waves"], ["parts"], name="fourier", strides=[1, 14]),
        helper.make_node("Mul", ["parts", "parts"], ["squares"], name="square"),
        helper.make_node("Conv", ["squares", "bands"], ["energies"], name="bank"),
        helper.make_node("Add", ["energies", "small"], ["positive"], name="offset"),
        helper.make_node("Log" if log else "Sqrt", ["positive"], ["logs"], name="log"),
        helper.make_node("Transpose", ["logs"], ["map"], name="turn", perm=[0, 2, 1, 3]),
        helper.make_node("Sub", ["map", "mean"], ["centred"], name="centre"),
        helper.make_node("Div", ["centred", "std"], ["body_in"], name="scale"),
        helper.make_node("Conv", ["body_in", "kernel"], ["features"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["features"], ["active"], name="relu"),
        helper.make_node("GlobalAveragePool", ["active"], ["pooled"], name="pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], name="flat"),
        helper.make_node("Gemm", ["flat", "dense"], ["scores"], name="head"),
    ]
    last = "scores"
    if log_of_scores:
        nodes += [helper.make_node("Softmax", ["scores"], ["shares"]), helper.make_node("Log", ["shares"], ["out"])]
        last = "out"
    graph = helper.make_graph(
        nodes,
        "keywords",
        [helper.make_tensor_value_info("audio", TensorProto.INT16, ["n", 256])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["n", 3])],
        [
            numpy_helper.from_array(np.array([1, 2]), "axes"),
            tensor("waves", waves[:, None, None]),
            tensor("bands", np.concatenate([np.eye(8), np.eye(8)], axis=1)[:, :, None, None]),
            tensor("small", 1e-6),
            tensor("mean", -3.0),
            tensor("std", 3.0),
            tensor("kernel", draw.normal(0, 0.5, (16, 1, 3, 3))),
            tensor("dense", draw.normal(0, 0.5, (16, 3))),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
    return path


def clips(count: int = 32) -> np.ndarray:
    """Tones of very different loudness."""
    draw = np.random.default_rng(1)
    tones = np.sin(2 * np.pi * draw.integers(1, 8, (count, 1)) * np.arange(256) / 32)
    return np.round(10 ** draw.uniform(0.5, 4.4, (count, 1)) * tones).astype(np.int16)


def answers(path: Path) -> np.ndarray:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"audio": clips()})
    return np.asarray(found)


def test_the_front_end_ends_where_the_first_product_after_the_logarithm_begins(tmp_path: Path) -> None:
    assert front_end(onnx.load(str(keywords(tmp_path / "a.onnx")))) == FRONT


@pytest.mark.parametrize("last", [False, True])
def test_a_network_without_a_logarithm_of_energies_has_none(tmp_path: Path, last: bool) -> None:
    assert front_end(onnx.load(str(keywords(tmp_path / "a.onnx", log=False, log_of_scores=last)))) == ()


def test_int8_with_the_front_end_in_float_keeps_what_int8_everywhere_loses(tmp_path: Path) -> None:
    net = prepare(keywords(tmp_path / "a.onnx"), tmp_path).path
    kept = front_end(onnx.load(str(net)))
    limits = ranges(observe(net, clips(), input_name="audio"), "minmax")
    write(net, tmp_path / "kept.onnx", Scheme(exclude=kept, front_end=kept), limits)
    write(net, tmp_path / "all.onnx", Scheme(), limits)
    fp32 = answers(net)
    near, far = (np.abs(answers(tmp_path / f"{name}.onnx") - fp32).max() for name in ("kept", "all"))
    assert near < 0.05 * np.abs(fp32).max()
    assert far > 10 * near


@pytest.mark.parametrize("variant", ["int8-dynamic", "fp16"])
def test_variants_without_ranges_keep_the_front_end_too(tmp_path: Path, variant: str) -> None:
    net = prepare(keywords(tmp_path / "a.onnx"), tmp_path).path
    kept = front_end(onnx.load(str(net)))
    limits = ranges(observe(net, clips(), input_name="audio"), "minmax")
    CONVERTED[variant][0](net, tmp_path / "out.onnx", limits, kept)
    made = onnx.load(str(tmp_path / "out.onnx"))
    waves = next(numpy_helper.to_array(one) for one in made.graph.initializer if one.name == "waves")
    assert waves.dtype == np.float32
    assert np.abs(answers(tmp_path / "out.onnx") - answers(net)).max() < 0.05 * np.abs(answers(net)).max()


def test_the_sentence_of_a_scheme_names_the_front_end_and_not_its_nodes() -> None:
    words = Scheme(exclude=("bank", "fourier", "head"), front_end=("fourier", "bank")).sentence()
    assert words.endswith("front end in fp32, fp32: head")
