"""The profile of a file says which of its nodes run on int8 kernels, which in float, and where."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd import kernels as module
from edgekd.errors import BadInputError
from edgekd.kernels import Kernels, profile, sentence
from edgekd.session import SessionOptions

CPU = SessionOptions()
SAMPLES = np.random.default_rng(0).normal(size=(8, 3, 16, 16)).astype(np.float32)


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    weights: dict[str, np.ndarray],
    shape: tuple[object, ...] = ("batch", 3, 16, 16),
) -> Path:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", None])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def write_cnn(path: Path) -> Path:
    """Three convolutions with a shortcut, a pool and a dense layer: all that ONNX Runtime has int8 kernels for."""
    draw = np.random.default_rng(1).normal
    weights = {
        "w1": draw(0, 0.3, (8, 3, 3, 3)),
        "w2": draw(0, 0.1, (16, 8, 3, 3)),
        "b2": draw(0, 0.1, 16),
        "w3": draw(0, 0.1, (16, 16, 3, 3)),
        "dense": draw(0, 0.1, (10, 16)),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c1"], name="first", pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r1"], name="first_relu"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], name="second", pads=[1] * 4),
        helper.make_node("Relu", ["c2"], ["r2"], name="second_relu"),
        helper.make_node("Conv", ["r2", "w3"], ["c3"], name="third", pads=[1] * 4),
        helper.make_node("Add", ["c3", "r2"], ["sum"], name="shortcut"),
        helper.make_node("MaxPool", ["sum"], ["small"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["small"], ["mean"], name="mean"),
        helper.make_node("Flatten", ["mean"], ["flat"], name="flatten"),
        helper.make_node("Gemm", ["flat", "dense"], ["y"], name="dense", transB=1),
    ]
    return save(path, nodes, weights)


def quantize(source: Path, target: Path, **options: Any) -> Path:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches = iter([{"x": SAMPLES[:4]}, {"x": SAMPLES[4:]}])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.batches, None)

    quantize_static(
        str(source), str(target), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, **options,
    )  # fmt: skip
    return target


@pytest.fixture(scope="module")
def cnn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cnn(tmp_path_factory.mktemp("cnn") / "fp32.onnx")


@pytest.fixture(scope="module")
def int8(cnn: Path) -> Path:
    return quantize(cnn, cnn.with_name("int8.onnx"))


def kinds(found: Kernels) -> dict[str, str]:
    return {node.name: node.kind for node in found.nodes}


def test_every_layer_of_a_quantized_cnn_runs_on_an_int8_kernel(int8: Path) -> None:
    found = profile(int8, SAMPLES, CPU)
    layers = ("first", "second", "third", "shortcut", "pool", "mean", "flatten", "dense")
    assert {name: kinds(found)[name] for name in layers} == dict.fromkeys(layers, "int8")
    assert found.int8_node_share == 1.0
    assert 0 < found.int8_time_share < 1
    assert found.fp32_islands == ()
    # floats come in and go out: one kernel that quantizes and one that dequantizes are needed
    assert (found.unfused.count, len(found.unfused.names)) == (2, 2)
    assert found.int8_time_share + found.unfused.time_share == pytest.approx(1.0)


def test_an_fp32_file_has_no_share_in_int8_and_no_islands(cnn: Path) -> None:
    found = profile(cnn, SAMPLES, CPU)
    assert (found.int8_time_share, found.int8_node_share, found.weight_only_time_share) == (0, 0, 0)
    assert found.unfused.count == 0
    assert found.fp32_islands == ()
    assert kinds(found)["second"] == "float"  # its kernel is fused with the Relu and called after it


def test_pixels_that_an_fp32_file_moves_are_no_int8_arithmetic(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["turned"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["turned"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["floats"], ["y"]),
    ]
    model = onnx.load(str(save(tmp_path / "net.onnx", nodes, {}, ("batch", 4, 4, 3))))
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    onnx.save(model, str(tmp_path / "net.onnx"))
    found = profile(tmp_path / "net.onnx", np.ones((2, 4, 4, 3), np.uint8), CPU)
    assert (found.int8_time_share, found.int8_node_share) == (0, 0)


def test_layers_without_int8_kernels_are_named_as_islands(tmp_path: Path) -> None:
    weights = {"w1": np.full((4, 3, 1, 1), 0.1), "dense": np.full((10, 4), 0.1)}
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c1"], name="conv"),
        helper.make_node("Elu", ["c1"], ["e1"], name="elu"),
        helper.make_node("GlobalAveragePool", ["e1"], ["mean"], name="mean"),
        helper.make_node("Flatten", ["mean"], ["flat"], name="flatten"),
        helper.make_node("Gemm", ["flat", "dense"], ["y"], name="dense", transB=1),
    ]
    found = profile(quantize(save(tmp_path / "net.onnx", nodes, weights), tmp_path / "q.onnx"), SAMPLES, CPU)
    assert found.fp32_islands == ("elu",)
    assert 0 < found.int8_node_share < 1
    assert found.unfused.count > 2
    assert "fp32 islands: elu" in sentence(found)


def test_an_excluded_layer_is_an_island_only_where_onnxruntime_lets_it_be_one(cnn: Path, tmp_path: Path) -> None:
    # ONNX Runtime quantizes the weights of a float Conv between DequantizeLinear and QuantizeLinear on its own:
    # https://github.com/microsoft/onnxruntime/pull/22969 and 25673
    excluded = quantize(cnn, tmp_path / "excluded.onnx", nodes_to_exclude=["second"])
    off = SessionOptions(session_config={"optimization.disable_specified_optimizers": "WeightBiasQuantization"})
    assert profile(excluded, SAMPLES, off).fp32_islands == ("second",)
    edge = quantize(cnn, tmp_path / "edge.onnx", nodes_to_exclude=["first", "first_relu"])
    found = profile(edge, SAMPLES, CPU)
    assert found.fp32_islands == ("first",)
    assert kinds(found)["second"] == "int8"


def test_dynamic_int8_shows_its_integer_products_and_the_floats_around_them(cnn: Path, tmp_path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(str(cnn), str(tmp_path / "dynamic.onnx"), weight_type=QuantType.QUInt8)
    found = profile(tmp_path / "dynamic.onnx", SAMPLES, CPU)
    ran = {node.op_type: node.kind for node in found.nodes}
    assert (ran["ConvInteger"], ran["DynamicQuantizeLinear"]) == ("int8", "quantize")
    assert {"shortcut", "pool", "first_relu"} <= set(found.fp32_islands)
    assert 0 < found.int8_time_share < 1
    assert not any("scales_mul" in name for name in found.fp32_islands)  # products of two single numbers


def test_the_facts_are_json_and_add_up(int8: Path) -> None:
    found = profile(int8, SAMPLES, CPU, runs=4)
    assert json.loads(json.dumps(found.as_dict()))["nodes"][0]["calls"] == 1.0
    assert sum(node.share for node in found.nodes) == pytest.approx(1.0)
    assert dict(found.nodes_per_provider) == {"CPUExecutionProvider": len(found.nodes)}
    assert (found.on_cpu, found.memory_copies) == ((), 0)


def test_a_network_of_fixed_batch_takes_whole_batches(cnn: Path, tmp_path: Path) -> None:
    model = onnx.load(str(cnn))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(model, str(tmp_path / "two.onnx"))
    found = profile(tmp_path / "two.onnx", SAMPLES[:3], CPU, runs=2)
    assert {node.calls for node in found.nodes} == {1.0}


def test_the_profile_leaves_no_file_behind(cnn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    profile(cnn, SAMPLES, CPU, runs=1)
    assert not list(tmp_path.iterdir())


def test_a_sentence_for_the_report_names_what_matters(int8: Path) -> None:
    found = profile(int8, SAMPLES, CPU, runs=2)
    words = sentence(found)
    assert words.startswith(
        f"{100 * found.int8_time_share:.0f} % of the time in int8 kernels; 2 unfused Q/DQ kernels ("
    )
    assert "islands" not in words
    assert "CPU" not in words


def test_data_of_another_shape_is_refused(cnn: Path) -> None:
    with pytest.raises(BadInputError, match="bring x in the network's own input layout"):
        profile(cnn, SAMPLES[:, :, :8], CPU)
    with pytest.raises(BadInputError, match="0 samples"):
        profile(cnn, SAMPLES[:0], CPU)


def event(op_type: str, provider: str, start: int, dtype: str = "float") -> dict[str, Any]:
    """One event as ONNX Runtime 1.32 writes it, less what is not read."""
    typed = [{dtype: [1, 16]}]
    facts = {"op_name": op_type, "provider": provider, "node_index": op_type, "input_type_shape": typed}
    name = f"{op_type.lower()}_kernel_time"
    return {"cat": "Node", "name": name, "ts": start, "dur": 10, "args": {**facts, "output_type_shape": typed}}


@pytest.fixture
def cuda_kernels(cnn: Path) -> Callable[[], Kernels]:
    """The facts of a run on CUDA that left two nodes to the CPU: from events, as few machines have a GPU."""

    def read() -> Kernels:
        cuda, cpu = "CUDAExecutionProvider", "CPUExecutionProvider"
        nodes = [("Conv", cuda), ("MemcpyToHost", cuda), ("QLinearConv", cpu), ("TopK", cpu), ("MemcpyFromHost", cuda)]
        events: list[dict[str, Any]] = []
        for run in range(module.WARM_UP_RUNS + 1):
            events.append({"cat": "Session", "name": "model_run", "ts": 100 * run, "dur": 90})
            events += [event(op, provider, 100 * run + 10 * i) for i, (op, provider) in enumerate(nodes)]
        timed = module._timed(events, module._Origins(cnn))
        return module._summarise(timed, runs=1, asked_for=cuda)

    return read


def test_what_falls_to_the_cpu_is_named_and_copies_are_counted_apart(cuda_kernels: Callable[[], Kernels]) -> None:
    found = cuda_kernels()
    assert found.on_cpu == ("qlinearconv (QLinearConv)", "topk (TopK)")
    assert dict(found.nodes_per_provider) == {"CUDAExecutionProvider": 1, "CPUExecutionProvider": 2}
    assert found.memory_copies == 2
    assert found.int8_time_share == pytest.approx(0.2)
    assert sentence(found).endswith("on the CPU: qlinearconv (QLinearConv), topk (TopK); copies between devices: 2")


@pytest.mark.gpu
def test_on_cuda_the_nodes_of_an_fp32_file_stay_there_and_those_of_int8_are_named(cnn: Path, int8: Path) -> None:
    cuda = SessionOptions(provider="CUDAExecutionProvider")
    assert "Conv" not in " ".join(profile(cnn, SAMPLES, cuda).on_cpu)
    found = profile(int8, SAMPLES, cuda)
    assert found.nodes_per_provider["CUDAExecutionProvider"] > 0
    assert found.int8_time_share < 1
