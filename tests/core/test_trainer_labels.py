"""Training on imbalanced and on unlabelled samples: exact resume, and statistics of what has labels alone."""

import copy
from dataclasses import replace

import pytest
import torch

from edgekd.core import methods
from edgekd.core.augment import Augmentation

from .test_trainer import LABELS, SETTINGS, trainer, weights

pytestmark = pytest.mark.usefixtures("one_thread")

RARE = torch.tensor([0] * 34 + [1] * 4 + [2] * 2)
BALANCED = replace(SETTINGS, balance=True, batch_size=4)


def test_a_balanced_epoch_shows_every_class_equally_often() -> None:
    made = trainer(BALANCED, labels=RARE)
    seen = RARE[torch.cat(made._indices())]
    assert torch.bincount(seen).tolist() in ([14, 13, 13], [13, 14, 13], [13, 13, 14])
    assert not torch.equal(torch.cat(trainer(replace(BALANCED, seed=4), labels=RARE)._indices()), seen)


@pytest.mark.parametrize("stop", [0, 3, 7])
def test_a_balanced_and_weighted_run_that_was_stopped_ends_with_the_same_bytes(stop: int) -> None:
    def fresh():  # type: ignore[no-untyped-def]
        return trainer(BALANCED, labels=RARE, objective=methods.build("cist", {"rho": 1.0}, class_weights=[0.4, 3, 6]))

    whole = fresh()
    history = [whole.run_epoch() for _ in range(2)]
    first, steps = fresh(), 0
    original = first._step

    def step(*arguments: object) -> None:
        nonlocal steps
        if steps == stop:
            raise KeyboardInterrupt
        original(*arguments)
        steps += 1

    first._step = step
    with pytest.raises(KeyboardInterrupt):
        first.run_epoch()
    second = fresh()
    second.load_state(copy.deepcopy(first.state()))
    assert [second.run_epoch() for _ in range(2)] == history
    assert weights(second) == weights(whole)


def test_weights_of_classes_change_what_is_learned_and_weights_of_one_do_not() -> None:
    def run(class_weights: list[float] | None) -> bytes:
        made = trainer(objective=methods.build("cist", {"rho": 1.0}, class_weights=class_weights))
        made.run_epoch()
        return weights(made)

    assert run(None) == run([1.0, 1.0, 1.0]) != run([1.0, 2.0, 1.0])


@pytest.mark.parametrize("mix", [0.0, 1.0])
def test_without_labels_training_goes_on_and_what_needs_them_is_not_measured(mix: float) -> None:
    settings = replace(SETTINGS, augmentation=Augmentation(mixup=mix))
    made = trainer(settings, labels=torch.full((40,), -1))
    stats = made.run_epoch()
    assert stats.train_top1 is None and stats.cross_entropy is None
    assert stats.loss > 0 and stats.kl is not None and stats.skipped == 0


def test_statistics_are_of_the_samples_with_a_label() -> None:
    settings = replace(SETTINGS, batch_size=40, learning_rate=1e-9, augmentation=Augmentation())
    labels = torch.where(torch.arange(40) % 2 == 0, LABELS, -1)
    stats, alone = (trainer(settings, labels=y).run_epoch() for y in (labels, LABELS))
    assert stats.train_top1 is not None and alone.train_top1 is not None
    hits = stats.train_top1 * 20
    assert hits == pytest.approx(round(hits)) and stats.cross_entropy != alone.cross_entropy
    assert stats.kl == pytest.approx(alone.kl)
