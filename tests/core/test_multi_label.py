"""The trainer's objective where a sample may have several classes: methods, weights, mixing and what is counted."""

import math

import pytest
import torch

from edgekd.core import losses, methods
from edgekd.core.augment import Augmentation
from edgekd.core.balance import negatives_per_positive
from edgekd.core.epoch import Sums
from edgekd.core.parallel import ALONE
from edgekd.errors import BadInputError

STUDENT = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]])
TEACHER = torch.tensor([[2.0, -1.0, 1.5], [-1.0, 4.0, -3.0]])
LABELS = torch.tensor([[1, 0, -1], [0, 1, 0]], dtype=torch.int8)


def test_each_method_with_a_binary_form_is_that_loss_with_its_own_defaults() -> None:
    for name, loss, knobs in (
        ("kd", losses.binary_kd, {}),
        ("cist", losses.binary_cist, {"rho": 0.3}),
        ("entropy", losses.binary_entropy_kd, {"target_nats": 0.5}),
    ):
        objective = methods.build(name, knobs, multi_label=True)
        torch.testing.assert_close(objective(STUDENT, TEACHER, LABELS), loss(STUDENT, TEACHER, LABELS, **knobs))
        found = objective.temperatures(STUDENT, TEACHER)
        assert found is not None and all(tau.shape == (2,) for tau in found)
    alone = methods.build("ce", multi_label=True)
    torch.testing.assert_close(alone(STUDENT, None, LABELS), losses.binary_cross_entropy(STUDENT, LABELS))


def test_methods_of_exclusive_classes_and_label_smoothing_are_refused() -> None:
    with pytest.raises(BadInputError, match=r"'dkd' tells exclusive classes apart.*take one of: ce, kd, cist, entropy"):
        methods.build("dkd", multi_label=True)
    with pytest.raises(BadInputError, match="label_smoothing"):
        methods.build("kd", label_smoothing=0.1, multi_label=True)
    with pytest.raises(BadInputError, match="no teacher logits"):
        methods.build("kd", multi_label=True)(STUDENT, None, LABELS)


def test_class_weights_count_for_the_samples_that_have_the_class() -> None:
    weighted = methods.build("ce", class_weights=[3.0, 1.0, 1.0], multi_label=True)
    plain = methods.build("ce", multi_label=True)
    # Sample 0 alone has class 0, with logit 1: its -ln sigmoid(1) counts twice more, of six elements.
    more = 2 * math.log1p(math.exp(-1.0)) / 6
    assert weighted(STUDENT, None, LABELS).item() == pytest.approx(plain(STUDENT, None, LABELS).item() + more)


def test_balanced_weights_are_negatives_over_positives() -> None:
    labels = torch.tensor([[1, 0, 1], [0, 0, 1], [0, 0, 1], [0, -1, 1]])
    assert negatives_per_positive(labels) == (3.0, 1.0, 1.0)


def test_mixed_pictures_have_shares_of_both_label_sets_and_unknown_where_either_is() -> None:
    labels = torch.tensor([[1, 0, -1], [0, 1, 1]] * 4, dtype=torch.int8)
    view = Augmentation(mixup=1.0).draw(seed=0, view=0, samples=8, size=(4, 4), device=torch.device("cpu"))
    assert view.partner is not None and view.share is not None
    index = torch.arange(8)
    found = view.targets(labels, index, classes=3)
    for row, partner in enumerate(view.partner.tolist()):
        own, other, share = labels[row].tolist(), labels[partner].tolist(), view.share[row].item()
        for k in range(3):
            known = own[k] >= 0 and other[k] >= 0
            assert found[row, k].item() == pytest.approx(share * own[k] + (1 - share) * other[k] if known else -1)


def test_an_epochs_sums_are_means_over_classes_and_count_no_top1() -> None:
    sums = Sums(torch.device("cpu"))
    objective = methods.build("kd", {"temperature": 2.0}, multi_label=True)
    sums.add(seen=2.0, loss=1.0)
    sums.look(objective, STUDENT, TEACHER, LABELS)
    stats = sums.summary(1, learning_rate=0.1, ranks=ALONE)
    assert stats.train_top1 is None
    assert stats.cross_entropy == pytest.approx(losses.binary_cross_entropy(STUDENT, LABELS).item())
    assert stats.teacher_entropy_mean == pytest.approx(losses.binary_entropy(TEACHER, 2.0).mean().item())
    kl = losses.binary_divergence(STUDENT, TEACHER, student_temperature=2.0, teacher_temperature=2.0)
    assert stats.kl == pytest.approx(kl.mean().item())
