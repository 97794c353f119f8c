"""What is exported answers as torch does, for any batch, with preprocessing and card inside; else nothing is."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from edgekd import models
from edgekd.errors import BadInputError
from edgekd.export import Exported, describe_preprocessing, export, to_layout
from edgekd.front import Pixels
from edgekd.network import Network
from edgekd.runner import runner
from edgekd.session import SessionOptions, facts, open_session

Images = np.ndarray
SIZE = 12
CASES = {("resnet8", "nhwc", 1)}
SLOW = {(name, layout, n) for name in ("resnet8", "wrn_16_1") for layout in ("nhwc", "nchw") for n in (1, 3)} - CASES


class Linear(nn.Module):
    """The smallest student there is: it exports in about a second, resnet8 in three."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.head = nn.Linear(channels * SIZE * SIZE, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(x.flatten(1))
        return logits


def network(body: nn.Module, channels: int = 1) -> Network:
    return Network(body, Pixels(mean=(0.5, 0.25, 0.125)[:channels], std=(0.25, 0.5, 0.75)[:channels])).eval()


def pictures(count: int, channels: int = 1) -> Images:
    return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, channels), dtype=np.uint8)


def write(net: Network, path: Path, *, channels: int = 1, **changed: Any) -> Exported:
    settings: dict[str, Any] = {"opset": 18, "input_layout": "nhwc", "tolerance": 1e-3, "metadata": {"classes": ["a"]}}
    return export(net, path, **({"inputs": pictures(9, channels)} | settings | changed))


@pytest.fixture(scope="module")
def linear() -> Network:
    torch.manual_seed(0)
    return network(Linear())


Case = tuple[Network, Path, Exported, str, int]


@pytest.fixture(scope="module")
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    name, layout, channels = request.param
    torch.manual_seed(0)
    net = network(models.build(name, num_classes=3, in_channels=channels), channels)
    path = tmp_path_factory.mktemp(name) / "model.onnx"
    return net, path, write(net, path, channels=channels, input_layout=layout), layout, channels


each_case = pytest.mark.parametrize(
    "case",
    [*sorted(CASES), *(pytest.param(case, marks=pytest.mark.slow) for case in sorted(SLOW))],
    ids=lambda case: f"{case[0]}-{case[1]}-{case[2]}",
    indirect=True,
)


