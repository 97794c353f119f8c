"""The temperature of an exact entropy: against brentq, by hand, and by the properties that define it."""

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from torch import Tensor

from edgekd.core import temperature
from edgekd.core.temperature import Status, auto_rho, entropy_temperature
from edgekd.errors import BadInputError

FRACTIONS = (0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.925, 0.99)
BOUND_NATS = 2e-5
"""What is promised is 1e-4. The solver stops at 1e-5 by its own float32 sums, which are good to a few 1e-6."""


def entropy64(logits: Tensor, tau: Tensor) -> Tensor:
    """H(softmax(logits / tau)) in float64; the distance to the maximum, so that nothing cancels."""
    z = logits.double()
    log_p = torch.log_softmax((z - z.amax(-1, keepdim=True)) / tau.double().unsqueeze(-1), -1)
    return -(log_p.exp() * log_p).sum(-1)


def bells(classes: int, *, rows: int = 64, scale: float = 3.0, seed: int = 0) -> Tensor:
    return torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed)) * scale


def peaks(classes: int, *, rows: int = 64, height: float = 15.0) -> Tensor:
    """One favourite far above the rest, as a trained teacher's."""
    z = bells(classes, rows=rows, scale=1.0)
    z[torch.arange(rows), torch.arange(rows) % classes] += torch.linspace(3.0, height, rows)
    return z


@pytest.mark.parametrize("gap", [0.5, 4.0, 1e4])
def test_two_classes_have_a_closed_form(gap: float) -> None:
    # p = (3/4, 1/4): H = ln 4 - 3/4 ln 3, and the logits of p are ln 3 apart, so tau = gap / ln 3.
    target = math.log(4) - 0.75 * math.log(3)
    solved = entropy_temperature(torch.tensor([[gap, 0.0], [-7.0, gap - 7.0]]), target)
    # dH / d ln tau = p (1 - p) (ln 3)^2 = 0.226: a tolerance of 1e-5 nats is 4.4e-5 of tau.
    assert solved.temperature.tolist() == pytest.approx([gap / math.log(3)] * 2, rel=5e-5)
    assert solved.status.tolist() == [Status.CONVERGED] * 2


def test_one_favourite_among_equals_has_the_max_logit_temperature_of_auto_rho() -> None:
    logits = torch.zeros(1, 100)
    logits[0, 7] = 20.0  # centred: 19.8
    solved = entropy_temperature(logits, 0.925 * math.log(100))
    assert solved.temperature.item() == pytest.approx(19.8 / auto_rho(100), rel=1e-5)
    # The first guess is that very rule, so it is right at the first look, or the second by rounding.
    assert solved.evaluations.item() <= 2


@settings(deadline=None, max_examples=60)
@given(
    logits=st.lists(st.floats(-5e3, 5e3, width=32), min_size=2, max_size=30),
    fraction=st.floats(0.05, 0.99),
    scale=st.sampled_from([1e-6, 1e-3, 1.0]),
)
def test_the_temperature_is_the_root_that_brentq_finds(logits: list[float], fraction: float, scale: float) -> None:
    z = torch.tensor([logits]) * scale
    # Below this a float32 temperature is a denormal, of a few bits.
    assume(z.max() == z.min() or float(z.max() - z.min()) > 1e-34)
    target = fraction * math.log(z.shape[-1])
    solved = entropy_temperature(z, target)
    tau = solved.temperature

    def excess(at: float) -> float:
        return entropy64(z, torch.tensor([at], dtype=torch.float64)).item() - target

    assert math.isfinite(tau.item())
    maxima = int((z == z.max()).sum())
    if z.max() == z.min():
        assert solved.status.item() == Status.CONSTANT
    elif maxima > 1 and target <= math.log(maxima):
        assert solved.status.item() == Status.TIED
    else:
        assert solved.status.item() == Status.CONVERGED
        assert abs(entropy64(z, tau).item() - target) <= BOUND_NATS
        # The entropy rises with tau, so a sign change between a tenth and ten times tau holds the only root.
        at = math.exp(brentq(lambda x: excess(math.exp(x)), math.log(tau.item() / 10), math.log(tau.item() * 10)))
        if (
            min(abs(excess(at * 0.99)), abs(excess(at * 1.01))) > BOUND_NATS
        ):  # not flat: no other temperature is as good
            assert tau.item() == pytest.approx(at, rel=0.01)


@pytest.mark.parametrize("fraction", FRACTIONS)
@pytest.mark.parametrize("classes", [2, 3, 10, 100, 1000])
def test_the_entropy_is_met_from_a_range_of_a_thousandth_to_ten_thousand(classes: int, fraction: float) -> None:
    target = fraction * math.log(classes)
    sizes = torch.logspace(-3, 4, 64).unsqueeze(-1)
    for z in (bells(classes), peaks(classes)):
        z = (z - z.amin(-1, keepdim=True)) / (z.amax(-1, keepdim=True) - z.amin(-1, keepdim=True)) * sizes  # noqa: PLW2901
        solved = entropy_temperature(z, target)
        assert (solved.status == Status.CONVERGED).all()
        assert (entropy64(z, solved.temperature) - target).abs().max() <= BOUND_NATS


