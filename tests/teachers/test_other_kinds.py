"""Teachers of series, sound and texts from files, whose inputs have other layouts, types and scales."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from edgekd.errors import BadInputError
from edgekd.teachers.interface import Opened
from edgekd.teachers.onnx_file import open_onnx
from edgekd.teachers.pictures import Scaling
from edgekd.teachers.torch_file import open_torchscript

from .nets import CPU, write_onnx, write_torchscript

DRAW = np.random.default_rng(0)
WINDOWS = DRAW.normal(9.0, 2.0, (6, 10, 2)).astype(np.float32)
SOUNDS = DRAW.integers(-20_000, 20_000, (6, 40), dtype=np.int16)
TEXTS = DRAW.integers(0, 9, (6, 5), dtype=np.int32)
SAMPLES = {"series": WINDOWS, "audio": SOUNDS, "text": TEXTS}


class Plain(nn.Module):
    """(batch, ...) -> (batch, 3): a fixed product with all numbers of a sample, in whatever layout they come."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, 3 * count).view(count, 3))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1).float() @ self.weight


def wanted(inputs: np.ndarray) -> np.ndarray:
    """What `Plain` says of inputs as it takes them."""
    flat = inputs.reshape(len(inputs), -1)
    with torch.no_grad():
        return Plain(flat.shape[1])(torch.from_numpy(flat.astype(np.float32))).numpy()


def script(kind: str, path: Path, *, example: Tensor, **given: Any) -> Opened:
    """`Plain` as TorchScript, opened for samples of `kind`."""
    write_torchscript(path, Plain(example[0].numel()), example)
    scaling = given.pop("scaling", Scaling())
    shape = SAMPLES[kind].shape[1:]
    return open_torchscript(path, data_kind=kind, sample_shape=shape, device=CPU, scaling=scaling, **given)


def close(teacher: Opened, kind: str, expected: np.ndarray) -> None:
    found = teacher.ask(SAMPLES[kind], None)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_windows_are_given_channels_first_and_standardised_where_that_is_said(tmp_path: Path) -> None:
    example = torch.zeros(2, 2, 10)
    mean, std = (9.0, 8.0), (2.0, 4.0)
    first = script("series", tmp_path / "t.pt", example=example, layout="ncl", scaling=Scaling(mean=mean, std=std))
    close(first, "series", wanted(((WINDOWS - mean) / std).transpose(0, 2, 1)))
    plain = script("series", tmp_path / "t.pt", example=torch.zeros(2, 10, 2))
    close(plain, "series", wanted(WINDOWS))


@pytest.mark.parametrize(("sizes", "layout"), [((2, 10), None), ((10, 2), None), (("c", "l"), "ncl")])
def test_an_onnx_file_of_windows_says_its_layout_by_its_sizes(
    sizes: tuple[Any, ...], layout: str | None, tmp_path: Path
) -> None:
    weight = Plain(20).weight.detach().numpy()
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["y"])],
        "plain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *sizes])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(weight, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "t.onnx")

    def opened(layout: str | None) -> Opened:
        return open_onnx(
            tmp_path / "t.onnx", data_kind="series", sample_shape=(10, 2), device=CPU, scaling=Scaling(), layout=layout
        )

    close(opened(layout), "series", wanted(WINDOWS if sizes == (10, 2) else WINDOWS.transpose(0, 2, 1)))
    if layout is not None:
        with pytest.raises(
            BadInputError, match=r"do not tell the layout of windows of 10x2; set teacher.layout to 'nc"
        ):
            opened(None)


def test_an_onnx_file_of_other_windows_is_refused_with_both_sizes(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "t.onnx", sizes=(4, 16))
    message = r"takes \(4, 16\) a sample, the data has windows of 10x2 \(length, channels\); set data.series.window"
    with pytest.raises(BadInputError, match=message):
        open_onnx(path, data_kind="series", sample_shape=(10, 2), device=CPU, scaling=Scaling())


def test_sound_is_given_as_it_is_or_as_floats_of_a_declared_scale(tmp_path: Path) -> None:
    raw = script("audio", tmp_path / "t.pt", example=torch.zeros(2, 40, dtype=torch.int16), dtype="int16")
    close(raw, "audio", wanted(SOUNDS))
    scaled = script("audio", tmp_path / "t.pt", example=torch.zeros(2, 40), scaling=Scaling(scale=1 / 32_768))
    close(scaled, "audio", wanted(SOUNDS / 32_768))
    with pytest.raises(
        BadInputError, match=r"how raw int16 samples become its numbers; set teacher.scale \(1.0 for raw"
    ):
        script("audio", tmp_path / "t.pt", example=torch.zeros(2, 40))


def test_texts_are_given_as_whole_numbers(tmp_path: Path) -> None:
    embedding = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(20, 3))
    write_torchscript(tmp_path / "t.pt", embedding, torch.zeros(2, 5, dtype=torch.int64))
    teacher = open_torchscript(tmp_path / "t.pt", data_kind="text", sample_shape=(5,), device=CPU, scaling=Scaling())
    with torch.no_grad():
        close(teacher, "text", embedding(torch.from_numpy(TEXTS).long()).numpy())


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        ("audio", {"dtype": "uint8"}, "takes uint8, and samples of kind audio can be given as int16, float32"),
        ("series", {"dtype": "int32"}, "takes int32, and samples of kind series can be given as float32, float16"),
        ("text", {"dtype": "float32"}, "takes float32, and samples of kind text can be given as int64, int32;"),
        ("text", {"layout": "nchw"}, "teacher.layout is 'nchw', and the data is of kind text; remove it"),
        ("series", {"layout": "nhwc"}, "layout is 'nhwc', and the data is of kind series; expected nlc or ncl"),
        ("text", {"scaling": Scaling(scale=2.0)}, "takes raw int64, so teacher.scale, mean and std have nothing to"),
        ("audio", {"scaling": Scaling(mean=(0.0,), std=(1.0,))}, "mean and std are for channels of images and series"),
        ("series", {"scaling": Scaling(resize=(4, 4))}, "teacher.resize is for images, the data is of kind series"),
        ("series", {"scaling": Scaling(mean=(0.0,), std=(1.0,))}, r"mean has 1 numbers, the data 2 channel\(s\)"),
    ],
)
def test_what_would_be_wrong_in_silence_is_refused(
    kind: str, given: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInputError, match=message):
        script(kind, tmp_path / "t.pt", example=torch.zeros(2, *SAMPLES[kind].shape[1:]), **given)
