"""Safeguarded root finding on a batch."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from torch import Tensor

from edgekd.core.solver import Look, find_root


def newton_sqrt(squares: Tensor) -> Look:
    return lambda x: (squares - x**2, x + (squares - x**2) / (2 * x))


def bisection(root: float) -> Look:
    return lambda x: (root - x, torch.full_like(x, math.nan))


def ends(low: float, high: float) -> dict[str, Tensor]:
    return {
        "low": torch.tensor([low], dtype=torch.float64),
        "high": torch.tensor([high], dtype=torch.float64),
    }


def test_each_element_of_the_batch_finds_its_own_root_in_a_few_newton_steps() -> None:
    squares = torch.tensor([2.0, 9.0, 0.25], dtype=torch.float64)
    root = find_root(newton_sqrt(squares), low=torch.zeros(3).double(), high=squares + 1, tolerance=1e-12)
    torch.testing.assert_close(root.value, squares.sqrt(), rtol=0, atol=1e-12)
    assert root.converged.all()
    assert root.evaluations.max() <= 6  # each step doubles the digits


def test_proposals_of_nan_leave_bisection() -> None:
    root = find_root(bisection(1.0), **ends(0.0, 3.0), tolerance=1e-3)
    # Halves of a bracket 3 wide: 3 / 2^k <= 1e-3 at k = 12 at the latest.
    assert root.converged.all()
    assert abs(float(root.value) - 1.0) <= 1e-3
    assert root.evaluations.item() <= 12


def test_a_worked_example_step_by_step() -> None:
    seen: list[float] = []

    def look(x: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(x.item())
        return 1.0 - x, x + 10.0  # always beyond the bracket: the middle is taken instead

    find_root(look, **ends(0.0, 4.0), tolerance=1e-9)
    assert seen == [2.0, 1.0]
    seen.clear()
    find_root(look, **ends(0.0, 3.0), tolerance=0.2)
    assert seen == [1.5, 0.75, 1.125]


def test_a_newton_step_that_would_diverge_stays_in_the_bracket() -> None:
    # Newton on arctan from |x| > 1.39 jumps farther out each time.
    def look(x: Tensor) -> tuple[Tensor, Tensor]:
        return -torch.arctan(x), x - torch.arctan(x) * (1 + x**2)

    root = find_root(look, **ends(-1000.0, 400.0), start=torch.tensor([300.0]).double(), tolerance=1e-12)
    assert root.converged.all()
    assert abs(root.value.item()) < 1e-12


@settings(deadline=None, max_examples=50)
@given(
    a=st.floats(0.01, 10), b=st.floats(0.01, 10), c=st.floats(-10, 10), low=st.floats(-50, -1), high=st.floats(1, 50)
)
def test_the_root_of_a_rising_cubic_is_scipys(a: float, b: float, c: float, low: float, high: float) -> None:
    def cubic(x: float) -> float:
        return a * x**3 + b * x + c

    def look(x: Tensor) -> tuple[Tensor, Tensor]:
        value = a * x**3 + b * x + c
        return -value, x - value / (3 * a * x**2 + b)

    root = find_root(look, **ends(low, high), tolerance=1e-10)
    if cubic(low) < -1e-9 and cubic(high) > 1e-9:
        assert root.converged.all()
        # The slope is at least b: an error of 1e-10 in the value is one of 1e-10 / b in x.
        assert root.value.item() == pytest.approx(brentq(cubic, low, high, xtol=1e-14), abs=2e-10 / b)
    elif cubic(low) > 1e-9 or cubic(high) < -1e-9:
        assert not root.converged.any()


def test_a_root_at_zero_and_roots_at_the_ends_of_the_bracket_converge() -> None:
    for low, high in ((-1.0, 3.0), (0.0, 3.0), (-3.0, 0.0)):
        root = find_root(bisection(0.0), **ends(low, high), tolerance=1e-11)
        assert root.converged.all(), (low, high)
        assert abs(float(root.value)) <= 1e-11


def test_a_bracket_without_a_root_says_so_and_does_not_hold_up_the_others() -> None:
    low = torch.tensor([2.0, 0.0], dtype=torch.float64)
    root = find_root(newton_sqrt(torch.ones(2).double()), low=low, high=torch.full_like(low, 3.0), tolerance=1e-9)
    assert root.converged.tolist() == [False, True]
    assert root.evaluations[1] <= 6


def test_an_empty_or_unknown_bracket_costs_nothing() -> None:
    low = torch.tensor([3.0, math.nan, 1.0, 0.0], dtype=torch.float64)
    high = torch.tensor([0.0, 2.0, math.nan, 2.0], dtype=torch.float64)
    root = find_root(newton_sqrt(torch.ones(4).double()), low=low, high=high, tolerance=1e-9)
    assert root.converged.tolist() == [False, False, False, True]
    assert root.evaluations.tolist() == [0, 0, 0, 1]  # the middle of (0, 2) is the root


def test_running_out_of_evaluations_is_reported() -> None:
    root = find_root(bisection(1.0), **ends(0.0, 3.0), tolerance=1e-12, max_evaluations=10)
    assert (root.evaluations.item(), root.converged.item()) == (10, False)


def test_an_error_of_nan_is_never_small() -> None:
    root = find_root(lambda x: (x * math.nan, x), **ends(0.0, 3.0), tolerance=1.0, max_evaluations=5)
    assert not root.converged.any()


def test_the_value_is_the_very_point_that_was_evaluated() -> None:
    squares = torch.linspace(0.1, 9.0, 50, dtype=torch.float64)
    root = find_root(newton_sqrt(squares), low=squares * 0, high=squares + 1, tolerance=1e-2)
    assert ((squares - root.value**2).abs() <= 1e-2).all()


def test_a_start_outside_the_bracket_is_moved_into_it() -> None:
    root = find_root(bisection(3.0), **ends(0.0, 3.0), start=torch.tensor([9.0]).double(), tolerance=0.0)
    assert (root.value.item(), root.evaluations.item()) == (3.0, 1)


def test_asking_less_often_whether_all_are_done_changes_no_answer() -> None:
    squares = torch.tensor([2.0, 9.0, 0.25], dtype=torch.float64)
    often, seldom = (
        find_root(newton_sqrt(squares), low=squares * 0, high=squares + 1, tolerance=1e-12, check_every=every)
        for every in (1, 4)
    )
    assert torch.equal(often.value, seldom.value)
    assert torch.equal(often.evaluations, seldom.evaluations)


def test_the_answer_has_the_dtype_of_the_bracket() -> None:
    for dtype in (torch.float32, torch.float64):
        low = torch.zeros(1, dtype=dtype)
        assert find_root(bisection(1.0), low=low, high=low + 3, tolerance=1e-3).value.dtype == dtype