@pytest.mark.parametrize("fraction", [0.05, 0.5, 0.99])
def test_fifty_thousand_classes_are_as_exact_as_two(fraction: float) -> None:
    target = fraction * math.log(50_000)
    z = torch.cat([bells(50_000, rows=2), peaks(50_000, rows=2), -bells(50_000, rows=2).exp()])
    solved = entropy_temperature(z, target)
    assert (solved.status == Status.CONVERGED).all()
    assert (entropy64(z, solved.temperature) - target).abs().max() <= BOUND_NATS


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_half_precision_logits_are_solved_in_float32_for_the_numbers_they_hold(dtype: torch.dtype) -> None:
    z = torch.cat([bells(100), peaks(100)]).to(dtype)
    solved = entropy_temperature(z, 0.7 * math.log(100))
    assert solved.temperature.dtype == torch.float32
    assert torch.equal(solved.temperature, entropy_temperature(z.float(), 0.7 * math.log(100)).temperature)
    assert (entropy64(z, solved.temperature) - 0.7 * math.log(100)).abs().max() <= BOUND_NATS


def test_gaps_of_every_size_in_one_row_do_not_defeat_the_bracket() -> None:
    # Distances to the maximum from 1e-8 to 1e4, evenly in their logarithm: the entropy falls in steps, flat between.
    exponents = torch.rand(200, 20, generator=torch.Generator().manual_seed(1)) * 12 - 8
    z = -(10**exponents)
    for fraction in FRACTIONS:
        solved = entropy_temperature(z, fraction * math.log(20))
        assert (solved.status == Status.CONVERGED).all()
        assert (entropy64(z, solved.temperature) - fraction * math.log(20)).abs().max() <= BOUND_NATS
        assert solved.evaluations.max() <= 30


@pytest.mark.parametrize("fraction", [0.5, 0.7, 0.9, 0.925, 0.99])
@pytest.mark.parametrize("classes", [2, 10, 100, 1000])
def test_at_half_the_full_entropy_and_above_the_median_is_at_most_five_evaluations(
    classes: int, fraction: float
) -> None:
    for z in (bells(classes), peaks(classes), bells(classes).exp()):
        evaluations = entropy_temperature(z, fraction * math.log(classes)).evaluations
        assert evaluations.median() <= 5
        assert evaluations.min() >= 1


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.3])
def test_low_targets_take_a_median_of_at_most_seven_evaluations(fraction: float) -> None:
    for z in (bells(100), peaks(100), bells(1000), peaks(1000)):
        assert entropy_temperature(z, fraction * math.log(z.shape[-1])).evaluations.median() <= 7


def test_a_higher_target_has_a_higher_temperature() -> None:
    targets = [fraction * math.log(100) for fraction in FRACTIONS]
    z = torch.cat([bells(100), peaks(100)])
    temperatures = torch.stack([entropy_temperature(z, target).temperature for target in targets])
    assert (temperatures.diff(dim=0) > 0).all()


def test_a_shared_offset_changes_nothing() -> None:
    z = bells(10).mul(8).round().div(8)  # multiples of 1/8, which stay exact under the offset
    solved, moved = entropy_temperature(z, 1.5), entropy_temperature(z + 1024.0, 1.5)
    assert torch.equal(solved.temperature, moved.temperature)


@settings(deadline=None, max_examples=30)
@given(factor=st.floats(1e-30, 1e30))
def test_the_temperature_scales_with_the_logits(factor: float) -> None:
    z = bells(10, rows=8)
    solved, scaled = entropy_temperature(z, 1.5), entropy_temperature(z * factor, 1.5)
    assert (scaled.status == Status.CONVERGED).all()
    # Same iterates up to the rounding of the products.
    torch.testing.assert_close(scaled.temperature, solved.temperature * factor, rtol=1e-5, atol=0.0)


def test_a_power_of_two_scales_it_to_the_bit() -> None:
    z = bells(10)
    assert torch.equal(entropy_temperature(z * 64, 1.5).temperature, entropy_temperature(z, 1.5).temperature * 64)


def test_targets_at_or_below_the_ties_have_a_status_and_those_above_a_solution() -> None:
    z = torch.tensor([[5.0, 5.0, 1.0, 0.0], [5.0, 1.0, 1.0, 1.0], [5.0, 5.0, 5.0, 1.0]])
    assert entropy_temperature(z, math.log(2)).status.tolist() == [Status.TIED, Status.CONVERGED, Status.TIED]
    solved = entropy_temperature(z, math.log(2) + 0.01)
    assert solved.status.tolist() == [Status.CONVERGED, Status.CONVERGED, Status.TIED]
    assert entropy64(z[:1], solved.temperature[:1]).item() == pytest.approx(math.log(2) + 0.01, abs=BOUND_NATS)
    assert solved.temperature[2] == 1.0
    assert entropy_temperature(z, math.log(3) + 0.01).status.tolist() == [Status.CONVERGED] * 3


