"""Distillation end to end, on pictures of 8x8 pixels."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgekd.core.trainer import Settings
from edgekd.data import Dataset, Samples
from edgekd.data.dataset import Pool, split
from edgekd.distill import (
    Distilled,
    Method,
    channel_statistics,
    choose_device,
    choose_precision,
    distill,
    load_teacher,
    measure_teacher,
    resolve_rho,
    to_tensor,
)
from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.files import sha256
from edgekd.network import Network
from edgekd.progress import Progress, silent

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS = Settings(epochs=3, batch_size=8, learning_rate=0.02, crop_padding=1, seed=1)
METHODS = (
    Method(name="cist", rho=0.9, kd_weight=8.0),
    Method(name="kd", temperature=4.0, kd_weight=0.9, ce_weight=0.1),
    Method(name="ce"),
)


@pytest.fixture(scope="module")
def teacher_file(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A resnet8 trained on labels alone until it tells the bars apart."""
    folder = tmp_path_factory.mktemp("teacher")
    settings = replace(SETTINGS, epochs=6)
    made = distill(dataset, student="resnet8", options={}, method=METHODS[2], settings=settings, folder=folder, key="t")
    return folder / made.weights


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
    device: torch.device | None = None,
) -> Distilled:
    return distill(
        data,
        student=student,
        options={},
        method=method,
        settings=settings,
        folder=folder,
        key="key",
        teacher=teacher,
        device=device,
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
    correct = loaded(to_tensor(dataset.test.images, torch.device("cpu"))).argmax(-1).numpy() == dataset.test.labels
    assert float(correct.mean()) == pytest.approx(made.test_top1)
    assert made.sha256 == sha256(tmp_path / made.weights)
    assert (made.device, made.precision, made.threads) == ("cpu", "fp32", 1)


def test_the_teachers_facts_are_those_of_its_logits(dataset: Dataset, teacher: Network) -> None:
    facts = measure_teacher(teacher, dataset, model="resnet8", sha256="x", rho=0.9, device=torch.device("cpu"))
    assert facts.train_top1 > 0.9
    assert len(facts.entropy_fixed) == len(facts.entropy_cist) == len(dataset.train)
    assert len(facts.test_predictions) == len(dataset.test)
    right = (np.array(facts.test_predictions) == dataset.test.labels).mean()
    assert facts.test_top1 == pytest.approx(float(right))
    assert all(0 <= h <= math.log(3) + 1e-6 for h in facts.entropy_fixed + facts.entropy_cist)


def test_a_teacher_at_chance_is_refused_with_a_hint(dataset: Dataset, teacher: Network) -> None:
    permuted = Samples(images=dataset.train.images, labels=(dataset.train.labels + 1) % 3)
    with pytest.raises(BadInputError, match=r"is chance for 3 classes; are the labels permuted"):
        measure_teacher(
            teacher,
            replace(dataset, train=permuted),
            model="resnet8",
            sha256="x",
            rho=0.9,
            device=torch.device("cpu"),
        )


def test_a_teacher_that_answers_one_class_alone_is_at_chance_however_uneven_the_data(
    dataset: Dataset, teacher: Network
) -> None:
    keep = np.flatnonzero((dataset.train.labels == 0) | (np.arange(len(dataset.train)) % 8 < 3))
    uneven = replace(dataset, train=dataset.train.take(keep))
    torch.nn.init.zeros_(list(teacher.parameters())[-2])
    with torch.no_grad():
        list(teacher.parameters())[-1].copy_(torch.tensor([5.0, 0.0, 0.0]))
    with pytest.raises(BadInputError, match="which is chance"):
        measure_teacher(teacher, uneven, model="resnet8", sha256="x", rho=0.9, device=torch.device("cpu"))


def test_a_teacher_that_returns_nan_is_refused(dataset: Dataset, teacher: Network) -> None:
    with torch.no_grad():
        next(iter(teacher.parameters())).fill_(math.nan)
    with pytest.raises(BadInputError, match="returns NaN or infinity on this data"):
        measure_teacher(teacher, dataset, model="resnet8", sha256="x", rho=0.9, device=torch.device("cpu"))


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
    with pytest.raises(BadInputError, match=r"training loss is .*; expected a finite number\. Lower"):
        run(dataset, tmp_path, teacher, settings=replace(SETTINGS, learning_rate=1e30))
    assert not (tmp_path / "student.safetensors").exists()


def test_a_teacher_of_other_classes_is_refused(teacher_file: Path, draw: Callable[..., Samples]) -> None:
    pool = Pool(classes=tuple("abcd"), train=draw(80, classes=4), test=draw(16, classes=4))
    data = split(pool, source="bars", seed=0, validation_fraction=0.2, calibration_samples=8, test_fraction=0.2)
    with pytest.raises(BadInputError, match="tells 3 classes apart, the data has 4"):
        load_teacher(teacher_file, data, model="resnet8", options={}, mean=None, std=None)


def test_a_mean_for_other_channels_is_refused(teacher_file: Path, dataset: Dataset) -> None:
    with pytest.raises(BadInputError, match=r"teacher\.mean has 3 numbers, the data 1 channel"):
        load_teacher(teacher_file, dataset, model="resnet8", options={}, mean=(0.1, 0.2, 0.3), std=(1.0,))


def test_a_mean_that_contradicts_the_file_is_refused_and_the_files_own_is_taken(
    teacher_file: Path, dataset: Dataset
) -> None:
    mean, std = channel_statistics(dataset.train)
    same = load_teacher(teacher_file, dataset, model="resnet8", options={}, mean=mean, std=std)
    assert same.mean.flatten().tolist() == pytest.approx(list(mean))
    with pytest.raises(BadInputError, match=r"teacher\.mean is \[0\.5\], but .* brings its own"):
        load_teacher(teacher_file, dataset, model="resnet8", options={}, mean=(0.5,), std=std)


def test_channel_statistics_are_numpys_of_each_channel_and_a_constant_channel_is_left_alone() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 3, 3), dtype=np.uint8)
    images[..., 2] = 51
    mean, std = channel_statistics(Samples(images=images, labels=np.zeros(5, dtype=np.int64)))
    scaled = images / 255
    assert mean == pytest.approx(scaled.mean(axis=(0, 1, 2)).tolist())
    assert std == pytest.approx([*scaled.std(axis=(0, 1, 2))[:2].tolist(), 1.0])
    assert mean[2] == pytest.approx(0.2)


def test_pixels_keep_their_values_on_the_way_to_channels_first() -> None:
    images = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    tensor = to_tensor(images, torch.device("cpu"))
    assert tensor.dtype == torch.uint8
    assert np.array_equal(tensor.numpy().transpose(0, 2, 3, 1), images)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_asked_for_and_not_there_is_a_fault_of_the_environment() -> None:
    with pytest.raises(EnvironmentFault, match="torch sees no CUDA device; install a CUDA build of torch, or set"):
        choose_device("cuda")
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")


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


def test_precision_auto_is_fp32_on_a_cpu_and_what_was_asked_for_stays() -> None:
    cpu = torch.device("cpu")
    assert [choose_precision(wanted, cpu) for wanted in ("auto", "fp32", "bf16")] == ["fp32", "fp32", "bf16"]


def test_rho_is_solved_where_it_is_auto_and_kept_where_it_is_a_number() -> None:
    assert resolve_rho("auto", classes=10, normalised_entropy=0.925) == pytest.approx(1.27, abs=0.006)
    assert resolve_rho(2.5, classes=10, normalised_entropy=0.925) == 2.5
