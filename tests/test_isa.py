"""Runs in fresh processes, on this machine's instruction set and (slow) under valgrind, which hides AVX-512."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from edgekd.data.dataset import Dataset
from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.isa import Outputs, agreement, compare, output_step, run_on
from edgekd.isa.child import visible_isa
from edgekd.progress import Progress
from edgekd.quantize.portable.pairs import PAIR_MAX, safe_ranges
from edgekd.quantize.portable.saturation import layers, observed
from edgekd.session import SessionOptions

from .quantize.integer_nets import CHANNELS, Branch, bright, write_branches

OPTIONS = SessionOptions()
FILES = ("fp32", "u8s8", "s8s8", "u8u8", "7bit", "safe")


def outputs(*rows: tuple[float, ...], isa: str = "avx512_vnni") -> Outputs:
    return Outputs(values=np.array(rows, dtype=np.float32), isa=isa, seconds=1.0)


@pytest.mark.parametrize(
    ("features", "seen"),
    [
        (["X86_V2", "X86_V3", "X86_V4", "AVX512_ICL"], "avx512"),
        (["SSE2", "AVX2", "AVX512F"], "avx512"),
        (["X86_V2", "X86_V3"], "avx2"),
        (["SSE3", "AVX", "FMA3", "AVX2"], "avx2"),
        (["X86_V2"], "sse"),
    ],
)
def test_the_instruction_set_is_told_from_what_numpy_sees(features: list[str], seen: str) -> None:
    assert visible_isa(features) == seen


def test_agreement_counts_samples_whose_largest_output_is_the_same() -> None:
    found = agreement(outputs((1, 2), (4, 3), (0, 5)), outputs((1, 2), (3, 3.5), (0, 5), isa="avx2"),
                      output_step=0.5, seconds=3.0)  # fmt: skip
    assert (found.n, found.top1_same, found.top1_agreement) == (3, 2, 2 / 3)
    assert (found.max_difference, found.bit_equal) == (1.0, False)
    assert (found.isa, found.native_isa, found.output_step, found.seconds) == ("avx2", "avx512_vnni", 0.5, 3.0)


def test_equal_outputs_are_bit_equal() -> None:
    found = agreement(outputs((1, 2)), outputs((1, 2)), output_step=None, seconds=0.0)
    assert (found.bit_equal, found.max_difference, found.top1_agreement) == (True, 0.0, 1.0)


def test_a_run_in_a_fresh_process_gives_what_a_session_gives(pixel_net: Path, dataset: Dataset) -> None:
    import onnxruntime

    images = dataset.test.inputs[:7]
    found = run_on(pixel_net, images, OPTIONS, isa="native", batch=3)
    (expected,) = onnxruntime.InferenceSession(str(pixel_net)).run(None, {"x": images})
    np.testing.assert_allclose(found.values, expected, atol=1e-5)
    assert found.isa != "unknown"
    assert found.seconds > 0


def test_what_the_child_finds_wrong_is_bad_input(pixel_net: Path) -> None:
    with pytest.raises(BadInputError, match="cannot run the model"):
        run_on(pixel_net, np.zeros((2, 9, 9, 1), dtype=np.uint8), OPTIONS, isa="native")


def test_no_inputs_are_bad_input(pixel_net: Path) -> None:
    with pytest.raises(BadInputError, match="at least one sample"):
        run_on(pixel_net, np.zeros((0, 8, 8, 1), dtype=np.uint8), OPTIONS, isa="native")


def test_another_provider_is_refused(pixel_net: Path) -> None:
    with pytest.raises(BadInputError, match="choose a CPU target"):
        run_on(pixel_net, np.zeros((1, 8, 8, 1), dtype=np.uint8),
                   replace(OPTIONS, provider="CUDAExecutionProvider"), isa="native")  # fmt: skip


def test_a_missing_valgrind_is_said_with_the_way_to_get_it(
    pixel_net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(EnvironmentFault, match="apt-get install valgrind") as caught:
        run_on(pixel_net, np.zeros((1, 8, 8, 1), dtype=np.uint8), OPTIONS, isa="avx2")
    assert caught.value.exit_code == 4


def test_another_architecture_is_said(pixel_net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(EnvironmentFault, match="this machine is aarch64"):
        run_on(pixel_net, np.zeros((1, 8, 8, 1), dtype=np.uint8), OPTIONS, isa="avx2")


def test_a_process_that_hangs_is_ended_and_tried_once_more(
    pixel_net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "valgrind"
    fake.write_text(f"#!/bin/sh\necho x >> {tmp_path}/started\nexec /bin/sleep 60\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(EnvironmentFault, match=r"no answer within 0 s, 2 times, from valgrind"):
        run_on(pixel_net, np.zeros((1, 8, 8, 1), dtype=np.uint8), OPTIONS, isa="avx2", timeout_seconds=0.3)
    assert (tmp_path / "started").read_text() == "x\nx\n"


def test_a_process_that_still_sees_other_instructions_is_refused(
    pixel_net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `valgrind` that runs the program as it is: on a CPU with AVX-512, or without AVX2, the child refuses."""
    fake = tmp_path / "valgrind"
    fake.write_text('#!/bin/sh\nshift 2\nexec "$@"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    simd: Any = np.show_config(mode="dicts")
    if visible_isa(simd["SIMD Extensions"]["found"]) == "avx2":
        pytest.skip("this CPU is an AVX2 one")
    with pytest.raises(EnvironmentFault, match="this process still sees"):
        run_on(pixel_net, np.zeros((1, 8, 8, 1), dtype=np.uint8), OPTIONS, isa="avx2")


def test_the_output_step_is_the_last_scale(tmp_path: Path, pixel_net: Path) -> None:
    assert output_step(pixel_net) is None
    path = tmp_path / "net.onnx"
    write_branches(path, [Branch(name="fc", weight=np.ones((CHANNELS * 16, 2), np.int8), op_type="MatMul")])
    model = onnx.load(str(path))
    model.graph.output[0].name = "fc_y"
    onnx.save(model, str(path))
    assert output_step(path) == 127.0 * CHANNELS * 16


needs_valgrind = pytest.mark.usefixtures("valgrind")


def heavy(*shape: int) -> npt.NDArray[np.int8]:
    return np.full(shape, 127, dtype=np.int8)


def at(shape: tuple[int, ...], *places: tuple[Any, ...]) -> npt.NDArray[np.int8]:
    weight = np.zeros(shape, dtype=np.int8)
    for place in places:
        weight[place] = 127
    return weight


FLAT = CHANNELS * 16

BRANCHES = [
    Branch(name="conv by its own kernel", weight=heavy(16, 16, 3, 3)),
    Branch(name="conv by gemm", weight=heavy(6, 10, 3, 3), channels=10),
    Branch(name="pointwise", weight=heavy(16, 16, 1, 1)),
    Branch(name="grouped", weight=heavy(8, 8, 3, 3), group=2),
    Branch(name="two outputs a group", weight=heavy(32, 1, 3, 3), group=16),
    Branch(name="depthwise of 16", weight=heavy(16, 1, 3, 3), group=16),
    Branch(name="depthwise of 12", weight=heavy(12, 1, 3, 3), group=12, channels=12),
    Branch(name="uint8 weights", weight=heavy(16, 16, 3, 3).astype(np.uint8) + 128),
    Branch(name="64 and 64", weight=heavy(16, 16, 3, 3) // 2 + np.int8(1)),
    Branch(name="heavy where only another order pairs", weight=at((16, 16, 3, 3), (0, 0, 0, slice(0, 2)))),
    Branch(name="heavy at an odd place", weight=at((16, 16, 3, 3), (0, slice(1, 3), 0, 0))),
    Branch(name="heavy at an even place", weight=at((16, 16, 3, 3), (0, slice(2, 4), 0, 0))),
    Branch(name="matmul", weight=heavy(FLAT, 8), op_type="MatMul"),
    Branch(name="gemm", weight=heavy(8, FLAT), op_type="Gemm", transposed=True),
    Branch(name="matmul at an odd place", weight=at((FLAT, 8), (slice(5, 7), 0)), op_type="MatMul"),
]
ONLY_BOUND = {"heavy where only another order pairs", "heavy at an odd place", "matmul at an odd place"}
"""Where the bound is on the safe side: the kernels pair other neighbours."""


@pytest.mark.slow
@needs_valgrind
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("activation", ["uint8", "int8"])
def test_each_kernel_saturates_exactly_where_the_samples_pair_sums_say(
    tmp_path: Path, activation: str, batch: int
) -> None:
    branches = [b for b in BRANCHES if activation == "uint8" or b.weight.dtype == np.int8]
    places = write_branches(tmp_path / "net.onnx", branches, activation=activation)
    inputs = bright(4)
    native, avx2 = (
        run_on(tmp_path / "net.onnx", inputs, OPTIONS, isa=isa, batch=batch).values for isa in ("native", "avx2")
    )
    for layer in observed(tmp_path / "net.onnx", inputs, positions=10**6):
        place = places[layer.node]
        differs = not np.array_equal(native[:, place], avx2[:, place])
        assert differs == ((layer.observed_pair_sum or 0) > PAIR_MAX), layer
        assert layer.can_saturate == (differs or layer.node in ONLY_BOUND), layer
    theirs = layers(tmp_path / "net.onnx", pairing="kernel")
    assert not ONLY_BOUND & {layer.node for layer in theirs if layer.can_saturate}


@pytest.fixture(scope="module")
def trained(teacher_file: Path, dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """A trained resnet8 as fp32 and quantized in each way: name -> file."""
    import onnxruntime.quantization as ortq
    from onnx import numpy_helper

    from edgekd.export import export
    from edgekd.network import load_student

    folder = tmp_path_factory.mktemp("trained")
    files = {name: folder / f"{name}.onnx" for name in FILES}
    export(load_student(teacher_file)[0], files["fp32"], inputs=dataset.calibration.inputs, opset=18,
           input_layout="nhwc", tolerance=1e-3, metadata={})  # fmt: skip
    model = onnx.load(str(files["fp32"]))
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    safe = {}
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm"):  # the export writes Gemm with transB = 1: channels first in both
            group = next((entry.i for entry in node.attribute if entry.name == "group"), 1)
            limits = safe_ranges(weights[node.input[1]], op_type=node.op_type, group=group)
            safe[node.input[1]] = [{"axis": 0, "quant_type": ortq.QuantType.QInt8, "symmetric": True, "rmin": -limit,
                                    "rmax": limit} for limit in limits]  # fmt: skip

    class Reader(ortq.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches = iter([{model.graph.input[0].name: dataset.calibration.inputs}])

        def get_next(self) -> dict[str, Any] | None:
            return next(self.batches, None)

    for name, path in files.items():
        if name == "fp32":
            continue
        kinds = {"s8": ortq.QuantType.QInt8, "u8": ortq.QuantType.QUInt8}
        activation, weight = (name[:2], name[2:]) if name in ("s8s8", "u8u8") else ("u8", "s8")
        ortq.quantize_static(str(files["fp32"]), str(path), Reader(), per_channel=True, reduce_range=name == "7bit",
                             activation_type=kinds[activation], weight_type=kinds[weight],
                             extra_options={"TensorQuantOverrides": safe if name == "safe" else {}})  # fmt: skip
    return files


@pytest.mark.slow
@needs_valgrind
@pytest.mark.parametrize("name", ["u8s8", "s8s8"])
def test_a_plain_file_of_a_trained_net_does_not_agree_with_itself_on_avx2(
    trained: Mapping[str, Path], dataset: Dataset, name: str
) -> None:
    assert any(layer.can_saturate for layer in layers(trained[name]))
    assert max(layer.observed_pair_sum or 0 for layer in observed(trained[name], dataset.test.inputs)) > PAIR_MAX
    found = compare(trained[name], dataset.test.inputs, OPTIONS, batch=8)
    assert not found.bit_equal
    assert found.max_difference >= (found.output_step or 0) > 0


@pytest.mark.slow
@needs_valgrind
@pytest.mark.parametrize("name", ["safe", "7bit", "u8u8"])
def test_the_cured_files_are_bit_equal_on_avx2(trained: Mapping[str, Path], dataset: Dataset, name: str) -> None:
    assert not any(layer.can_saturate for layer in layers(trained[name]))
    said: list[Progress] = []
    found = compare(trained[name], dataset.test.inputs, OPTIONS, batch=8, listener=said.append)
    assert (found.bit_equal, found.isa, found.top1_same) == (True, "avx2", found.n)
    assert [progress.note for progress in said] == ["native", "avx2", ""]


@pytest.mark.slow
@needs_valgrind
def test_so_is_the_plain_file_with_the_session_key(trained: Mapping[str, Path], dataset: Dataset) -> None:
    options = SessionOptions(session_config={"session.x64quantprecision": "1"})
    assert compare(trained["u8s8"], dataset.test.inputs, options, batch=8).bit_equal


@pytest.mark.slow
@needs_valgrind
def test_a_fault_of_the_child_under_valgrind_is_told_as_of_any_other(pixel_net: Path) -> None:
    with pytest.raises(BadInputError, match="cannot run the model"):
        run_on(pixel_net, np.zeros((2, 9, 9, 1), dtype=np.uint8), OPTIONS, isa="avx2")
