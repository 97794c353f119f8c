"""Multi-label losses: worked by hand, beside the softmax losses of two classes, and by finite differences."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from edgekd.core import auto_rho
from edgekd.core.losses import binary, cist, entropy_kd, kd
from edgekd.errors import BadInputError

LN2, LN3 = math.log(2.0), math.log(3.0)
STUDENT = torch.tensor([[0.0, LN3]])
TEACHER = torch.tensor([[LN3, -LN3]])
LABELS = torch.tensor([[1, 0]])
# sigmoid(ln 3) = 3/4. KL(3/4 || 1/2) = 3/4 ln(3/2) + 1/4 ln(1/2); KL(1/4 || 3/4) = 1/4 ln(1/3) + 3/4 ln 3 = 1/2 ln 3.
KL = (0.75 * math.log(1.5) + 0.25 * math.log(0.5) + 0.5 * LN3) / 2
BCE = (LN2 + math.log(4.0)) / 2  # -ln(1/2) of a class that is there, -ln(1 - 3/4) of one that is not


def logits(seed: int, *, classes: int = 5, scale: float = 4.0) -> Tensor:
    return scale * torch.randn(6, classes, generator=torch.Generator().manual_seed(seed))


def labels(seed: int, classes: int = 5) -> Tensor:
    return torch.randint(0, 2, (6, classes), generator=torch.Generator().manual_seed(seed))


def test_the_worked_example() -> None:
    found = binary.binary_divergence(STUDENT, TEACHER, student_temperature=1.0, teacher_temperature=1.0)
    assert found.item() == pytest.approx(KL, rel=1e-6)
    assert binary.binary_cross_entropy(STUDENT, LABELS).item() == pytest.approx(BCE, rel=1e-6)
    assert binary.binary_kd(STUDENT, TEACHER, LABELS, temperature=1.0).item() == pytest.approx(
        0.9 * KL + 0.1 * BCE, rel=1e-6
    )
    # rho = ln(3) / 4: max |z| / (2 rho) = 2 for both networks, so p and q are those of half the logits.
    halved = binary.binary_divergence(STUDENT / 2, TEACHER / 2, student_temperature=1.0, teacher_temperature=1.0)
    assert binary.binary_cist(STUDENT, TEACHER, LABELS, rho=LN3 / 4).item() == pytest.approx(
        BCE + 8 * 4 * halved.item(), rel=1e-6
    )


def test_the_entropy_of_three_quarters_is_solved_by_hand() -> None:
    # H(3/4) = ln 4 - 3/4 ln 3 is that of |z| = ln 3: tau = m for logits of m ln 3, whatever their signs.
    h = math.log(4.0) - 0.75 * LN3
    assert binary.bernoulli_logit(torch.tensor(h)).item() == pytest.approx(LN3, rel=1e-6)
    tau = binary.binary_entropy_temperatures(torch.tensor([[LN3, -LN3], [3 * LN3, 3 * LN3]]), h)
    assert tau.tolist() == pytest.approx([1.0, 3.0], rel=1e-5)
    assert binary.class_temperatures(torch.tensor([[LN3, -5 * LN3, 0.0]]), h).tolist()[0] == pytest.approx(
        [1.0, 5.0, 1.0], rel=1e-5
    )


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0.02, 0.98), scale=st.floats(1e-3, 1e3), classes=st.integers(1, 40))
def test_every_sample_gets_the_wanted_mean_entropy(seed: int, share: float, scale: float, classes: int) -> None:
    z = logits(seed, classes=classes, scale=scale)
    tau = binary.binary_entropy_temperatures(z, share * LN2)
    # float32 logits and temperature: a relative error of 1e-7 moves the entropy by that times |dH/dx| <= 0.45.
    torch.testing.assert_close(binary.binary_entropy(z, tau), torch.full((6,), share * LN2), rtol=0, atol=3e-6)


def test_a_sample_without_such_a_temperature_is_left_at_one() -> None:
    z = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 5.0], [math.nan, 1.0, 1.0, 1.0], [0.0, 5.0, 5.0, 5.0]])
    tau = binary.binary_entropy_temperatures(z, 0.5 * LN2)
    assert tau[:3].tolist() == [1.0, 1.0, 1.0], "three of four classes at 0 have more entropy than a half, whatever tau"
    assert binary.binary_entropy(z[3:], tau[3:]).item() == pytest.approx(0.5 * LN2, abs=1e-6)


def test_one_class_is_the_softmax_of_a_pair() -> None:
    # The softmax losses see (z, 0) as two classes; centred (z/2, -z/2), so rho and the entropies are the same numbers.
    s, t, y = logits(1, classes=1), logits(2, classes=1), labels(3, 1)
    pair = [torch.cat([z, torch.zeros_like(z)], dim=-1) for z in (s, t)]
    true = 1 - y[:, 0]
    rho, h = auto_rho(2), 0.8 * LN2
    for mine, theirs in (
        (binary.binary_kd(s, t, y), kd(*pair, true)),
        (binary.binary_cist(s, t, y, rho=rho), cist(*pair, true, rho=rho)),
        (binary.binary_entropy_kd(s, t, y, target_nats=h), entropy_kd(*pair, true, target_nats=h)),
    ):
        assert mine.item() == pytest.approx(theirs.item(), rel=1e-4)


def test_the_surest_class_of_cist_gets_the_entropy_that_rho_stands_for() -> None:
    z, rho = logits(4), auto_rho(2, normalised_entropy=0.9)
    tau = binary.binary_max_logit_temperatures(z, rho)
    surest = z.abs().amax(-1, keepdim=True)
    assert (tau > 1).all()
    torch.testing.assert_close(binary.binary_entropy(surest, tau), torch.full((6,), 0.9 * LN2), rtol=1e-5, atol=0)


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "kd": binary.binary_kd,
    "cist": lambda s, t, y: binary.binary_cist(s, t, y, rho=0.3),
    "entropy": lambda s, t, y: binary.binary_entropy_kd(s, t, y, target_nats=0.6),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_is_the_weighted_difference_of_soft_labels(name: str) -> None:
    s, t, y = logits(5).requires_grad_(), logits(6), torch.full((6, 5), binary.UNKNOWN)
    tau_s, tau_t, weight = {
        "kd": (torch.full((6,), 4.0), torch.full((6,), 4.0), 0.9),
        "cist": (*(binary.binary_max_logit_temperatures(z, 0.3) for z in (s, t)), 8.0),
        "entropy": (
            binary.binary_entropy_temperatures(s, 0.6).clamp(min=1.0),
            binary.binary_entropy_temperatures(t, 0.6),
            8.0,
        ),
    }[name]
    (found,) = torch.autograd.grad(LOSSES[name](s, t, y), s)
    p, q = torch.sigmoid(t / tau_t[:, None]), torch.sigmoid(s.detach() / tau_s[:, None])
    torch.testing.assert_close(found, weight * tau_t[:, None] * (q - p) / 30, rtol=1e-4, atol=1e-6)


def test_the_gradient_of_the_divergence_is_that_of_finite_differences() -> None:
    s, t = logits(7).requires_grad_(), logits(8)
    tau = torch.linspace(1.0, 3.0, 6)

    def value(z: Tensor) -> Tensor:
        return binary.binary_divergence(z, t, student_temperature=tau, teacher_temperature=2.0).sum()

    (found,) = torch.autograd.grad(value(s), s)
    step = 1e-2  # of float32 values around 1: the difference carries 1e-7 / 2e-2 of noise, and step^2 of curvature
    for i in range(6):
        for k in range(5):
            moved = torch.zeros_like(t)
            moved[i, k] = step
            slope = (value(s.detach() + moved) - value(s.detach() - moved)) / (2 * step)
            assert found[i, k].item() == pytest.approx(slope.item(), abs=2e-3)


def test_equal_networks_have_no_divergence_and_huge_logits_no_nan() -> None:
    z = torch.tensor([[1e4, -1e4, 0.0]])
    assert binary.binary_divergence(z, z, student_temperature=1.0, teacher_temperature=1.0).item() == 0.0
    apart = binary.binary_divergence(-z, z, student_temperature=1.0, teacher_temperature=1.0)
    assert apart.isfinite().all() and apart.item() == pytest.approx(2e4 / 3)


def test_an_unknown_label_adds_nothing_and_weights_are_of_classes() -> None:
    y = torch.tensor([[1, binary.UNKNOWN]])
    assert binary.binary_cross_entropy(STUDENT, y).item() == pytest.approx(LN2 / 2)
    weighted = binary.binary_cross_entropy(STUDENT, LABELS, class_weights=torch.tensor([3.0, 0.5]))
    assert weighted.item() == pytest.approx((3 * LN2 + 0.5 * math.log(4.0)) / 2, rel=1e-6)


@pytest.mark.parametrize("target", [0.0, LN2, -1.0, 2.0])
def test_a_target_that_no_bernoulli_has_is_refused(target: float) -> None:
    with pytest.raises(BadInputError, match="between 0 and ln 2"):
        binary.binary_entropy_temperatures(TEACHER, target)


def test_labels_of_another_shape_are_refused() -> None:
    with pytest.raises(BadInputError, match=r"expected both \(batch, K\)"):
        binary.binary_kd(STUDENT, TEACHER, torch.tensor([1]))
