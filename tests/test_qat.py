"""Quantization-aware distillation on pictures of 8x8 pixels: what is learned, what is exported, what runs it."""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn.functional import kl_div

from edgekd import pixels
from edgekd.core.augment import Augmentation
from edgekd.core.forward import Teacher, predict
from edgekd.core.optimizer import Settings
from edgekd.data import Dataset
from edgekd.distill import Method
from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.front import Pixels
from edgekd.network import Network
from edgekd.progress import Progress, silent
from edgekd.qat import ExportedQdq, Tuned, export_qdq, fine_tune, settings_for
from edgekd.qat.fake import FakeQuantized, convert, prepare
from edgekd.teacher import load_teacher

pytestmark = pytest.mark.usefixtures("one_thread")
needs_torchao = pytest.mark.skipif(find_spec("torchao") is None, reason="torchao is not installed: edgekd[qat]")

CPU = torch.device("cpu")
CIST = Method(name="cist", knobs={"rho": 0.9, "kd_weight": 8.0})
LABELS = Method(name="ce")
TRAINING = Settings(epochs=9, batch_size=8, learning_rate=0.02, augmentation=Augmentation(crop_padding=1), seed=1)
SETTINGS = settings_for(TRAINING, epochs=2, learning_rate=2e-3)


@pytest.fixture(scope="module")
def teacher(teacher_file: Path, dataset: Dataset) -> Network:
    return load_teacher(teacher_file, dataset, model="resnet8", options={}, mean=None, std=None)


@pytest.fixture(scope="module")
def student(teacher_file: Path, dataset: Dataset) -> Network:
    """The teacher's weights with noise on them: something that its teacher can still better."""
    network = load_teacher(teacher_file, dataset, model="resnet8", options={}, mean=None, std=None)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(0.1 * parameter.abs().mean() * noise)
    return network


def tune(
    student: Network,
    data: Dataset,
    folder: Path,
    teacher: Network | None,
    *,
    method: Method = CIST,
    settings: Settings = SETTINGS,
    weight_bits: int = 8,
    listener: Callable[[Progress], None] = silent,
) -> Tuned:
    return fine_tune(
        student,
        data,
        pixels.place(data.train, CPU),
        method=method,
        settings=settings,
        folder=folder,
        key="key",
        targets=None if teacher is None else Teacher(teacher, precision="fp32"),
        weight_bits=weight_bits,
        listener=listener,
    )


