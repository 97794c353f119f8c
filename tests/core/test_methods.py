"""The methods behind one interface: names, knobs, what changes with the epoch, what is refused."""

import math
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

from edgekd.core import entropy, losses, max_logit_temperature
from edgekd.core.losses import divergence
from edgekd.core.methods import METHODS, TEMPERATURES, Objective, build, defaults
from edgekd.errors import BadInputError

REQUIRED: dict[str, dict[str, float]] = {"entropy": {"target_nats": 2.0}}
"""Knobs that have no default."""
each = pytest.mark.parametrize("name", METHODS)


def logits(seed: int, shape: tuple[int, ...] = (6, 10)) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 4


STUDENT, TEACHER, LABELS = logits(1), logits(2), torch.arange(6)


def of(name: str, knobs: Mapping[str, float] | None = None, *, label_smoothing: float = 0.0) -> Objective:
    return build(name, REQUIRED.get(name, {}) | dict(knobs or {}), label_smoothing=label_smoothing)


def test_the_methods_are_those_that_recipes_name() -> None:
    names = "ce, kd, cist, entropy, dkd, dkd+cist, lskd, normkd, dtkd, ctkd, ats, ttm, wttm, dist, mse, spherical"
    assert ", ".join(METHODS) == names


@each
def test_an_objective_is_its_loss_with_the_knobs(name: str) -> None:
    if name == "ce":
        wanted = losses.cross_entropy(STUDENT, LABELS, label_smoothing=0.1)
    else:
        extra = {"theta": torch.ones(1), "reversal": 0.0} if name == "ctkd" else {}
        wanted = METHODS[name](STUDENT, TEACHER, LABELS, label_smoothing=0.1, **REQUIRED.get(name, {}), **extra)
    assert torch.equal(of(name, label_smoothing=0.1)(STUDENT, TEACHER, LABELS), wanted)


@each
def test_every_knob_reaches_the_loss(name: str) -> None:
    still = of(name)(STUDENT, TEACHER, LABELS, epoch=1.0)
    for knob, value in of(name).knobs.items():
        moved = of(name, {knob: {"warmup_epochs": 3.0, "student_floor": 40.0}.get(knob, value * 1.1 + 0.05)})
        assert moved(STUDENT, TEACHER, LABELS, epoch=1.0) != still, knob


@each
def test_tokens_and_a_mask_reach_the_loss(name: str) -> None:
    mask = torch.tensor([[True, True, False], [True, False, True]])
    objective = of(name)
    found = objective(STUDENT.reshape(2, 3, 10), TEACHER.reshape(2, 3, 10), LABELS.reshape(2, 3), mask=mask)
    kept = mask.flatten()
    assert torch.equal(found, objective(STUDENT[kept], TEACHER[kept], LABELS[kept]))


@each
def test_temperatures_are_float32_without_gradient_and_one_a_sample_or_none(name: str) -> None:
    found = of(name).temperatures(STUDENT.clone().requires_grad_(), TEACHER)
    assert (found is None) == (name in {"ce", "ats", "mse"}) == (name not in TEMPERATURES)
    for tau in found or ():
        assert tau.shape == (6,)
        assert tau.dtype == torch.float32
        assert not tau.requires_grad
        assert (tau > 0).all()


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("kd", lambda s, t: 0.9 * t**2),
        ("cist", lambda s, t: 8 * s * t),
        ("entropy", lambda s, t: 8 * s * t),
        ("lskd", lambda s, t: 9 * 4),
        ("normkd", lambda s, t: 0.9 * t**2),
        ("ctkd", lambda s, t: 0.9 * t**2),
        ("ttm", lambda s, t: 100),
        ("spherical", lambda s, t: 0.9 * 4.0**2),
    ],
)
def test_the_temperatures_are_those_that_the_loss_uses(
    name: str, factor: Callable[[Tensor, Tensor], Tensor | float]
) -> None:
    # Without its label term the loss is the mean of factor(tau_s, tau_t) * KL at exactly these temperatures.
    objective = of(name)
    temperatures = objective.temperatures(STUDENT, TEACHER)
    assert temperatures is not None
    tau_s, tau_t = temperatures
    kl = divergence(STUDENT, TEACHER, student_temperature=tau_s, teacher_temperature=tau_t)
    whole = objective(STUDENT, TEACHER, LABELS) - of(name, {"kd_weight": 0.0})(STUDENT, TEACHER, LABELS)
    torch.testing.assert_close(whole, (factor(tau_s, tau_t) * kl).mean(), rtol=1e-4, atol=1e-4)


def test_the_students_temperature_comes_first() -> None:
    found = of("cist", {"rho": 1.27}).temperatures(STUDENT, TEACHER)
    assert found is not None
    assert torch.equal(found[0], max_logit_temperature(STUDENT, 1.27))
    assert torch.equal(found[1], max_logit_temperature(TEACHER, 1.27))
    found = of("entropy").temperatures(STUDENT, TEACHER)
    assert found is not None
    torch.testing.assert_close(entropy(TEACHER, found[1]), torch.full((6,), 2.0), rtol=0, atol=1e-4)


