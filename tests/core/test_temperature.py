"""Temperatures: what they must satisfy, and the numbers of the formula sheet."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy as scipy_entropy

from edgekd.core.temperature import auto_rho, centre, entropy, fixed_entropy, max_logit_temperature
from edgekd.errors import BadInputError

LOGITS = torch.tensor([[6.0, 0.0, 0.0], [0.5, 0.0, -0.5]])


def test_the_temperature_of_a_worked_example() -> None:
    # Row 1: u = (4, -2, -2), 4 / 2 = 2. Row 2: max u = 0.5, 0.25 is below the floor.
    assert max_logit_temperature(LOGITS, 2.0).tolist() == [2.0, 1.0]


@settings(deadline=None, max_examples=30)
@given(
    logits=st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=12),
    rho=st.floats(0.1, 10),
)
def test_where_the_floor_does_not_clip_the_largest_scaled_centred_logit_is_rho(logits: list[float], rho: float) -> None:
    z = torch.tensor([logits])
    tau = max_logit_temperature(z, rho)
    assert tau.item() >= 1.0
    if tau.item() > 1.0:
        assert (centre(z) / tau).max().item() == pytest.approx(rho, rel=1e-5)  # float32 rounding of a quotient
    else:
        assert centre(z).max().item() <= rho * (1 + 1e-6)


def test_a_shared_offset_changes_nothing() -> None:
    torch.testing.assert_close(max_logit_temperature(LOGITS + 64.0, 2.0), max_logit_temperature(LOGITS, 2.0))
    torch.testing.assert_close(entropy(LOGITS + 64.0, 3.0), entropy(LOGITS, 3.0))


def test_constant_logits_give_temperature_one_and_the_entropy_of_all_classes() -> None:
    constant = torch.full((2, 5), 7.0)
    assert max_logit_temperature(constant, 3.0).tolist() == [1.0, 1.0]
    assert entropy(constant).tolist() == pytest.approx([math.log(5)] * 2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_the_arithmetic_is_float32_whatever_comes_in(dtype: torch.dtype) -> None:
    low = (torch.randn(4, 7, generator=torch.Generator().manual_seed(0)) * 9).to(dtype)
    for result in (centre(low), max_logit_temperature(low, 1.3), entropy(low, 2.0)):
        assert result.dtype == torch.float32
    assert torch.equal(max_logit_temperature(low, 1.3), max_logit_temperature(low.float(), 1.3))


def test_the_entropy_is_scipys() -> None:
    tau = torch.tensor([1.5, 4.0])
    expected = [scipy_entropy(torch.softmax(row / t, -1).numpy()) for row, t in zip(LOGITS, tau, strict=True)]
    assert entropy(LOGITS, tau).tolist() == pytest.approx(expected, rel=1e-5)


def test_the_entropy_of_a_near_tie_far_from_the_mean_is_not_lost_in_rounding() -> None:
    # Centred in float32, 5000 and 5000.0005 are a thousandth of an ulp-sized gap wrong; their distance is exact.
    z = torch.tensor([[5000.0, 5000.00048828125, -9000.0]])
    expected = scipy_entropy(torch.softmax(z.double() / 2**-11, -1)[0].numpy())
    assert entropy(z, 2**-11).item() == pytest.approx(expected, rel=1e-6)


def test_the_entropy_that_a_fixed_temperature_gives_is_the_mean_over_the_samples() -> None:
    # One row of two equal classes has ln 2 at any temperature; one of a gap of ln 3 at T = 1 has p = (3/4, 1/4).
    logits = torch.tensor([[0.0, 0.0], [2 * math.log(3), 0.0]])
    uneven = math.log(4) - 0.75 * math.log(3)
    assert fixed_entropy(logits, 2.0) == pytest.approx((math.log(2) + uneven) / 2, rel=1e-6)
    assert fixed_entropy(logits.reshape(2, 1, 2), 2.0) == fixed_entropy(logits, 2.0)
    many = torch.randn(300, 1000, generator=torch.Generator().manual_seed(0))  # more than one block
    assert fixed_entropy(many, 4.0) == pytest.approx(entropy(many, 4.0).double().mean().item(), rel=1e-12)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_a_fixed_temperature_that_is_not_a_positive_number_is_refused(temperature: float) -> None:
    with pytest.raises(BadInputError, match="expected a positive number"):
        fixed_entropy(LOGITS, temperature)


def test_logits_that_have_no_mean_entropy_are_refused_by_sample() -> None:
    with pytest.raises(BadInputError, match="sample 1 are not finite"):
        fixed_entropy(torch.tensor([[0.0, 1.0], [math.nan, 1.0]]), 4.0)
    with pytest.raises(BadInputError, match="at least one sample"):
        fixed_entropy(torch.empty(0, 3), 4.0)
    with pytest.raises(BadInputError, match="K >= 2"):
        fixed_entropy(torch.empty(3, 1), 4.0)


@pytest.mark.parametrize("rho", [0.0, -1.0, math.nan, math.inf])
def test_a_rho_that_is_not_a_positive_number_is_refused(rho: float) -> None:
    with pytest.raises(BadInputError, match="expected a positive number"):
        max_logit_temperature(LOGITS, rho)


@pytest.mark.parametrize(
    ("classes", "share", "rho"),
    [
        (10, 0.925, 1.27),
        (20, 0.925, 1.75),
        (100, 0.925, 3.0),
        (200, 0.925, 3.6),
        (1000, 0.925, 5.0),
        (10, 0.776, 2.0),
        (20, 0.776, 2.6),
        (100, 0.776, 4.0),
        (200, 0.776, 4.6),
        (1000, 0.776, 6.1),
    ],
)
def test_auto_rho_gives_the_values_of_the_formula_sheet(classes: int, share: float, rho: float) -> None:
    # The sheet rounds to two or three digits.
    assert auto_rho(classes, normalised_entropy=share) == pytest.approx(rho, abs=0.006 if rho < 2 else 0.06)


def test_the_soft_label_at_auto_rho_has_the_wanted_entropy() -> None:
    for classes in (2, 3, 10, 1000):
        for share in (1e-6, 0.05, 0.5, 0.925, 0.999):
            rho = auto_rho(classes, normalised_entropy=share)
            logits = torch.tensor([rho] + [-rho / (classes - 1)] * (classes - 1), dtype=torch.float64)
            label = torch.softmax(logits, -1)
            assert scipy_entropy(label.numpy()) / math.log(classes) == pytest.approx(share, abs=1e-9)


def test_auto_rho_of_two_classes_is_half_a_log_odds() -> None:
    # p = (3/4, 1/4) has the logits +-ln(3)/2.
    share = (math.log(4) - 0.75 * math.log(3)) / math.log(2)
    assert auto_rho(2, normalised_entropy=share) == pytest.approx(math.log(3) / 2, rel=1e-9)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, math.nan, 1e-310])
def test_auto_rho_refuses_an_entropy_that_no_rho_has(share: float) -> None:
    with pytest.raises(BadInputError, match="rho_entropy"):
        auto_rho(10, normalised_entropy=share)


def test_auto_rho_answers_or_refuses_next_to_full_entropy_but_never_makes_up_a_number() -> None:
    for share in (1 - 1e-9, 1 - 1e-13, 1 - 1e-15, 1 - 2e-16):
        for classes in (2, 10, 1000):
            try:
                rho = auto_rho(classes, normalised_entropy=share)
            except BadInputError as err:
                assert "rho_entropy" in str(err)
            else:
                # To second order 1 - H / ln K = rho^2 / (2 (K - 1) ln K): the variance of the label's logits.
                expected = math.sqrt(2 * (classes - 1) * math.log(classes) * (1 - share))
                # Third order adds rho / 3; the product share * ln K itself is only good to an ulp or two.
                assert rho == pytest.approx(expected, rel=expected + 4e-16 / (1 - share))


def test_auto_rho_needs_two_classes() -> None:
    with pytest.raises(BadInputError, match="at least 2"):
        auto_rho(1)
