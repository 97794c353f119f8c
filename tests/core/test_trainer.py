"""The training loop: the same seed gives the same bytes, stopped after any step or not."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgekd.core import checkpoint, methods
from edgekd.core.augment import Augmentation
from edgekd.core.forward import Teacher, predict
from edgekd.core.methods import Objective
from edgekd.core.optimizer import Settings, build_optimizer, learning_rate
from edgekd.core.source import Resident
from edgekd.core.trainer import Trainer
from edgekd.errors import BadInputError

pytestmark = pytest.mark.usefixtures("one_thread")

IMAGES = torch.randint(0, 256, (40, 1, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(40) % 3
SETTINGS = Settings(
    epochs=3,
    batch_size=16,
    learning_rate=0.05,
    clip_norm=1.0,
    augmentation=Augmentation(crop_padding=1, flip=True),
    seed=3,
)


def cist() -> Objective:
    return methods.build("cist", {"rho": 1.0})


class Tiny(nn.Module):
    """Convolution, batch norm, dropout, matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.2)
        self.matrix = nn.Linear(4, 3)

    def forward(self, pixels: Tensor) -> Tensor:
        maps = self.norm(self.convolution(pixels.float() / 255)).relu()
        logits: Tensor = self.matrix(self.drop(maps.mean(dim=(-2, -1))))
        return logits


def trainer(
    settings: Settings = SETTINGS,
    *,
    objective: Objective | None = None,
    images: Tensor = IMAGES,
    labels: Tensor = LABELS,
    student: nn.Module | None = None,
    teacher: nn.Module | None = None,
    alone: bool = False,
) -> Trainer:
    torch.manual_seed(0)
    tiny, other = Tiny(), Tiny()
    return Trainer(
        student or tiny,
        source=Resident(images, labels),
        objective=objective or (methods.build("ce") if alone else cist()),
        settings=settings,
        targets=None if alone else Teacher(teacher or other, precision=settings.precision),
    )


def soft_entropy(logits: Tensor) -> Tensor:
    """Entropy of each softmax in float64, in nats."""
    p = torch.softmax(logits.double(), dim=-1)
    h: Tensor = torch.special.entr(p).sum(dim=-1)
    return h


def weights(trained: Trainer) -> bytes:
    return b"".join(value.numpy().tobytes() for value in trained.student.state_dict().values())


VARIETIES = {
    "sgd": SETTINGS,
    "adamw": replace(SETTINGS, optimizer="adamw", learning_rate=0.01),
    "everything": replace(
        SETTINGS,
        ema_decay=0.9,
        accumulate=2,
        views=2,
        precision="bf16",
        augmentation=Augmentation(crop_padding=1, flip=True, mixup=0.4, cutmix=1.0),
    ),
}


@pytest.mark.parametrize("settings", VARIETIES.values(), ids=VARIETIES)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(settings: Settings) -> None:
    def run(seed: int) -> bytes:
        made = trainer(replace(settings, seed=seed))
        made.run_epoch()
        torch.rand(7)  # what others draw in between changes nothing, dropout included
        made.run_epoch()
        return weights(made)

    assert run(1) == run(1)
    assert run(1) != run(2)


class Killed(BaseException):
    """Stands for the signal that ends a process between two steps."""


@pytest.mark.parametrize("settings", VARIETIES.values(), ids=VARIETIES)
@pytest.mark.parametrize("stop", [0, 1, 3, 4, 7, 9])
def test_a_run_stopped_after_any_step_and_resumed_ends_with_the_bytes_and_statistics_of_an_uninterrupted_one(
    settings: Settings, stop: int, tmp_path: Path
) -> None:
    settings = replace(settings, batch_size=4)  # ten steps an epoch
    whole, first = trainer(settings), trainer(settings)
    history = [whole.run_epoch() for _ in range(3)]
    first.run_epoch()
    original, done = first._step, 0

    def step(*arguments: Any) -> None:
        nonlocal done
        if done == stop:
            raise Killed
        original(*arguments)
        done += 1

    first._step = step  # type: ignore[method-assign]
    with pytest.raises(Killed):
        first.run_epoch()
    checkpoint.save(tmp_path / "last.pt", first.state(), key="k")
    state = checkpoint.load(tmp_path / "last.pt", key="k")
    assert state is not None
    assert (state["epoch"], state["step"]) == (1, stop)
    second = trainer(settings)  # the same teacher; its own fresh student is overwritten
    second.load_state(state)
    assert [second.run_epoch() for _ in range(2)] == history[1:]
    assert weights(second) == weights(whole)


