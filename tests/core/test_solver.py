"""Bisection on a batch."""

import torch

from edgekd.core.solver import bisect


def test_each_element_of_the_batch_finds_its_own_root() -> None:
    squares = torch.tensor([2.0, 9.0, 0.25], dtype=torch.float64)
    root = bisect(lambda x: x**2 - squares, low=torch.zeros(3), high=torch.full((3,), 10.0))
    # The tolerance is a share of the bracket, which is 10 wide.
    torch.testing.assert_close(root.value, squares.sqrt(), rtol=0, atol=1e-11)
    assert root.converged.all()


def test_a_falling_function_is_as_good_as_a_rising_one() -> None:
    root = bisect(lambda x: 1.5 - x, low=torch.tensor([0.0]), high=torch.tensor([4.0]))
    assert root.converged.all()
    assert abs(float(root.value) - 1.5) < 1e-11


def test_a_root_at_zero_and_roots_at_the_ends_of_the_bracket_converge() -> None:
    for low, high in ((-1.0, 3.0), (0.0, 3.0), (-3.0, 0.0)):
        root = bisect(lambda x: x, low=torch.tensor([low]), high=torch.tensor([high]))
        assert root.converged.all(), (low, high)
        assert abs(float(root.value)) < 1e-11


def test_a_bracket_without_a_sign_change_says_so_and_does_not_hold_up_the_others() -> None:
    root = bisect(lambda x: x**2 - 1, low=torch.tensor([2.0, 0.0]), high=torch.tensor([3.0, 3.0]))
    assert root.converged.tolist() == [False, True]


def test_a_bracket_written_backwards_is_not_called_converged() -> None:
    assert not bisect(lambda x: x - 1, low=torch.tensor([3.0]), high=torch.tensor([0.0])).converged.any()


def test_steps_count_the_evaluations_and_running_out_of_them_is_reported() -> None:
    calls = 0

    def function(x: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return x - 1

    full = bisect(function, low=torch.tensor([0.0]), high=torch.tensor([3.0]))
    assert full.steps == calls
    # 40 halvings take a bracket to 1e-12 of its width, after one look at each end.
    assert full.steps == 42
    short = bisect(function, low=torch.tensor([0.0]), high=torch.tensor([3.0]), max_steps=10)
    assert (short.steps, short.converged.item()) == (10, False)


def test_the_answer_is_in_float64_whatever_came_in() -> None:
    assert bisect(lambda x: x - 1 / 3, low=torch.tensor([0.0]), high=torch.tensor([1.0])).value.dtype == torch.float64
