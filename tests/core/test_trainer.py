"""The training loop: the same seed gives the same bytes, interrupted or not."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from edgekd.core import checkpoint, losses
from edgekd.core.trainer import Objective, Settings, Trainer, build_optimizer, learning_rate, predict
from edgekd.errors import BadInputError

pytestmark = pytest.mark.usefixtures("one_thread")

IMAGES = torch.randint(0, 256, (40, 1, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(40) % 3
CIST: Objective = partial(losses.cist, rho=1.0)  # there is always a teacher here
SETTINGS = Settings(epochs=3, batch_size=16, learning_rate=0.05, clip_norm=1.0, crop_padding=1, flip=True, seed=3)


def plain(student: Tensor, teacher: Tensor | None, labels: Tensor) -> losses.Loss:
    return losses.cross_entropy(student, labels)


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


def trainer(settings: Settings = SETTINGS, *, objective: Objective = CIST, seed: int = 0) -> Trainer:
    torch.manual_seed(seed)
    student, teacher = Tiny(), Tiny()
    return Trainer(student, images=IMAGES, labels=LABELS, objective=objective, settings=settings, teacher=teacher)


def soft_entropy(logits: Tensor) -> Tensor:
    """Entropy of each softmax in float64, in nats."""
    p = torch.softmax(logits.double(), dim=-1)
    h: Tensor = torch.special.entr(p).sum(dim=-1)
    return h


def weights(trained: Trainer) -> bytes:
    return b"".join(value.numpy().tobytes() for value in trained.student.state_dict().values())


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(optimizer: str) -> None:
    def run(seed: int) -> bytes:
        made = trainer(Settings(epochs=2, batch_size=16, optimizer=optimizer, learning_rate=0.01, flip=True, seed=seed))
        made.run_epoch()
        torch.rand(7)  # what others draw in between changes nothing, dropout included
        made.run_epoch()
        return weights(made)

    assert run(1) == run(1)
    assert run(1) != run(2)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_run_resumed_from_a_checkpoint_ends_with_the_bytes_and_statistics_of_an_uninterrupted_one(
    optimizer: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = Settings(epochs=3, batch_size=16, optimizer=optimizer, learning_rate=0.01, crop_padding=1, flip=True)
    whole = trainer(settings)
    history = [whole.run_epoch() for _ in range(3)]
    first, path = trainer(settings), tmp_path_factory.mktemp("checkpoints") / "last.pt"
    first.run_epoch()
    checkpoint.save(path, first.state(), key="k")
    state = checkpoint.load(path, key="k")
    assert state is not None
    second = trainer(settings)  # the same teacher; its own fresh student is overwritten
    second.load_state(state)
    assert [second.run_epoch() for _ in range(2)] == history[1:]
    assert weights(second) == weights(whole)


def test_the_statistics_of_an_epoch_are_those_of_its_samples() -> None:
    made = trainer(Settings(epochs=1, batch_size=40, learning_rate=1e-9))
    assert made.teacher is not None
    z = predict(made.teacher, IMAGES)
    tau = (z - z.mean(-1, keepdim=True)).amax(-1).clamp(min=1.0)
    h = soft_entropy(z / tau[:, None])
    stats = made.run_epoch()
    assert (stats.epoch, stats.learning_rate) == (1, 1e-9)
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
    torch.manual_seed(0)
    made = Trainer(
        nn.Sequential(nn.Flatten(), Float(), nn.Linear(1, 2)),
        images=images,
        labels=torch.zeros(20_000, dtype=torch.int64),
        objective=CIST,
        settings=Settings(epochs=1, batch_size=250, learning_rate=1e-6),
        teacher=Steady(),
    )
    h = soft_entropy(Steady()(images))
    assert made.run_epoch().teacher_entropy_sd == pytest.approx(float(h.std(unbiased=False)), rel=1e-3)


class Float(nn.Module):
    """Bytes as numbers."""

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels.float() / 255


def test_without_a_teacher_there_is_no_kl_and_no_entropy() -> None:
    torch.manual_seed(0)
    made = Trainer(Tiny(), images=IMAGES, labels=LABELS, objective=plain, settings=SETTINGS)
    stats = made.run_epoch()
    assert (stats.kl, stats.teacher_entropy_mean, stats.teacher_entropy_sd) == (None, None, None)
    assert stats.loss == stats.cross_entropy


def test_the_teacher_stays_as_it_was() -> None:
    made = trainer()
    assert made.teacher is not None
    before = [value.clone() for value in made.teacher.state_dict().values()]
    made.run_epoch()
    assert not made.teacher.training
    assert all(torch.equal(a, b) for a, b in zip(before, made.teacher.state_dict().values(), strict=True))
    assert all(parameter.grad is None for parameter in made.teacher.parameters())


def test_every_batch_is_full_and_no_sample_comes_twice_in_an_epoch() -> None:
    seen: list[Tensor] = []

    def watch(student: Tensor, teacher: Tensor | None, labels: Tensor) -> losses.Loss:
        seen.append(labels)
        return losses.cross_entropy(student, labels % 3)

    torch.manual_seed(0)
    made = Trainer(Tiny(), images=IMAGES, labels=torch.arange(40), objective=watch, settings=SETTINGS)
    made.run_epoch()
    assert [len(labels) for labels in seen] == [16, 16]  # the last 8 of 40 wait for another epoch's order
    assert len(set(torch.cat(seen).tolist())) == 32
    made.run_epoch()
    assert not torch.equal(torch.cat(seen[:2]), torch.cat(seen[2:]))


def test_fewer_images_than_a_batch_are_one_batch() -> None:
    torch.manual_seed(0)
    made = Trainer(Tiny(), images=IMAGES[:5], labels=LABELS[:5], objective=plain, settings=SETTINGS)
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


def test_a_loss_that_is_not_finite_is_an_error_that_says_what_to_change() -> None:
    def broken(student: Tensor, teacher: Tensor | None, labels: Tensor) -> losses.Loss:
        total = student.sum() * math.inf
        return losses.Loss(total=total, cross_entropy=total.detach())

    with pytest.raises(BadInputError, match=r"training loss is (nan|-?inf) in epoch 1, step 2; .*learning_rate"):
        trainer(objective=broken).run_epoch()


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
