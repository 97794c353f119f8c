"""A teacher that crashes in the middle of an epoch: the error names it, and the same run goes on where it was."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from edgekd import pipeline, pixels
from edgekd.core.augment import Augmentation
from edgekd.core.optimizer import Settings
from edgekd.data import Dataset
from edgekd.distill import Distilled, Method, distill
from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.network import Network
from edgekd.progress import Progress
from edgekd.recipe import parse
from edgekd.teacher import answering
from edgekd.teachers import Opened, OpenTeacher, complete
from edgekd.teachers.tensors import asking

from .nets import CLASSES, CPU, Bars, write_onnx

pytestmark = pytest.mark.usefixtures("one_thread")

PICTURE = 3
"""One of the training split that is not mirrored in the first epoch, and is in a later one."""

SETTINGS = Settings(epochs=3, batch_size=16, learning_rate=0.02, augmentation=Augmentation(flip=True), seed=1)


def teacher(dataset: Dataset, *, fails_at: int | None = None) -> OpenTeacher:
    """`Bars`, which crashes when it is asked for the `fails_at`-th batch."""
    net, asked = Bars(), 0

    def on_device(batch: Tensor) -> Tensor:
        nonlocal asked
        asked += 1
        if asked == fails_at:
            raise EnvironmentFault("lost its device")
        return net(batch.float() / 255)

    opened = Opened(name="bars", ask=asking(on_device, data_kind="image", device=CPU), on_device=on_device)
    return complete(opened, kind="onnx", data_classes=CLASSES, probe=dataset.train.inputs[:8], ids=None)


def train(dataset: Dataset, load: Callable[[], Network | OpenTeacher], folder: Path, said: list[Progress]) -> Distilled:
    source = pixels.place(dataset.train, CPU)
    with answering(load, source, classes=3, settings=SETTINGS) as targets:
        return distill(
            dataset,
            source,
            student="resnet8",
            options={},
            method=Method(name="kd", knobs={"temperature": 4.0, "kd_weight": 0.9, "ce_weight": 0.1}),
            settings=SETTINGS,
            folder=folder,
            key="k",
            targets=targets,
            listener=said.append,
        )


def test_a_crash_mid_epoch_names_the_teacher_and_the_run_goes_on_to_the_same_student(
    dataset: Dataset, tmp_path: Path
) -> None:
    whole = train(dataset, lambda: teacher(dataset), tmp_path / "whole", [])
    # One batch of the probe and six of the soft labels, then 6 steps an epoch: the third step of epoch 2.
    with pytest.raises(
        EnvironmentFault, match=r"teacher bars: lost its device. Nothing is lost: the same command goes"
    ):
        train(dataset, lambda: teacher(dataset, fails_at=1 + 6 + 6 + 3), tmp_path / "crashed", [])
    said = list[Progress]()
    resumed = train(dataset, lambda: teacher(dataset), tmp_path / "crashed", said)
    assert "resumed after epoch 1" in said[0].note
    assert resumed.sha256 == whole.sha256


def test_a_crash_of_the_program_itself_is_bad_input_with_its_last_line(dataset: Dataset, tmp_path: Path) -> None:
    class Cracks(Bars):
        def forward(self, x: Tensor) -> Tensor:
            if int(x.shape[0]) == 16:
                raise RuntimeError("cannot take sixteen")
            return super().forward(x)

    from edgekd.teachers.pictures import Scaling
    from edgekd.teachers.torch_file import _opened, prepare

    steps = prepare(Scaling(scale=1 / 255), data_kind="image", dtype="float32", layout="nchw", channels=1)
    opened = _opened(tmp_path / "t.pt", Cracks(), steps, data_kind="image", device=CPU)
    made = complete(opened, kind="torchscript", data_classes=CLASSES, probe=dataset.train.inputs[:8], ids=None)
    with pytest.raises(BadInputError, match=r"teacher t.pt: does not run: cannot take sixteen \(it was given float32"):
        train(dataset, lambda: made, tmp_path, [])
    assert torch.get_num_threads() == 1


def write_fragile(path: Path) -> Path:
    """The bars' teacher as ONNX, which fails on a picture whose first pixel is 255: an index out of range."""
    model = onnx.load(write_onnx(path, dtype=TensorProto.UINT8))
    corner = [
        helper.make_node("Slice", ["x", "zero", "one", "rows"], ["corner"]),  # its first row and first column
        helper.make_node("Div", ["corner", "full_byte"], ["bright"]),  # 1 of 255, else 0
        helper.make_node("Cast", ["bright"], ["place"], to=TensorProto.INT64),
        helper.make_node("Gather", ["only", "place"], ["nothing"]),
        helper.make_node("ReduceSum", ["nothing"], ["none"], keepdims=0),
        helper.make_node("Add", ["y", "none"], ["answer"]),
    ]
    constants = {
        "zero": np.array([0, 0], np.int64), "one": np.array([1, 1], np.int64), "rows": np.array([2, 3], np.int64),
        "full_byte": np.array(255, np.uint8), "only": np.zeros(1, np.float32),
    }  # fmt: skip
    model.graph.node.extend(corner)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    model.graph.output[0].name = "answer"
    onnx.save(model, str(path))
    return path


def test_an_onnx_file_that_fails_in_the_middle_is_named_and_the_finished_epochs_stay(
    npz_file: Path, tmp_path: Path
) -> None:
    arrays = dict(np.load(npz_file))
    arrays["x"][:, 0, [0, 7]] = 0
    arrays["x"][PICTURE, 0, 7] = 255  # seen by the teacher at the left edge once the picture is mirrored
    np.savez(npz_file, **arrays)
    onnx_file = write_fragile(tmp_path / "fragile.onnx")
    body = {
        "name": "small",
        "data": {"source": str(npz_file), "classes": [*CLASSES], "calibration_samples": 12, "augment": "flip"},
        "teacher": {"kind": "onnx", "path": str(onnx_file), "layout": "nchw"},
        "student": {"model": "resnet8", "options": {}},
        "distill": {"method": "kd", "epochs": 8, "batch_size": 16, "learning_rate": 0.02},
    }  # fmt: skip
    said = list[Progress]()
    message = r"teacher fragile\.onnx: ONNX Runtime cannot run it on \(\d+, 1, 8, 8\): .*Gather.*Nothing is lost"
    with pytest.raises(BadInputError, match=message):
        pipeline.run(parse(body, origin="test"), folder=tmp_path / "run", until="distill", listener=said.append)
    assert any(one.stage == "distill" and one.done >= 1 for one in said)
    assert (tmp_path / "run" / "checkpoints" / "last.pt").is_file()
