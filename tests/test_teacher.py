"""The teacher: read, checked against the data, measured; its answers live and from a cache are the same bits."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgekd import pixels
from edgekd.core.augment import Augmentation
from edgekd.core.forward import Targets
from edgekd.core.optimizer import Settings
from edgekd.data import Dataset, Samples
from edgekd.data.dataset import Pool, split
from edgekd.errors import BadInputError
from edgekd.network import Network
from edgekd.pixels import channel_statistics
from edgekd.progress import Progress
from edgekd.teacher import CachePlan, answering, load_teacher, measure_teacher

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
SETTINGS = Settings(
    epochs=4, batch_size=16, views=2, augmentation=Augmentation(crop_padding=1, flip=True, mixup=0.3), seed=1
)


@pytest.fixture
def teacher(teacher_file: Path, dataset: Dataset) -> Network:
    return load_teacher(teacher_file, dataset, model="resnet8", options={}, mean=None, std=None)


def test_the_teachers_facts_are_those_of_its_logits(dataset: Dataset, teacher: Network) -> None:
    facts = measure_teacher(teacher, dataset, model="resnet8", sha256="x", device=torch.device("cpu"))
    assert facts.train_top1 > 0.9
    assert len(facts.test_predictions) == len(dataset.test)
    right = (np.array(facts.test_predictions) == dataset.test.labels).mean()
    assert facts.test_top1 == pytest.approx(float(right))


def test_a_teacher_at_chance_is_refused_with_a_hint(dataset: Dataset, teacher: Network) -> None:
    permuted = Samples(inputs=dataset.train.inputs, labels=(dataset.train.labels + 1) % 3)
    with pytest.raises(BadInputError, match=r"is chance for 3 classes; are the labels permuted"):
        measure_teacher(
            teacher,
            replace(dataset, train=permuted),
            model="resnet8",
            sha256="x",
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
        measure_teacher(teacher, uneven, model="resnet8", sha256="x", device=torch.device("cpu"))


def test_a_teacher_that_returns_nan_is_refused(dataset: Dataset, teacher: Network) -> None:
    with torch.no_grad():
        next(iter(teacher.parameters())).fill_(math.nan)
    with pytest.raises(BadInputError, match="returns NaN or infinity on this data"):
        measure_teacher(teacher, dataset, model="resnet8", sha256="x", device=torch.device("cpu"))


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
    mean, std = channel_statistics(dataset)
    same = load_teacher(teacher_file, dataset, model="resnet8", options={}, mean=mean, std=std)
    assert same.front.mean.flatten().tolist() == pytest.approx(list(mean))
    with pytest.raises(BadInputError, match=r"teacher\.mean is \[0\.5\], but .* brings its own"):
        load_teacher(teacher_file, dataset, model="resnet8", options={}, mean=(0.5,), std=std)


def plan(folder: Path, **changes: int) -> CachePlan:
    return CachePlan(**{"folder": folder, "key": "k", "top_k": None, "limit_bytes": 10**9, **changes})  # type: ignore[arg-type]


def ask(targets: Targets, dataset: Dataset, *, view: int, index: torch.Tensor) -> torch.Tensor:
    """The teacher's answer to these pictures of a view, in this order."""
    from edgekd.core.augment import draw

    source = pixels.place(dataset.train, CPU)
    drawn = draw(
        SETTINGS.augmentation, seed=SETTINGS.view_seed, view=view, samples=len(dataset.train), size=(8, 8), device=CPU
    )
    images = drawn.inputs(next(source.batches([drawn.needed(index)])), index)
    return targets(view, index, images.contiguous(memory_format=torch.channels_last))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_answers_from_a_cache_are_bit_for_bit_those_of_the_teacher_itself(
    precision: str, dataset: Dataset, teacher: Network, tmp_path: Path
) -> None:
    settings, source = replace(SETTINGS, precision=precision), pixels.place(dataset.train, CPU)
    index = torch.randperm(96, generator=torch.Generator().manual_seed(0))[:16]
    with answering(lambda: teacher, source, classes=3, settings=settings) as live:
        wanted = [ask(live, dataset, view=view, index=index) for view in (0, 1)]
    with answering(lambda: teacher, source, classes=3, settings=settings, cache=plan(tmp_path)) as cached:
        found = [ask(cached, dataset, view=view, index=index) for view in (0, 1)]
    assert not torch.equal(wanted[0], wanted[1])
    for one, other in zip(wanted, found, strict=True):
        assert torch.equal(one, other)


def test_a_full_cache_never_asks_the_teacher_again(dataset: Dataset, teacher: Network, tmp_path: Path) -> None:
    source = pixels.place(dataset.train, CPU)
    heard: list[Progress] = []
    with answering(
        lambda: teacher, source, classes=3, settings=SETTINGS, cache=plan(tmp_path), listener=heard.append
    ) as first:
        wanted = ask(first, dataset, view=1, index=torch.arange(16))
    assert heard[-1].stage == "teacher-logits"
    assert heard[-1].done == heard[-1].total

    def never() -> Network:
        raise AssertionError("the teacher was loaded")

    with answering(never, source, classes=3, settings=SETTINGS, cache=plan(tmp_path)) as second:
        assert torch.equal(ask(second, dataset, view=1, index=torch.arange(16)), wanted)


def test_a_cache_over_its_limit_is_refused_before_the_teacher_is_asked(
    dataset: Dataset, teacher: Network, tmp_path: Path
) -> None:
    source = pixels.place(dataset.train, CPU)
    with (
        pytest.raises(BadInputError, match="limit"),
        answering(lambda: teacher, source, classes=3, settings=SETTINGS, cache=plan(tmp_path, limit_bytes=100)),
    ):
        pass
