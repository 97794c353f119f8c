"""Token losses: against the losses of `edgekd.core`, against torch, and by their gradients; masks leave no trace."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from edgekd.core import losses
from edgekd.core.temperature import auto_rho, fixed_entropy
from edgekd.errors import BadInputError
from edgekd.language.objective import KNOBS, Method, TokenObjective

K = 11


@pytest.fixture
def drawn() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Student (with gradient) and teacher logits (2, 5, K), labels, and a mask that drops three places."""
    torch.manual_seed(0)
    mask = torch.ones(2, 5, dtype=torch.bool)
    mask[0, 3:] = mask[1, 4] = False
    return (torch.randn(2, 5, K) * 3).requires_grad_(), torch.randn(2, 5, K) * 4, torch.randint(0, K, (2, 5)), mask


def objective(name: str, teacher: Tensor, **knobs: float) -> TokenObjective:
    ce_weight = knobs.pop("ce_weight", 1.0)
    sample = teacher.flatten(0, 1)
    return Method(name=name, knobs=knobs, ce_weight=ce_weight).resolved(classes=K, teacher_logits=sample).objective()


@pytest.mark.parametrize(
    ("name", "knobs", "reference"),
    [
        ("cist", {"rho": 2.0, "kd_weight": 3.0}, lambda *a, mask: losses.cist(*a, rho=2.0, kd_weight=3.0, mask=mask)),
        (
            "entropy",
            {"target_nats": 1.5, "kd_weight": 2.0},
            lambda *a, mask: losses.entropy_kd(*a, target_nats=1.5, kd_weight=2.0, mask=mask),
        ),
        (
            "forward-kl",
            {"temperature": 2.0, "kd_weight": 0.5},
            lambda *a, mask: losses.kd(*a, temperature=2.0, kd_weight=0.5, ce_weight=1.0, mask=mask),
        ),
        ("ce", {}, lambda z, t, y, mask: losses.cross_entropy(z, y, mask=mask)),
    ],
)
def test_a_method_is_the_loss_of_the_core(name, knobs, reference, drawn) -> None:  # type: ignore[no-untyped-def]
    student, teacher, labels, mask = drawn
    found = objective(name, teacher, **knobs)(student, teacher, labels, mask=mask)
    assert found.item() == pytest.approx(reference(student, teacher, labels, mask=mask).item(), rel=1e-6)


def test_reverse_kl_is_torchs_with_the_roles_swapped(drawn: tuple[Tensor, ...]) -> None:
    student, teacher, labels, mask = drawn
    found = objective("reverse-kl", teacher, temperature=2.0, ce_weight=0.0)(student, teacher, labels, mask=mask)
    log_q, log_p = ((z[mask] / 2).log_softmax(-1) for z in (student, teacher))
    expected = 4 * F.kl_div(log_p, log_q, reduction="batchmean", log_target=True)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    (ours,) = torch.autograd.grad(found, student)
    (theirs,) = torch.autograd.grad(expected, student)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", KNOBS)
def test_what_a_mask_drops_changes_neither_loss_nor_gradient(name: str, drawn: tuple[Tensor, ...]) -> None:
    student, teacher, labels, mask = drawn
    loss = objective(name, teacher)
    broken = torch.where(mask.unsqueeze(-1), student.detach(), torch.nan).requires_grad_()
    spoilt = torch.where(mask.unsqueeze(-1), teacher, torch.inf)
    one, two = loss(student, teacher, labels, mask=mask), loss(broken, spoilt, labels, mask=mask)
    assert one.item() == two.item()
    two.backward()
    assert broken.grad is not None and broken.grad[~mask].abs().max() == 0


@pytest.mark.parametrize("name", [name for name in KNOBS if name != "ce"])
def test_a_student_that_equals_its_teacher_has_no_divergence(name: str, drawn: tuple[Tensor, ...]) -> None:
    _, teacher, labels, mask = drawn
    own = teacher.clone().requires_grad_()
    loss = objective(name, teacher, ce_weight=0.0, **({"student_floor": 0.0} if name == "entropy" else {}))
    found = loss(own, teacher, labels, mask=mask)
    found.backward()
    assert abs(found.item()) < 1e-4
    assert own.grad is not None and own.grad.abs().max() < 1e-4


def test_the_weights_add_up(drawn: tuple[Tensor, ...]) -> None:
    student, teacher, labels, mask = drawn
    whole, hard, soft = (
        objective("cist", teacher, ce_weight=c, kd_weight=k)(student, teacher, labels, mask=mask).item()
        for c, k in ((0.5, 2.0), (1.0, 0.0), (0.0, 1.0))
    )
    assert whole == pytest.approx(0.5 * hard + 2.0 * soft, rel=1e-5)


def test_what_is_left_open_follows_from_the_vocabulary_and_the_teacher(drawn: tuple[Tensor, ...]) -> None:
    rows = drawn[1].flatten(0, 1)
    assert Method(name="cist").resolved(classes=K, teacher_logits=rows).knobs["rho"] == auto_rho(K)
    found = Method(name="entropy").resolved(classes=K, teacher_logits=rows).knobs["target_nats"]
    assert found == pytest.approx(fixed_entropy(rows, 2.0))


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (Method(name="cits"), "unknown method 'cits'; did you mean 'cist'"),
        (Method(name="cist", knobs={"temperature": 2.0}), "has no knob 'temperature'"),
        (Method(name="cist"), "learns from a teacher, and there is none"),
    ],
)
def test_a_wrong_method_is_named(method: Method, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        method.resolved(classes=K, teacher_logits=None)


def test_negative_weights_are_refused() -> None:
    with pytest.raises(BadInputError, match="kd_weight"):
        TokenObjective("cist", {"rho": 1.0, "kd_weight": -1.0})