def test_a_learned_temperature_is_trained_with_the_student_and_resumed_with_it() -> None:
    settings = replace(SETTINGS, epochs=12)
    first = trainer(settings, objective=methods.build("ctkd"))
    theta = next(iter(first.objective.parameters())).detach().clone()
    for _ in range(2):
        first.run_epoch()
    assert not torch.equal(next(iter(first.objective.parameters())), theta)
    second = trainer(settings, objective=methods.build("ctkd"))
    second.load_state(copy.deepcopy(first.state()))
    assert second.run_epoch() == first.run_epoch()
    assert weights(second) == weights(first)


def test_the_statistics_of_an_epoch_are_those_of_its_samples() -> None:
    made = trainer(Settings(epochs=1, batch_size=40, learning_rate=1e-9))
    assert isinstance(made.targets, Teacher)
    z = predict(made.targets.network, IMAGES).half().float()
    tau = (z - z.mean(-1, keepdim=True)).amax(-1).clamp(min=1.0)
    h = soft_entropy(z / tau[:, None])
    stats = made.run_epoch()
    assert (stats.epoch, stats.learning_rate, stats.skipped) == (1, 1e-9, 0)
    assert stats.teacher_entropy_mean == pytest.approx(float(h.mean()), abs=1e-6)
    # The mean is a thousand times the spread here: sums in float32 would lose it.
    assert stats.teacher_entropy_sd == pytest.approx(float(h.std(unbiased=False)), rel=0.02)
    assert stats.kl is not None
    assert stats.loss == pytest.approx(stats.cross_entropy + 8.0 * stats.kl, rel=1e-3)  # all at the floor, tau = 1


