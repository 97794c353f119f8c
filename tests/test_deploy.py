"""A student's weights become an ONNX file from their own card, or a message says which of the options is wrong."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgekd import deploy
from edgekd.errors import BadInputError
from edgekd.network import Card, Network, build, save
from edgekd.runner import runner
from edgekd.session import SessionOptions, facts, open_session

OWN = """
from torch import nn

def linear(num_classes, in_channels):
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * 64, num_classes))
"""


@pytest.fixture
def net(tmp_path: Path) -> Network:
    """A user's own network, saved as student.safetensors: it exports in a second."""
    (tmp_path / "mine.py").write_text(OWN)
    torch.manual_seed(0)
    model = f"{tmp_path / 'mine.py'}:linear"
    card = Card(model=model, classes=("top", "middle", "bottom"), channels=1, options={}, facts={})
    made = build(card, mean=(0.5,), std=(0.25,)).eval()
    save(made, tmp_path / "student.safetensors", card)
    return made


def export(folder: Path, source: Path, *, opset: int = 18, input_layout: str = "nhwc") -> dict[str, object]:
    weights, path = folder / "student.safetensors", folder / "new" / "student.onnx"
    return deploy.export_weights(weights, source=source, path=path, opset=opset, input_layout=input_layout)


def test_weights_become_a_file_that_says_what_it_is(net: Network, npz_file: Path, tmp_path: Path) -> None:
    exported = export(tmp_path, npz_file)
    path = tmp_path / "new" / "student.onnx"
    session = open_session(path, SessionOptions())
    known = facts(session, path)
    assert (exported["n"], exported["top1_agreement"], exported["opset"]) == (90, 1.0, 18)
    assert known.metadata["classes"] == ["top", "middle", "bottom"]
    assert known.metadata["preprocessing"]["mean"] == [0.5]
    assert known.metadata["input_layout"] == "nhwc"
    images = np.load(npz_file)["x"][:5]
    with torch.no_grad():
        ours: Tensor = net(torch.from_numpy(images).permute(0, 3, 1, 2))
    np.testing.assert_allclose(runner(session, known)(images), ours.numpy(), atol=1e-5)


def test_a_folder_of_images_does_too(net: Network, image_folder: Path, tmp_path: Path) -> None:
    assert isinstance(net, nn.Module)
    assert export(tmp_path, image_folder)["n"] == 36


def test_another_layout_than_the_two_is_refused(npz_file: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="--layout is 'chw'; expected nhwc or nchw"):
        export(tmp_path, npz_file, input_layout="chw")


def test_an_opset_too_old_is_refused(npz_file: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="--opset is 16; expected at least 18"):
        export(tmp_path, npz_file, opset=16)


def test_weights_that_are_not_there_are_named(npz_file: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"student\.safetensors: no such file"):
        export(tmp_path, npz_file)


@pytest.mark.usefixtures("net")
@pytest.mark.parametrize(
    "images",
    [
        np.zeros((9, 8, 8, 3), dtype=np.uint8),
        np.zeros((9, 64), dtype=np.uint8),
        np.zeros((9, 8, 8, 1), dtype=np.float32),
    ],
    ids=["channels", "flat", "floats"],
)
def test_images_that_the_student_does_not_take_are_refused(images: np.ndarray, tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", x=images)
    with pytest.raises(BadInputError, match=r"expected uint8 images, \(n, height, width, 1\)"):
        export(tmp_path, tmp_path / "other.npz")
    assert not (tmp_path / "new").exists()