@pytest.fixture(scope="module")
def tuned(student: Network, teacher: Network, dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    torch.set_num_threads(1)
    return tune(student, dataset, tmp_path_factory.mktemp("tuned"), teacher)


@pytest.fixture(scope="module")
def exported(tuned: Tuned, dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ExportedQdq]:
    path = tmp_path_factory.mktemp("exported") / "qat.onnx"
    return path, export_qdq(tuned.network, path, dataset.test, opset=18, input_layout="nhwc", metadata={"a": 1})


def images(data: Dataset) -> Tensor:
    return pixels.to_tensor(data.calibration.inputs, CPU)


def whole_weights(network: Network) -> list[Tensor]:
    """The int8 weights of a converted network."""
    return [value for value in network.state_dict().values() if value.dtype == torch.int8]


def test_without_torchao_the_message_names_what_to_install(
    student: Network, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchao", None)
    monkeypatch.setitem(sys.modules, "torchao.quantization.pt2e", None)
    with pytest.raises(EnvironmentFault, match=r"edgekd\[qat\]"):
        prepare(student, images(dataset), weight_bits=8, safe=False)


@needs_torchao
def test_the_teacher_and_its_temperature_are_attached_while_the_student_learns(tuned: Tuned) -> None:
    first, last = tuned.history
    assert last.loss < first.loss
    assert first.kl is not None and last.kl is not None and last.kl < first.kl
    assert last.teacher_entropy_sd is not None and last.teacher_entropy_sd > 0  # one temperature a picture
    assert tuned.validation_top1 >= tuned.before_top1


@pytest.mark.slow
@needs_torchao
def test_onnx_runtime_says_what_the_fake_quantized_network_says(
    tuned: Tuned, exported: tuple[Path, ExportedQdq], dataset: Dataset
) -> None:
    path, said = exported
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    theirs = session.run(None, {"pixels": dataset.test.inputs})[0]
    ours = predict(tuned.network, pixels.to_tensor(dataset.test.inputs, CPU)).numpy()
    apart = np.abs(ours - theirs).max(axis=1)
    # A value on a rounding tie may fall to either side in the integer kernel; all others agree to float32.
    assert np.median(apart) < 1e-4
    assert apart.max() < 0.1 * ours.std()
    assert said.fake_top1 == said.onnx_top1 and said.agreement == 1.0 and said.n == len(dataset.test)


@pytest.mark.slow
@needs_torchao
def test_the_file_holds_int8_weights_and_nothing_but_standard_operators(exported: tuple[Path, ExportedQdq]) -> None:
    model = onnx.load(exported[0])
    assert {entry.domain for entry in model.opset_import} == {""} and not model.functions
    assert {node.domain for node in model.graph.node} == {""}
    constants = {value.name: numpy_helper.to_array(value) for value in model.graph.initializer}
    dequantized = {node.output[0]: node for node in model.graph.node if node.op_type == "DequantizeLinear"}
    layers = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    assert len(layers) == 10
    for layer in layers:
        weight, bias = (dequantized[name] for name in layer.input[1:])
        assert constants[weight.input[0]].dtype == np.int8 and constants[bias.input[0]].dtype == np.int32
        assert not constants[weight.input[2]].any() and not constants[bias.input[2]].any()
        assert [a.i for a in weight.attribute if a.name == "axis"] == [0]
        assert constants[weight.input[1]].shape == constants[bias.input[0]].shape


@pytest.mark.slow
@needs_torchao
def test_every_convolution_and_the_dense_layer_run_on_int8_kernels(
    exported: tuple[Path, ExportedQdq], tmp_path: Path
) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns that an optimised file is for this machine alone
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(exported[0], options, providers=["CPUExecutionProvider"])
    found = Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)
    assert (found["QLinearConv"], found["QLinearAdd"], found["QGemm"]) == (9, 3, 1)
    assert not found["Conv"] and not found["Gemm"] and not found["Relu"] and not found["Add"]
    # Pixels in, and the float mean before the dense layer: nothing else is converted on the way.
    assert (found["QuantizeLinear"], found["DequantizeLinear"]) == (2, 1)


@pytest.mark.slow
@needs_torchao
def test_a_run_that_was_stopped_goes_on_and_ends_with_the_same_weights(
    student: Network, teacher: Network, dataset: Dataset, tmp_path: Path, tuned: Tuned
) -> None:
    def stop(progress: Progress) -> None:
        assert progress.stage == "qat"
        if progress.done > 1:  # the checkpoint of the first epoch is written
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(student, dataset, tmp_path, teacher, listener=stop)
    notes: list[str] = []
    again = tune(student, dataset, tmp_path, teacher, listener=lambda progress: notes.append(progress.note))
    assert notes[0] == "resumed after epoch 1"
    expected = tuned.network.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in again.network.state_dict().items())


@needs_torchao
@pytest.mark.parametrize(("bits", "safe", "largest"), [(8, False, 127), (8, True, 64), (4, False, 7)])
def test_weights_keep_to_their_range_and_use_all_of_it(
    student: Network, dataset: Dataset, bits: int, safe: bool, largest: int
) -> None:
    prepared = prepare(student, images(dataset), weight_bits=bits, safe=safe)
    weights = whole_weights(convert(prepared))
    assert len(weights) == 10
    # Symmetric a channel: the scale is the largest weight over the largest number, as in ONNX Runtime.
    assert all(bool((weight.flatten(1).abs().amax(dim=1) == largest).all()) for weight in weights)


@needs_torchao
def test_rounding_is_to_even_as_in_quantize_linear() -> None:
    scale, zero = torch.tensor([0.5]), torch.tensor([3], dtype=torch.int32)
    values = torch.tensor([0.25, 0.75, 1.25, -0.25, -0.75, 200.0, -200.0])  # 0.5, 1.5, 2.5, … steps: all ties
    fake = torch.fake_quantize_per_tensor_affine(values, scale, zero, 0, 255)
    assert fake.tolist() == [0.0, 1.0, 1.0, 0.0, -1.0, 126.0, -1.5]


