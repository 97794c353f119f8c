"""A teacher from a file answers as the network that was written to it, whatever the format, layout and type."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto

from edgekd.data import Dataset
from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.teachers.interface import Opened
from edgekd.teachers.onnx_file import open_onnx
from edgekd.teachers.pictures import Scaling
from edgekd.teachers.torch_file import open_program, open_torchscript

from .nets import CPU, Bars, logits_of, write_onnx, write_program, write_torchscript

UNIT = Scaling(scale=1 / 255)


def onnx_teacher(path: Path, scaling: Scaling = UNIT, **changes: object) -> Opened:
    given = {"data_kind": "image", "sample_shape": (8, 8, 1), "device": CPU, "scaling": scaling}
    return open_onnx(path, **given | changes)  # type: ignore[arg-type]


def torch_teacher(path: Path, scaling: Scaling = UNIT, **changes: object) -> Opened:
    given = {"data_kind": "image", "sample_shape": (8, 8, 1), "device": CPU, "scaling": scaling}
    opener = open_program if path.suffix == ".pt2" else open_torchscript
    return opener(path, **given | changes)  # type: ignore[operator]


def close(found: np.ndarray, inputs: np.ndarray) -> None:
    # Float32 sums of 64 products in another order: 64 x 6e-8 x 20.
    np.testing.assert_allclose(found, logits_of(inputs), atol=1e-4)


@pytest.mark.parametrize("batch", ["batch", 5])
@pytest.mark.parametrize("nhwc", [False, True])
def test_an_onnx_teacher_answers_as_its_network_for_any_batch_and_layout(
    batch: int | str, nhwc: bool, dataset: Dataset, tmp_path: Path
) -> None:
    path = write_onnx(tmp_path / "t.onnx", batch=batch, nhwc=nhwc)
    # Both layouts of one channel are (…, 8, 8, 1) or (…, 1, 8, 8), which the sizes tell apart.
    teacher = onnx_teacher(path)
    close(teacher.ask(dataset.train.inputs[:23], None), dataset.train.inputs[:23])
    assert teacher.parameters == 192


def test_an_onnx_teacher_of_raw_pixels_needs_no_scaling_and_takes_none(dataset: Dataset, tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "t.onnx", dtype=TensorProto.UINT8)
    close(onnx_teacher(path, Scaling()).ask(dataset.test.inputs, None), dataset.test.inputs)
    with pytest.raises(BadInputError, match=r"takes raw uint8, so teacher.scale, mean and std have nothing to"):
        onnx_teacher(path)


def test_float_inputs_without_declared_scaling_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"takes float32, and nothing says how raw pixels 0 to 255 become"):
        onnx_teacher(write_onnx(tmp_path / "t.onnx"), Scaling())


def test_half_inputs_are_given_as_half(dataset: Dataset, tmp_path: Path) -> None:
    teacher = onnx_teacher(write_onnx(tmp_path / "t.onnx", dtype=TensorProto.FLOAT16))
    # A pixel in fp16 is off by up to 2**-12 of 1, and the weights of a class sum to 20.
    np.testing.assert_allclose(teacher.ask(dataset.test.inputs, None), logits_of(dataset.test.inputs), atol=20 * 2**-12)


def test_mean_and_std_are_in_units_of_pixels_by_255(dataset: Dataset, tmp_path: Path) -> None:
    teacher = onnx_teacher(write_onnx(tmp_path / "t.onnx"), Scaling(mean=(0.5,), std=(0.25,)))
    # (x - 0.5) / 0.25 moves every logit by -0.5 / 0.25 x 20 and stretches it fourfold.
    wanted = 4 * logits_of(dataset.test.inputs) - 40
    np.testing.assert_allclose(teacher.ask(dataset.test.inputs, None), wanted, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sizes": ("c", 9, 9)}, r"takes \(any, 9, 9\) a sample, the data has images of 8x8x1"),
        ({"sizes": ("c", "h", "w")}, r"do not tell the layout of images of 8x8x1; set teacher.layout"),
        (
            {"dtype": TensorProto.INT64},
            "takes int64, and samples of kind image can be given as uint8, float32, float16",
        ),
    ],
)
def test_an_onnx_input_that_does_not_fit_is_refused(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=message):
        onnx_teacher(write_onnx(tmp_path / "t.onnx", **changes))  # type: ignore[arg-type]


def test_a_layout_that_is_said_is_taken_and_resizing_fits_another_size(dataset: Dataset, tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "t.onnx", sizes=("c", "h", "w"))
    close(onnx_teacher(path, layout="nchw").ask(dataset.test.inputs, None), dataset.test.inputs)
    wide = write_torchscript(tmp_path / "t.pt")
    large = np.repeat(np.repeat(dataset.test.inputs, 2, axis=1), 2, axis=2)
    shrunk = torch_teacher(wide, Scaling(scale=1 / 255, resize=(8, 8)), sample_shape=(16, 16, 1))
    assert (shrunk.ask(large, None).argmax(1) == logits_of(dataset.test.inputs).argmax(1)).mean() > 0.9


def test_cuda_asked_for_by_name_and_absent_is_an_error(tmp_path: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(EnvironmentFault, match=r"teacher.provider = 'cuda', and this onnxruntime has only"):
        onnx_teacher(write_onnx(tmp_path / "t.onnx"), provider="cuda")


def test_torchscript_and_exported_programs_answer_as_their_network(dataset: Dataset, tmp_path: Path) -> None:
    script = torch_teacher(write_torchscript(tmp_path / "t.pt"))
    program = torch_teacher(write_program(tmp_path / "t.pt2"), trust=True)
    for teacher in (script, program):
        close(teacher.ask(dataset.train.inputs[:7], None), dataset.train.inputs[:7])
        assert teacher.parameters == 192


def test_an_exported_program_is_not_loaded_without_trust(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"torch.export.load unpickles parts of it.*set teacher.trust = true"):
        torch_teacher(write_program(tmp_path / "t.pt2"))


def test_plain_pickles_are_never_loaded(tmp_path: Path) -> None:
    torch.save(Bars().state_dict(), tmp_path / "t.pt")
    with pytest.raises(BadInputError, match=r"is no TorchScript but a plain pickle"):
        torch_teacher(tmp_path / "t.pt")
    torch.save(Bars().state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(BadInputError, match="plain pickles are never loaded"):
        torch_teacher(tmp_path / "old.pt")
    with zipfile.ZipFile(tmp_path / "cut.pt", "w") as archive:
        archive.writestr("model/code/__torch__.py", "nothing")
    with pytest.raises(BadInputError, match=r"torch.jit.load cannot read it"):
        torch_teacher(tmp_path / "cut.pt")


class Writes(Bars):
    """A teacher whose graph writes a file while it answers."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, "/nowhere/x.pt")
        return x.flatten(1)[:, :3]


def test_a_torchscript_graph_that_writes_files_is_refused_without_trust(tmp_path: Path) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(Writes()), str(tmp_path / "t.pt"))
    with pytest.raises(BadInputError, match="its code names 'save', which reads or writes files"):
        torch_teacher(tmp_path / "t.pt")


def test_a_batch_that_the_program_cannot_take_is_named_with_its_shape(dataset: Dataset, tmp_path: Path) -> None:
    teacher = torch_teacher(write_torchscript(tmp_path / "t.pt"), Scaling(scale=1 / 255, resize=(9, 9)))
    with pytest.raises(BadInputError, match=r"does not run: .*it was given float32 of shape \(4, 1, 9, 9\)"):
        teacher.ask(dataset.train.inputs[:4], None)