def test_zeros_of_either_sign_are_the_same_number() -> None:
    z = torch.tensor([[0.0, -0.0, -1.0], [-0.0, 0.0, -1.0], [-0.0, -1.0, -2.0]])
    solved = entropy_temperature(z, 0.9)
    assert solved.status.tolist() == [Status.CONVERGED] * 3
    assert solved.temperature[0] == solved.temperature[1]
    assert entropy_temperature(z, 0.6).status.tolist() == [Status.TIED, Status.TIED, Status.CONVERGED]


def test_rows_without_a_solution_get_a_status_and_temperature_one_and_leave_the_others_alone() -> None:
    good = [3.0, 1.0, 0.0]
    z = torch.tensor(
        [good, [2.0] * 3, [math.nan, 1, 0], [math.inf, 1, 0], [-math.inf, 1, 0], [3e38, -3e38, 0.0], [0.0] * 3, good]
    )
    solved = entropy_temperature(z, 0.8)
    unsolved = [Status.CONSTANT, *[Status.NOT_FINITE] * 4, Status.CONSTANT]
    assert solved.status.tolist() == [Status.CONVERGED, *unsolved, Status.CONVERGED]
    assert solved.temperature[1:-1].tolist() == [1.0] * 6
    assert solved.evaluations[1:-1].tolist() == [0] * 6
    assert solved.temperature[0] == solved.temperature[-1] == entropy_temperature(z[:1], 0.8).temperature[0]


def test_running_out_of_evaluations_is_a_status() -> None:
    solved = entropy_temperature(bells(10), 0.3, max_evaluations=1)
    assert (solved.status == Status.UNCONVERGED).all()
    assert (solved.temperature == 1.0).all()
    assert (solved.evaluations == 1).all()


@pytest.mark.parametrize("classes", [2, 10, 37, 1000])
def test_a_sample_gets_the_same_bits_alone_and_in_a_batch(one_thread: None, classes: int) -> None:
    z = torch.cat([bells(classes, rows=16), peaks(classes, rows=16)])
    together = entropy_temperature(z, 0.6 * math.log(classes))
    alone = torch.cat([entropy_temperature(row, 0.6 * math.log(classes)).temperature for row in z.split(1)])
    assert torch.equal(together.temperature, alone)


def test_long_batches_are_solved_in_blocks_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    z = bells(10, rows=100)
    whole = entropy_temperature(z, 1.5)
    monkeypatch.setitem(temperature.BLOCK, "cpu", 70)  # 7 rows at a time
    blocks = entropy_temperature(z, 1.5)
    assert torch.equal(whole.temperature, blocks.temperature)
    assert torch.equal(whole.evaluations, blocks.evaluations)


def test_tokens_keep_their_places_and_strides_do_not_matter() -> None:
    z = bells(10, rows=12)
    flat = entropy_temperature(z, 1.5)
    tokens = entropy_temperature(z.reshape(3, 4, 10), 1.5)
    for of_tokens, of_rows in (
        (tokens.temperature, flat.temperature),
        (tokens.status, flat.status),
        (tokens.evaluations, flat.evaluations),
    ):
        assert of_tokens.shape == (3, 4)
        assert torch.equal(of_tokens.flatten(), of_rows)
    assert torch.equal(entropy_temperature(z.T.contiguous().T, 1.5).temperature, flat.temperature)
    assert entropy_temperature(z[0], 1.5).temperature.shape == ()
    assert entropy_temperature(z[:0], 1.5).temperature.shape == (0,)


def test_no_gradient_comes_through_and_the_logits_are_left_alone() -> None:
    z = bells(10).requires_grad_()
    before = z.detach().clone()
    solved = entropy_temperature(z, 1.5)
    assert not solved.temperature.requires_grad
    assert torch.equal(z.detach(), before)
    (z / solved.temperature.unsqueeze(-1)).sum().backward()
    torch.testing.assert_close(z.grad, (1 / solved.temperature).unsqueeze(-1).expand_as(z))


def test_autocast_does_not_lower_the_precision() -> None:
    z = bells(100)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = entropy_temperature(z, 3.0)
    assert torch.equal(inside.temperature, entropy_temperature(z, 3.0).temperature)


@pytest.mark.parametrize("target", [0.0, -1.0, math.log(10), 5.0, math.nan, math.inf])
def test_a_target_that_no_distribution_has_is_refused(target: float) -> None:
    with pytest.raises(BadInputError, match=r"expected a number between 0 and ln K = 2\.30259 \(K = 10\)"):
        entropy_temperature(bells(10), target)


def test_logits_need_two_classes() -> None:
    for shape in ((3, 1), (3, 0), ()):
        with pytest.raises(BadInputError, match="K >= 2"):
            entropy_temperature(torch.zeros(shape), 0.1)
