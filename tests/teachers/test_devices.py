"""Where an ONNX teacher runs: said where that is not the device of the training; on CUDA as on the CPU."""

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto

from edgekd.data import Dataset
from edgekd.teachers import complete
from edgekd.teachers.ensemble import join
from edgekd.teachers.interface import Opened
from edgekd.teachers.onnx_file import open_onnx
from edgekd.teachers.pictures import Scaling

from .nets import CLASSES, CPU, Bars, logits_of, write_onnx

CUDA = torch.device("cuda:0")


def opened(path: Path, device: torch.device, *, provider: str = "auto") -> Opened:
    return open_onnx(
        path, data_kind="image", sample_shape=(8, 8, 1), device=device, scaling=Scaling(), provider=provider
    )


def test_a_teacher_that_stays_on_the_cpu_says_so_and_what_to_install(dataset: Dataset, tmp_path: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    path = write_onnx(tmp_path / "t.onnx", dtype=TensorProto.UINT8)
    assert opened(path, CPU).runs_on is None
    slow = opened(path, CUDA)  # a training on CUDA: nothing is computed on it here
    assert slow.runs_on == (
        "CPU, and training is on CUDA, which is slow: this onnxruntime has no CUDA provider; install edgekd[gpu] in "
        "place of edgekd[cpu]"
    )
    wanted = opened(path, CUDA, provider="cpu")
    assert wanted.runs_on == "CPU, and training is on CUDA, as teacher.provider says"


def test_an_ensemble_says_which_member_runs_elsewhere(dataset: Dataset) -> None:
    def member(name: str, runs_on: str | None) -> Opened:
        return Opened(name=name, ask=lambda inputs, ids: logits_of(np.asarray(inputs)), runs_on=runs_on)

    teachers = [
        complete(one, kind="onnx", data_classes=CLASSES, probe=dataset.train.inputs[:8], ids=None)
        for one in (member("a", None), member("b", "CPU, and training is on CUDA"))
    ]
    joined = join([(one, 1.0) for one in teachers], combine="logits", classes=CLASSES)
    assert joined.runs_on == "b: CPU, and training is on CUDA"


@pytest.mark.gpu
@pytest.mark.parametrize("batch", ["batch", 5])
def test_on_cuda_it_answers_as_on_the_cpu_from_tensors_bound_where_they_lie(
    batch: int | str, dataset: Dataset, tmp_path: Path
) -> None:
    path = write_onnx(tmp_path / "t.onnx", dtype=TensorProto.UINT8, batch=batch)
    on_gpu = opened(path, CUDA)
    assert on_gpu.runs_on is None and on_gpu.on_device is not None
    inputs = np.asarray(dataset.train.inputs[:23])
    # TF32 may round the weights of a product to 10 bits: 20 x 2**-11, and as much for the pixels.
    np.testing.assert_allclose(on_gpu.ask(inputs, None), logits_of(inputs), atol=2e-2)
    pictures = torch.from_numpy(inputs).permute(0, 3, 1, 2).to(CUDA)
    answer = on_gpu.on_device(pictures)
    assert answer.device == CUDA
    on_torch = Bars()(pictures.cpu().float() / 255).detach().numpy()
    np.testing.assert_allclose(answer.cpu().numpy(), on_torch, atol=2e-2)
    assert opened(path, CUDA, provider="cpu").runs_on is not None