@needs_torchao
def test_predicting_moves_no_range_and_frozen_activations_keep_theirs(student: Network, dataset: Dataset) -> None:
    prepared = prepare(student, images(dataset), weight_bits=8, safe=False)
    before = {name: value.clone() for name, value in prepared.state_dict().items()}
    bright = 255 - images(dataset)

    def moved() -> set[str]:
        names = [name for name, value in prepared.state_dict().items() if not torch.equal(value, before[name])]
        return {name.rsplit(".", 1)[1] for name in names} - {"observer_enabled"}

    predict(prepared.eval(), bright)
    assert not moved()
    body = prepared.train().body
    assert isinstance(body, FakeQuantized)
    body.freeze(True)
    prepared(bright)
    assert not moved()
    body.freeze(False)
    prepared(bright)
    assert moved() == {"scale", "zero_point", "min_val", "max_val"}


@needs_torchao
def test_a_channel_without_weights_keeps_its_bias(student: Network, dataset: Dataset) -> None:
    prepared = prepare(student, images(dataset), weight_bits=8, safe=False)
    dead: Any = dict(prepared.named_parameters())["body.graph.head.weight"]
    bias: Any = dict(prepared.named_parameters())["body.graph.head.bias"]
    with torch.no_grad():
        dead[0], bias[0] = 0.0, 3.0
        prepared.train()(images(dataset))
    logits = predict(convert(prepared.eval()), images(dataset))
    assert torch.allclose(logits[:, 0], torch.tensor(3.0), atol=1e-3)


@needs_torchao
@pytest.mark.slow
def test_a_file_that_is_not_the_network_is_refused_and_not_left_behind(
    student: Network, dataset: Dataset, tmp_path: Path
) -> None:
    prepared = prepare(student, images(dataset), weight_bits=8, safe=False).eval()
    for name, buffer in prepared.named_buffers():
        if name.endswith("zero_point") and buffer.numel() == 1:
            buffer.fill_(0)  # what is converted comes from the observed ranges, which stay
        if name.endswith(".scale") and buffer.numel() == 1:
            buffer.mul_(0.01)
    with pytest.raises(BadInputError, match=r"fake quantization: .* apart, expected at most 0\.2%"):
        export_qdq(prepared, tmp_path / "a.onnx", dataset.test, opset=18, input_layout="nchw", metadata={})
    assert not list(tmp_path.iterdir())


class Branching(nn.Module):
    """Computes something else for bright pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        logits: Tensor = self.head(flat if float(flat.sum()) > 0 else -flat)
        return logits


@needs_torchao
def test_a_student_that_is_no_plain_graph_is_refused(dataset: Dataset) -> None:
    network = Network(Branching(), Pixels(mean=(0.5,), std=(0.2,)))
    with pytest.raises(BadInputError, match=r"cannot be captured as a graph .*quantize.qat = false"):
        prepare(network, images(dataset), weight_bits=8, safe=False)


@pytest.mark.parametrize(
    ("method", "bits", "message"),
    [
        (CIST, 8, "there is none"),
        (LABELS, 3, "expected 8 or 4"),
        (Method(name="entropy", knobs={"match_fixed": 4.0}), 8, "unresolved"),
    ],
)
def test_contradictions_are_refused(
    student: Network, dataset: Dataset, teacher: Network, tmp_path: Path, method: Method, bits: int, message: str
) -> None:
    given = teacher if "match_fixed" in method.knobs else None
    with pytest.raises(BadInputError, match=message):
        tune(student, dataset, tmp_path, given, method=method, weight_bits=bits)


@needs_torchao
@pytest.mark.slow
def test_at_four_bits_training_wins_back_at_least_half_of_what_rounding_lost(
    teacher: Network, dataset: Dataset, tmp_path: Path
) -> None:
    # The teacher teaches itself, so that all there is to learn is what rounding cost.
    method, settings = Method(name="kd", knobs={"temperature": 4.0}), replace(SETTINGS, epochs=6)
    made = tune(teacher, dataset, tmp_path, teacher, method=method, settings=settings, weight_bits=4)
    pictures = pixels.to_tensor(dataset.validation.inputs, CPU)
    rounded = prepare(teacher, images(dataset), weight_bits=4, safe=False).eval()
    wanted, before, after = (predict(net, pictures) for net in (teacher, rounded, made.network))

    def lost(logits: Tensor) -> float:
        return float(kl_div((logits / 4).log_softmax(-1), (wanted / 4).softmax(-1), reduction="batchmean"))

    assert lost(after) < 0.5 * lost(before)
