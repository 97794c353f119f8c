"""Distillation end to end, on pictures of 8x8 pixels."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgekd.core.augment import Augmentation
from edgekd.core.forward import Teacher
from edgekd.core.optimizer import Settings
from edgekd.data import Dataset
from edgekd.distill import Distilled, Method, distill
from edgekd.errors import BadInputError
from edgekd.files import sha256
from edgekd.network import Network
from edgekd.pixels import choose_device, choose_precision, place, to_tensor
from edgekd.progress import Progress, silent
from edgekd.teacher import load_teacher

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
SETTINGS = Settings(epochs=3, batch_size=8, learning_rate=0.02, augmentation=Augmentation(crop_padding=1), seed=1)
METHODS = (
    Method(name="cist", knobs={"rho": 0.9, "kd_weight": 8.0}),
    Method(name="kd", knobs={"temperature": 4.0}),
    Method(name="ce"),
    Method(name="entropy", knobs={"match_fixed": 4.0}),
)


@pytest.fixture
def teacher(teacher_file: Path, dataset: Dataset) -> Network:
    return load_teacher(teacher_file, dataset, model="resnet8", options={}, mean=None, std=None)


def run(
    data: Dataset,
    folder: Path,
    teacher: Network | None,
    *,
    method: Method = METHODS[0],
    settings: Settings = SETTINGS,
    listener: Callable[[Progress], None] = silent,
    student: str = "resnet8",
    device: torch.device = CPU,
    early_stop_epochs: int | None = None,
) -> Distilled:
    return distill(
        data,
        place(data.train, device),
        student=student,
        options={},
        method=method,
        settings=settings,
        folder=folder,
        key="key",
        targets=None if teacher is None else Teacher(teacher.to(device), precision=settings.precision),
        early_stop_epochs=early_stop_epochs,
        facts={"seed": settings.seed},
        listener=listener,
    )


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_student_learns_and_its_file_says_all_that_inference_needs(
    method: Method, dataset: Dataset, teacher: Network, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, epochs=5)
    made = run(dataset, tmp_path, teacher if method.name != "ce" else None, method=method, settings=settings)
    assert [epoch.epoch for epoch in made.history] == [1, 2, 3, 4, 5]
    assert made.history[-1].cross_entropy < made.history[0].cross_entropy
    assert made.test_top1 > 0.6  # chance is 0.33
    distills = method.name != "ce"
    assert all((epoch.kl is not None) == distills for epoch in made.history)
    assert all((epoch.teacher_entropy_sd is not None) == distills for epoch in made.history)
    loaded = load_teacher(tmp_path / made.weights, dataset, model="resnet8", options={}, mean=None, std=None)
    correct = loaded(to_tensor(dataset.test.inputs, CPU)).argmax(-1).numpy() == dataset.test.labels
    assert float(correct.mean()) == pytest.approx(made.test_top1)
    assert made.sha256 == sha256(tmp_path / made.weights)
    assert (made.device, made.precision, made.threads) == ("cpu", "fp32", 1)


def test_the_same_seed_gives_the_same_bytes_of_weights_and_another_seed_others(
    dataset: Dataset, teacher: Network, tmp_path: Path
) -> None:
    hashes = [
        run(dataset, tmp_path / str(i), teacher, settings=replace(SETTINGS, epochs=1, seed=seed)).sha256
        for i, seed in enumerate((1, 1, 2))
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def test_an_interrupted_run_called_again_ends_with_the_bytes_of_an_uninterrupted_one(
    dataset: Dataset, teacher: Network, tmp_path: Path
) -> None:
    whole = run(dataset, tmp_path / "whole", teacher)
    heard: list[Progress] = []

    def interrupt(progress: Progress) -> None:
        if 1 < progress.done < 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(dataset, tmp_path / "cut", teacher, listener=interrupt)
    assert not (tmp_path / "cut" / "student.safetensors").exists()
    resumed = run(dataset, tmp_path / "cut", teacher, listener=heard.append)
    assert heard[0].note == "resumed after epoch 1"
    assert heard[0].done == 1
    assert (tmp_path / "cut" / whole.weights).read_bytes() == (tmp_path / "whole" / whole.weights).read_bytes()
    unclocked = [[replace(epoch, seconds=0.0) for epoch in made.history] for made in (whole, resumed)]
    assert unclocked[0] == unclocked[1]
    assert resumed.seconds == pytest.approx(sum(epoch.seconds for epoch in resumed.history))


def test_a_finished_run_called_again_trains_nothing_and_gives_the_same_file(
    dataset: Dataset, teacher: Network, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, epochs=1)
    first = run(dataset, tmp_path, teacher, settings=settings)
    heard: list[Progress] = []
    assert run(dataset, tmp_path, teacher, settings=settings, listener=heard.append) == first
    assert [progress.done for progress in heard] == [1]


def test_a_corrupt_checkpoint_is_an_error_that_says_delete_it(
    dataset: Dataset, teacher: Network, tmp_path: Path
) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.pt").write_bytes(b"half a check")
    with pytest.raises(BadInputError, match=r"last\.pt is not a whole checkpoint .*; delete it and run again"):
        run(dataset, tmp_path, teacher)


def test_progress_rises_from_nothing_to_all_and_notes_the_numbers(
    dataset: Dataset, teacher: Network, tmp_path: Path
) -> None:
    heard: list[Progress] = []
    run(dataset, tmp_path, teacher, settings=replace(SETTINGS, epochs=2), listener=heard.append)
    assert [heard[0].done, heard[-1].done] == [0, 2]
    assert [p.done for p in heard] == sorted(p.done for p in heard)
    assert {(p.stage, p.total) for p in heard} == {("distill", 2)}
    for word in ("loss", "KL", "teacher entropy", "±", "validation"):
        assert word in heard[-1].note


def test_labels_alone_do_not_depend_on_a_teacher_that_is_there(
    dataset: Dataset, teacher: Network, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, epochs=1)
    with torch.no_grad():
        next(iter(teacher.parameters())).fill_(math.nan)
    alone = run(dataset, tmp_path / "alone", None, method=METHODS[2], settings=settings)
    beside = run(dataset, tmp_path / "beside", teacher, method=METHODS[2], settings=settings)
    assert alone.sha256 == beside.sha256


def test_distilling_without_a_teacher_is_refused_before_anything_is_written(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="method 'cist' learns from a teacher, and there is none"):
        run(dataset, tmp_path, None)
    assert not list(tmp_path.iterdir())


def test_a_learning_rate_without_bounds_ends_in_an_error_and_no_weights(
    dataset: Dataset, teacher: Network, tmp_path: Path
) -> None:
    with pytest.raises(BadInputError, match=r"the gradient was not finite in 11 steps, .*\. Lower"):
        run(dataset, tmp_path, teacher, settings=replace(SETTINGS, learning_rate=1e30))
    assert not (tmp_path / "student.safetensors").exists()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_student_trains_on_cuda_in_the_precision_that_auto_chooses(
    dataset: Dataset, teacher: Network, tmp_path: Path
) -> None:
    device = choose_device("auto")
    assert device == choose_device("cuda")
    precision = choose_precision("auto", device)
    assert precision == ("bf16" if torch.cuda.is_bf16_supported() else "fp32")
    made = run(dataset, tmp_path, teacher, settings=replace(SETTINGS, precision=precision), device=device)
    assert (made.device, made.precision) == ("cuda", precision)
    assert all(math.isfinite(epoch.loss) for epoch in made.history)
    assert math.isfinite(made.logit_max)


def test_match_fixed_becomes_the_mean_entropy_of_that_temperature_and_every_soft_label_has_it(
    dataset: Dataset, teacher: Network, tmp_path: Path
) -> None:
    made = run(dataset, tmp_path, teacher, method=METHODS[3], settings=replace(SETTINGS, epochs=1))
    assert made.fixed_entropy is not None
    assert made.soft_entropy is not None
    assert set(made.method.knobs) == {"target_nats"}
    assert made.method.knobs["target_nats"] == pytest.approx(np.mean(made.fixed_entropy), abs=1e-5)
    assert len(made.soft_entropy) == len(dataset.train)
    # 1e-4 nats is the solver's promise; this teacher ties no classes.
    assert np.abs(np.array(made.soft_entropy) - made.method.knobs["target_nats"]).max() <= 1e-4


def test_training_stops_early_when_validation_has_not_risen_and_keeps_the_last_epoch(
    dataset: Dataset, teacher: Network, tmp_path: Path
) -> None:
    tiny = replace(SETTINGS, epochs=9, learning_rate=1e-12)  # nothing is learned, so nothing rises
    made = run(dataset, tmp_path, teacher, settings=tiny, early_stop_epochs=2)
    assert len(made.history) == 3


def test_an_average_of_the_weights_is_what_is_saved(dataset: Dataset, teacher: Network, tmp_path: Path) -> None:
    last = run(dataset, tmp_path / "last", teacher, settings=replace(SETTINGS, epochs=1))
    average = run(dataset, tmp_path / "average", teacher, settings=replace(SETTINGS, epochs=1, ema_decay=0.9))
    assert average.sha256 != last.sha256
    assert [e.loss for e in average.history] == [e.loss for e in last.history]


def test_what_is_said_of_a_student_is_that_of_its_file(dataset: Dataset, teacher: Network, tmp_path: Path) -> None:
    made = run(dataset, tmp_path, teacher, settings=replace(SETTINGS, epochs=1))
    loaded = load_teacher(tmp_path / made.weights, dataset, model="resnet8", options={}, mean=None, std=None)
    z = loaded(to_tensor(dataset.test.inputs, CPU)).detach()
    assert made.test_predictions == tuple(z.argmax(-1).tolist())
    assert 0 <= made.test_ece <= 1
    assert made.processes == 1
    assert made.images_per_second > 0