@each_case
def test_the_file_answers_as_torch_does_for_any_batch(case: Case) -> None:
    net, path, exported, layout, channels = case
    session = open_session(path, SessionOptions())
    run = runner(session, facts(session, path))
    for batch in (1, 2, 7):
        images = pictures(batch, channels)
        with torch.no_grad():
            ours = net(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
        np.testing.assert_allclose(run(to_layout(images, layout)), ours, atol=1e-4)  # float32 sums in another order
    assert [check.batch for check in exported.checks] == [1, 2, 7]
    # The checks look at the first images, `max_difference` at all of them.
    assert max(check.max_difference for check in exported.checks) <= exported.max_difference < 1e-4
    assert (exported.n, exported.top1_agreement, exported.path) == (9, 1.0, "model.onnx")


@each_case
def test_the_file_takes_raw_pixels_in_the_layout_asked_for(case: Case) -> None:
    _, path, exported, layout, channels = case
    known = facts(open_session(path, SessionOptions()), path)
    assert known.shape == ((None, SIZE, SIZE, channels) if layout == "nhwc" else (None, channels, SIZE, SIZE))
    assert (known.dtype, known.input_name, known.output_name) == ("uint8", exported.input_name, "logits")
    assert known.metadata == {"classes": ["a"]}


@each_case
def test_batch_norms_that_follow_a_convolution_are_folded_into_it(case: Case) -> None:
    _, path, *_ = case
    operators = [node.op_type for node in onnx.load(str(path)).graph.node]
    if "resnet8" in str(path):
        assert "BatchNormalization" not in operators
    else:  # pre-activation: most of its batch norms follow a sum
        assert 0 < operators.count("BatchNormalization") < 13


@each_case
def test_the_file_holds_no_path_of_its_builder_and_no_trace_of_its_code(case: Case) -> None:
    _, path, *_ = case
    raw = path.read_bytes()
    for trace in (b"/home", b"/tmp", b"/usr", b".py", str(Path.cwd()).encode(), b"pkg.torch", b"Traceback"):
        assert trace not in raw


CARD: Mapping[str, Any] = {"classes": ["Äpfel", "梨"], "nested": {"mean": [0.5]}}


@pytest.fixture(scope="module")
def written(linear: Network, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Exported]:
    path = tmp_path_factory.mktemp("linear") / "linear.onnx"
    return path, write(linear, path, opset=20, metadata=CARD)


def test_the_same_network_gives_the_same_bytes_without_a_word(
    linear: Network, written: tuple[Path, Exported], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = {name: value.clone() for name, value in linear.state_dict().items()}
    path, exported = written
    again = write(linear, tmp_path / "linear.onnx", opset=20, metadata=CARD)
    assert (tmp_path / "linear.onnx").read_bytes() == path.read_bytes()
    assert again == exported
    assert [p.name for p in tmp_path.iterdir()] == ["linear.onnx"]
    assert all(torch.equal(value, before[name]) for name, value in linear.state_dict().items())
    assert capfd.readouterr() == ("", "")


def test_the_opset_in_the_file_is_the_one_asked_for(written: tuple[Path, Exported]) -> None:
    path, exported = written
    versions = {entry.domain: entry.version for entry in onnx.load(str(path)).opset_import}
    assert exported.opset == versions[""] == 20


def test_metadata_of_any_alphabet_is_kept(written: tuple[Path, Exported]) -> None:
    path, _ = written
    assert facts(open_session(path, SessionOptions()), path).metadata == CARD


def test_the_preprocessing_is_described_as_the_graph_does_it(linear: Network) -> None:
    described = describe_preprocessing(linear)
    assert json.loads(json.dumps(described)) == described
    assert described == {"inside_graph": True, "mean": [0.5], "std": [0.25], "unit": "pixels / 255"}


def test_a_difference_above_the_tolerance_leaves_the_old_file_alone(linear: Network, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")
    with pytest.raises(BadInputError, match=r"differs from torch by .* \(allowed: export\.max_difference = 1e-12\)"):
        write(linear, path, tolerance=1e-12)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def test_an_output_that_is_not_finite_for_one_of_the_images_is_no_agreement(tmp_path: Path) -> None:
    class Root(Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + x.amin((1, 2, 3), keepdim=True).flatten(1).sqrt() * 0

    images = pictures(7)
    images[:3] = np.maximum(images[:3], 200)  # above the mean of 0.5, so that the root is finite for these alone
    torch.manual_seed(0)
    with pytest.raises(BadInputError, match="differs from torch by nan"):
        write(network(Root()), tmp_path / "model.onnx", inputs=images)
    assert list(tmp_path.iterdir()) == []


def test_a_single_image_is_compared_again_in_larger_batches(linear: Network, tmp_path: Path) -> None:
    exported = write(linear, tmp_path / "model.onnx", inputs=pictures(1))
    assert [check.batch for check in exported.checks] == [1, 2, 7]
    assert exported.n == 1


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3))


class Unknown(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        values: Tensor = torch.linalg.svdvals(x)[:, 0]
        return values


@pytest.mark.parametrize("body", [Branching(), Unknown()], ids=["branch on data", "operator without ONNX"])
def test_a_network_that_cannot_be_exported_is_bad_input(body: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot be exported to ONNX") as caught:
        write(network(body), tmp_path / "model.onnx")
    assert len(str(caught.value)) < 400
    assert "\x1b" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_opset_that_torch_does_not_write_is_refused_not_replaced(linear: Network, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="opset 99 was asked for, torch could only write"):
        write(linear, tmp_path / "model.onnx", opset=99)