def test_dkds_term_grows_over_its_warm_up() -> None:
    objective, hard = of("dkd", {"warmup_epochs": 20.0}), losses.cross_entropy(STUDENT, LABELS)
    full = of("dkd")(STUDENT, TEACHER, LABELS) - hard
    for epoch, share in ((0.0, 0.0), (5.0, 0.25), (20.0, 1.0), (100.0, 1.0)):
        found = objective(STUDENT, TEACHER, LABELS, epoch=epoch) - hard
        torch.testing.assert_close(found, share * full, rtol=1e-5, atol=1e-5)


def test_ctkds_temperature_is_a_parameter_whose_reversed_gradient_grows_over_ten_epochs() -> None:
    objective = of("ctkd")
    (theta,) = objective.parameters()
    slopes = []
    for epoch in (0.0, 2.5, 5.0, 10.0, 50.0):
        (slope,) = torch.autograd.grad(objective(STUDENT, TEACHER, LABELS, epoch=epoch), theta)
        slopes.append(slope.item())
    # (1 - cos(pi e / 10)) / 2
    assert [slope / slopes[-1] for slope in slopes] == pytest.approx(
        [0.0, (1 - math.cos(math.pi / 4)) / 2, 0.5, 1.0, 1.0], abs=1e-6
    )


def test_a_step_down_the_loss_takes_ctkds_temperature_up_the_loss() -> None:
    objective = of("ctkd")
    optimiser = torch.optim.SGD(objective.parameters(), lr=1e-3)
    before = objective(STUDENT, TEACHER, LABELS, epoch=20.0)
    before.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    assert objective(STUDENT, TEACHER, LABELS, epoch=20.0) > before


def test_ctkds_state_is_saved_and_loaded() -> None:
    objective, other = of("ctkd"), of("ctkd")
    with torch.no_grad():
        next(objective.parameters()).fill_(-2.0)
    other.load_state_dict(objective.state_dict())
    assert torch.equal(other(STUDENT, TEACHER, LABELS), objective(STUDENT, TEACHER, LABELS))


def test_methods_without_a_learned_number_have_no_parameters() -> None:
    assert [name for name in METHODS if list(of(name).parameters())] == ["ctkd"]


def test_defaults_are_the_published_ones() -> None:
    assert defaults("ce") == {}
    assert defaults("kd") == {"temperature": 4.0, "kd_weight": 0.9, "ce_weight": 0.1}
    assert defaults("cist") == {"rho": 3.0, "kd_weight": 8.0}
    assert defaults("entropy") == {"kd_weight": 8.0, "student_floor": 1.0}
    assert defaults("dkd") == {
        "temperature": 4.0,
        "tckd_weight": 1.0,
        "nckd_weight": 8.0,
        "kd_weight": 1.0,
        "ce_weight": 1.0,
        "warmup_epochs": 0.0,
    }
    assert defaults("dkd+cist") == {"rho": 3.0, "tckd_weight": 1.0, "nckd_weight": 2.0, "kd_weight": 8.0}
    assert defaults("lskd") == {"temperature": 2.0, "kd_weight": 9.0, "ce_weight": 0.1}
    assert defaults("normkd") == {"temperature": 2.0, "kd_weight": 0.9, "ce_weight": 0.1}
    assert defaults("dtkd") == {"temperature": 4.0, "kd_weight": 3.0, "fixed_weight": 1.0, "ce_weight": 1.0}
    assert defaults("ctkd") == {"kd_weight": 0.9, "ce_weight": 0.1}
    assert defaults("ats") == {"temperature": 4.0, "other_temperature": 2.0, "kd_weight": 0.5, "ce_weight": 0.5}
    assert defaults("ttm") == {"temperature": 10.0, "kd_weight": 100.0}
    assert defaults("wttm") == {"temperature": 10.0, "kd_weight": 3.0}
    assert defaults("dist") == {"temperature": 4.0, "kd_weight": 2.0, "ce_weight": 1.0}
    assert defaults("mse") == {"kd_weight": 1.0, "ce_weight": 0.0}
    assert defaults("spherical") == {"temperature": 4.0, "kd_weight": 0.9, "ce_weight": 0.1}


def test_labels_alone_need_no_teacher_and_everything_else_does() -> None:
    assert torch.equal(of("ce")(STUDENT, None, LABELS), losses.cross_entropy(STUDENT, LABELS))
    with pytest.raises(BadInputError, match="'kd' learns from a teacher"):
        of("kd")(STUDENT, None, LABELS)


@pytest.mark.parametrize(
    ("name", "knobs", "message"),
    [
        ("kdd", {}, "unknown method 'kdd'; did you mean"),
        ("cist", {"roh": 1.0}, "method 'cist' has no knob 'roh'; did you mean 'rho'.*it takes: rho, kd_weight"),
        ("ce", {"kd_weight": 1.0}, "it takes: none"),
        ("ctkd", {"theta": 1.0}, "no knob 'theta'"),
        ("entropy", {}, "method 'entropy' needs target_nats"),
        ("cist", {"rho": 0.0}, "rho is 0"),
        ("kd", {"temperature": -1.0}, "temperature is -1"),
        ("kd", {"kd_weight": -1.0}, "kd_weight is -1"),
        ("dkd", {"warmup_epochs": -1.0}, "warmup_epochs is -1"),
        ("entropy", {"target_nats": math.nan}, "target_nats is nan"),
    ],
)
def test_names_and_numbers_that_make_no_method_are_refused_before_training(
    name: str, knobs: dict[str, float], message: str
) -> None:
    with pytest.raises(BadInputError, match=message):
        build(name, knobs)
