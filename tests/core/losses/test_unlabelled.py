"""The label term with samples that have no label, and with weights of classes."""

import math

import pytest
import torch
import torch.nn.functional as F

from edgekd.core import methods
from edgekd.core.augment import Augmentation
from edgekd.core.losses import cross_entropy, kd, labelled

from .example import CE, LABELS, STUDENT, TEACHER, random_logits

Z = random_logits(1)
Y = torch.tensor([0, -1, 2, -1, 4, 5])


def test_a_sample_without_a_label_adds_nothing_and_counts_in_the_mean() -> None:
    known = labelled(Y)
    assert known.tolist() == [True, False, True, False, True, True]
    expected = F.cross_entropy(Z[known], Y[known], reduction="sum") / 6
    assert cross_entropy(Z, Y).item() == pytest.approx(expected.item(), rel=1e-6)
    halves = [cross_entropy(Z[part], Y[part]).item() for part in (slice(0, 3), slice(3, 6))]
    assert sum(halves) / 2 == pytest.approx(expected.item(), rel=1e-6), "in two parts it is the same"


def test_without_any_label_the_distillation_term_alone_is_left_and_its_gradient_is_finite() -> None:
    none = torch.full((6,), -1)
    student, teacher = random_logits(2).requires_grad_(), random_logits(3)
    loss = kd(student, teacher, none)
    assert loss.item() == pytest.approx(kd(student, teacher, torch.arange(6), ce_weight=0.0).item(), rel=1e-6)
    (gradient,) = torch.autograd.grad(loss, student)
    assert gradient.isfinite().all() and cross_entropy(student, none).item() == 0.0


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_class_shares_that_are_all_zero_are_no_label(smoothing: float) -> None:
    shares = F.one_hot(Y.clamp(min=0), 10).float() * labelled(Y)[:, None]
    assert labelled(shares).tolist() == labelled(Y).tolist()
    mixed = cross_entropy(Z, shares, label_smoothing=smoothing)
    assert mixed.item() == pytest.approx(cross_entropy(Z, Y, label_smoothing=smoothing).item(), rel=1e-6)


def test_any_other_negative_label_is_an_error() -> None:
    with pytest.raises(IndexError):
        cross_entropy(Z, torch.full((6,), -100))


def test_weights_multiply_each_sample_s_term_and_not_the_divergence() -> None:
    # The example's two samples: -ln q of each, from its own golden CE, weighted 3 and 1/2 by their classes.
    each = F.cross_entropy(STUDENT, LABELS, reduction="none")
    assert each.mean().item() == pytest.approx(CE)
    weights = [1.0] * STUDENT.shape[-1]
    weights[int(LABELS[0])] = 3.0
    expected = (each * torch.tensor(weights)[LABELS]).mean()
    assert cross_entropy(STUDENT, LABELS, class_weights=torch.tensor(weights)).item() == pytest.approx(expected.item())
    objective = methods.build("kd", {"temperature": 2.0}, class_weights=weights)
    plain = methods.build("kd", {"temperature": 2.0})
    difference = objective(STUDENT, TEACHER, LABELS) - plain(STUDENT, TEACHER, LABELS)
    assert difference.item() == pytest.approx(0.1 * (expected.item() - CE), abs=1e-6)
    assert "class_weights" not in objective.state_dict()


@pytest.mark.parametrize("name", [name for name in methods.METHODS if name not in methods.NEED_EVERY_LABEL])
def test_every_other_method_takes_samples_without_labels_and_weights(name: str) -> None:
    knobs = {"target_nats": 0.9 * math.log(10)} if name == "entropy" else {}
    objective = methods.build(name, knobs, class_weights=[0.5] * 10)
    student = random_logits(2).requires_grad_()
    loss = objective(student, None if name == "ce" else random_logits(3), Y)
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.isfinite() and gradient.isfinite().all()


def test_a_picture_mixed_with_an_unlabelled_one_has_no_label() -> None:
    labels = torch.tensor([0, 1, -1, 2, -1, 0])
    view = Augmentation(mixup=1.0).draw(seed=0, view=0, samples=6, size=(4, 4), device=torch.device("cpu"))
    assert view.partner is not None
    index = torch.arange(6)
    shares = view.targets(labels, index, classes=3)
    both = (labels >= 0) & (labels[view.partner] >= 0)
    assert labelled(shares).tolist() == both.tolist()
    torch.testing.assert_close(shares.sum(-1), both.float())