def test_the_entropy_spread_of_many_samples_survives_the_summing() -> None:
    class Steady(nn.Module):
        """A teacher whose soft labels hardly differ: entropies of 0.69 with a spread of 1e-3."""

        def forward(self, pixels: Tensor) -> Tensor:
            high = 0.05 + 0.02 * pixels[:, 0, 0, 0].float() / 255
            return torch.stack([high, -high], dim=-1)

    images = torch.randint(0, 256, (20_000, 1, 1, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    made = trainer(
        Settings(epochs=1, batch_size=250, learning_rate=1e-6),
        images=images,
        labels=torch.zeros(20_000, dtype=torch.int64),
        student=nn.Sequential(nn.Flatten(), Float(), nn.Linear(1, 2)),
        teacher=Steady(),
    )
    h = soft_entropy(Steady()(images).half())
    # A tenth of the 80 steps is looked at: 2,500 samples estimate the spread to about 2 %.
    assert made.run_epoch().teacher_entropy_sd == pytest.approx(float(h.std(unbiased=False)), rel=0.06)


class Float(nn.Module):
    """Bytes as numbers."""

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels.float() / 255


def test_without_a_teacher_there_is_no_kl_and_no_entropy() -> None:
    stats = trainer(Settings(epochs=1, batch_size=40), alone=True).run_epoch()
    assert (stats.kl, stats.teacher_entropy_mean, stats.teacher_entropy_sd) == (None, None, None)
    assert stats.loss == pytest.approx(stats.cross_entropy)


def test_the_teacher_stays_as_it_was_and_answers_in_numbers_that_fp16_can_hold() -> None:
    made = trainer()
    assert isinstance(made.targets, Teacher)
    teacher = made.targets.network
    before = [value.clone() for value in teacher.state_dict().values()]
    made.run_epoch()
    assert not teacher.training
    assert all(torch.equal(a, b) for a, b in zip(before, teacher.state_dict().values(), strict=True))
    assert all(parameter.grad is None for parameter in teacher.parameters())
    answer = made.targets(0, torch.arange(4), IMAGES[:4])
    assert torch.equal(answer, answer.half().float())


class Watch(Objective):
    """Cross-entropy that remembers what it was given."""

    def __init__(self) -> None:
        super().__init__("ce", {})
        self.seen: list[Tensor] = []

    def forward(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor | None,
        labels: Tensor,
        *,
        epoch: float = 0.0,
        mask: Tensor | None = None,
    ) -> Tensor:
        self.seen.append(labels)
        return nn.functional.cross_entropy(student_logits, labels)


def test_every_batch_is_full_and_no_sample_comes_twice_in_an_epoch() -> None:
    watch = Watch()
    student = nn.Sequential(nn.Flatten(), Float(), nn.Linear(36, 40))
    made = trainer(objective=watch, labels=torch.arange(40), student=student, alone=True)
    made.run_epoch()
    assert [len(labels) for labels in watch.seen] == [16, 16]  # the last 8 of 40 wait for another epoch's order
    assert len(set(torch.cat(watch.seen).tolist())) == 32
    made.run_epoch()
    assert not torch.equal(torch.cat(watch.seen[:2]), torch.cat(watch.seen[2:]))


def test_mixed_pictures_come_with_mixed_labels() -> None:
    watch = Watch()
    trainer(replace(SETTINGS, augmentation=Augmentation(mixup=0.4)), objective=watch, alone=True).run_epoch()
    assert watch.seen[0].shape == (16, 3)
    torch.testing.assert_close(watch.seen[0].sum(-1), torch.ones(16))


def test_accumulated_parts_give_the_gradient_of_the_whole_batch_where_there_is_no_batch_norm() -> None:
    def run(accumulate: int) -> Tensor:
        settings = replace(SETTINGS, accumulate=accumulate, epochs=1)
        torch.manual_seed(1)
        student = nn.Sequential(nn.Flatten(), Float(), nn.Linear(36, 3))
        made = trainer(settings, student=student)
        made.run_epoch()
        return student[2].weight.detach()

    torch.testing.assert_close(run(4), run(1), rtol=1e-5, atol=1e-6)


def test_a_batch_that_cannot_be_split_into_its_parts_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"a batch of 16 samples cannot be split evenly into distill.accumulate"):
        trainer(replace(SETTINGS, accumulate=3)).run_epoch()


def test_the_average_of_the_weights_is_what_training_makes_where_one_is_kept() -> None:
    made = trainer(replace(SETTINGS, ema_decay=0.5))
    made.run_epoch()
    assert made.result is not made.student
    assert not torch.equal(made.result.matrix.weight, made.student.matrix.weight)  # type: ignore[union-attr, arg-type]
    assert trainer().result is not None


def test_views_come_again_after_as_many_epochs_and_without_augmentation_there_is_one() -> None:
    assert [replace(SETTINGS, views=3).view(epoch) for epoch in range(5)] == [0, 1, 2, 0, 1]
    assert [SETTINGS.view(epoch) for epoch in range(3)] == [0, 1, 2]
    assert [Settings(epochs=5).view(epoch) for epoch in range(3)] == [0, 0, 0]


def test_fewer_images_than_a_batch_are_one_batch() -> None:
    made = trainer(images=IMAGES[:5], labels=LABELS[:5], alone=True)
    made.run_epoch()
    assert made.steps_per_epoch == 1


def test_the_listener_hears_of_every_eighth_step_and_of_the_last() -> None:
    made, heard = trainer(Settings(epochs=1, batch_size=4, learning_rate=0.01)), list[int]()
    made.run_epoch(lambda step, loss: heard.append(step))
    assert heard == [8, 10]


def test_a_cosine_schedule_with_warm_up_by_hand() -> None:
    settings = Settings(epochs=10, learning_rate=0.2, warmup_epochs=2.0)
    # Warm-up: linear, from a tenth of an epoch. Then half a cosine over the 8 epochs left.
    wanted = {0.0: 0.01, 0.1: 0.01, 1.0: 0.1, 2.0: 0.2, 4.0: 0.1 * (1 + math.sqrt(0.5)), 6.0: 0.1, 10.0: 0.0}
    for epoch, rate in wanted.items():
        assert learning_rate(settings, epoch) == pytest.approx(rate, abs=1e-12), epoch


def test_a_step_schedule_by_hand() -> None:
    settings = Settings(epochs=10, learning_rate=0.5, schedule="step", milestones=(4, 8), step_factor=0.1)
    for epoch, rate in {0.0: 0.5, 3.99: 0.5, 4.0: 0.05, 7.9: 0.05, 8.0: 0.005, 9.9: 0.005}.items():
        assert learning_rate(settings, epoch) == pytest.approx(rate), epoch


@pytest.mark.parametrize("warmup", [0.01, 0.05, 0.5, 3.0])
def test_no_warm_up_rises_above_the_peak(warmup: float) -> None:
    settings = Settings(epochs=3, learning_rate=0.1, warmup_epochs=warmup)
    assert max(learning_rate(settings, epoch / 100) for epoch in range(300)) <= 0.1


def test_the_gradient_is_clipped_to_its_norm() -> None:
    made = trainer(Settings(epochs=1, batch_size=40, learning_rate=1.0, momentum=0.0, weight_decay=0.0, clip_norm=1e-3))
    before = [p.detach().clone() for p in made.student.parameters()]
    made.run_epoch()
    moved = [(p.detach() - old).flatten() for p, old in zip(made.student.parameters(), before, strict=True)]
    assert float(torch.cat(moved).norm()) == pytest.approx(1e-3, rel=1e-2)


class Breaks(nn.Module):
    """A student whose forward pass is NaN in some steps, its batch norm's statistics too."""

    def __init__(self, bad: Callable[[int], bool]) -> None:
        super().__init__()
        self.tiny, self.bad, self.calls = Tiny(), bad, 0

    def forward(self, pixels: Tensor) -> Tensor:
        self.calls += 1
        scale = math.nan if self.bad(self.calls) else 1.0
        logits: Tensor = self.tiny(pixels.float() * scale)
        return logits


def test_a_step_whose_gradient_is_not_finite_is_skipped_and_counted_and_leaves_no_trace() -> None:
    torch.manual_seed(1)
    student = Breaks(lambda call: call == 2)
    made = trainer(replace(SETTINGS, batch_size=4), student=student)
    stats = made.run_epoch()
    assert stats.skipped == 1
    assert math.isfinite(stats.loss)
    assert all(value.isfinite().all() for value in student.state_dict().values())
    assert made.run_epoch().skipped == 0  # counted an epoch


def test_too_many_skipped_steps_are_an_error_that_names_the_image_and_says_what_to_change() -> None:
    made = trainer(replace(SETTINGS, batch_size=4, max_skipped=2), student=Breaks(lambda call: True))
    expected = (
        r"gradient was not finite in 3 steps, last in epoch 1, step 3, the student's logits first for training image "
        r"\d+; expected at most distill.max_skipped_steps = 2. Lower distill.learning_rate"
    )
    with pytest.raises(BadInputError, match=expected):
        made.run_epoch()


def test_a_teacher_whose_logits_are_not_finite_is_named_with_image_and_epoch() -> None:
    class Broken(nn.Module):
        def forward(self, pixels: Tensor) -> Tensor:
            logits = torch.zeros(len(pixels), 3)
            logits[pixels[:, 0, 0, 0] == IMAGES[11, 0, 0, 0]] = 1e6  # more than fp16 holds
            return logits

    made = trainer(replace(SETTINGS, batch_size=40, augmentation=Augmentation()), teacher=Broken())
    with pytest.raises(
        BadInputError, match=r"teacher's logits for training image 11 are not finite in epoch 1, step 1"
    ):
        made.run_epoch()


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_weight_decay_is_for_matrices_and_kernels_alone(name: str) -> None:
    student = Tiny()
    optimizer = build_optimizer(student, Settings(epochs=1, optimizer=name, weight_decay=0.01))
    decayed, rest = optimizer.param_groups
    assert {id(p) for p in decayed["params"]} == {id(student.convolution.weight), id(student.matrix.weight)}
    assert (decayed["weight_decay"], rest["weight_decay"]) == (0.01, 0.0)
    assert len(decayed["params"]) + len(rest["params"]) == len(list(student.parameters()))


def test_frozen_weights_are_left_out_and_sgd_without_momentum_is_plain() -> None:
    student = Tiny()
    student.matrix.weight.requires_grad_(False)
    optimizer = build_optimizer(student, Settings(epochs=1, momentum=0.0))
    assert len(optimizer.param_groups[0]["params"]) == 1
    assert not optimizer.defaults["nesterov"]


def test_predict_gives_float32_logits_in_eval_mode_whatever_the_batch_size() -> None:
    torch.manual_seed(0)
    network = Tiny()
    network.train()
    whole = predict(network, IMAGES)
    assert network.training
    assert (whole.dtype, whole.shape, whole.requires_grad) == (torch.float32, (40, 3), False)
    torch.testing.assert_close(predict(network, IMAGES, batch_size=7), whole, rtol=1e-5, atol=1e-6)
    assert predict(network, IMAGES, precision="bf16").dtype == torch.float32
    torch.testing.assert_close(predict(network, IMAGES, precision="bf16"), whole, rtol=0.05, atol=0.05)


def test_bf16_training_keeps_float32_weights_and_a_finite_loss() -> None:
    made = trainer(Settings(epochs=1, batch_size=16, learning_rate=0.01, precision="bf16"))
    assert math.isfinite(made.run_epoch().loss)
    assert all(p.dtype == torch.float32 for p in made.student.parameters())
