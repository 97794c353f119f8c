"""A teacher that crashes in the middle of an epoch: the error names it, and the same run goes on where it was."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from edgekd import pixels
from edgekd.core.augment import Augmentation
from edgekd.core.optimizer import Settings
from edgekd.data import Dataset
from edgekd.distill import Distilled, Method, distill
from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.network import Network
from edgekd.progress import Progress
from edgekd.teacher import answering
from edgekd.teachers import Opened, OpenTeacher, complete
from edgekd.teachers.tensors import asking

from .nets import CLASSES, CPU, Bars

pytestmark = pytest.mark.usefixtures("one_thread")

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
