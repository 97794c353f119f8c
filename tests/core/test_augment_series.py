"""Views of sensor readings: pure functions of (seed, view, sample)."""

import pytest
import torch
from torch import Tensor

from edgekd.core.augment import draw
from edgekd.core.augment_series import SeriesAugmentation

RAW = torch.randn(400, 20, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 30.0]) + 5.0
NUMBERS = {"mean": (5.0, 5.0), "deviation": (1.0, 30.0)}
ALL = SeriesAugmentation(jitter=0.1, scaling=0.2, shift=0.25, **NUMBERS)


def views(augmentation: SeriesAugmentation, index: Tensor, *, seed: int = 0, view: int = 0) -> Tensor:
    drawn = draw(augmentation, seed=seed, view=view, samples=len(RAW), size=(20, 2), device=torch.device("cpu"))
    return drawn.inputs(RAW[drawn.needed(index)], index)


def test_a_window_looks_the_same_in_any_batch_and_another_in_another_view_or_seed() -> None:
    index = torch.arange(400)
    whole = views(ALL, index)
    assert torch.equal(views(ALL, index[[9, 3]]), whole[[9, 3]])
    for other in (views(ALL, index, view=1), views(ALL, index, seed=1)):
        assert (other != whole).flatten(1).any(dim=1).all()


def test_jitter_is_in_deviations_of_each_channel() -> None:
    moved = views(SeriesAugmentation(jitter=0.1, **NUMBERS), torch.arange(400)) - RAW
    assert moved.std(dim=(0, 1)).tolist() == pytest.approx([0.1, 3.0], rel=0.05)  # 16,000 numbers: 0.6 %


def test_scaling_is_one_factor_a_channel_around_its_mean() -> None:
    factor = (views(SeriesAugmentation(scaling=0.2, **NUMBERS), torch.arange(400)) - 5.0) / (RAW - 5.0)
    assert torch.allclose(factor, factor[:, :1].expand_as(factor), rtol=1e-2, atol=1e-2)
    assert float(factor[:, 0].mean()) == pytest.approx(1.0, abs=0.04)
    assert float(factor[:, 0].std()) == pytest.approx(0.2, abs=0.03)


def test_a_shift_moves_whole_readings_and_repeats_the_one_at_the_end() -> None:
    moved = views(SeriesAugmentation(shift=0.25), torch.arange(400))
    found = set()
    for window, raw in zip(moved, RAW, strict=True):
        fits = [s for s in range(-5, 6) if torch.equal(window, raw[(torch.arange(20) + s).clamp(0, 19)])]
        assert len(fits) == 1
        found.add(fits[0])
    assert found == set(range(-5, 6))  # a quarter of 20, either way


def test_without_strengths_nothing_changes_and_labels_stay() -> None:
    nothing = SeriesAugmentation()
    assert not nothing.random and not nothing.mixes and ALL.random
    assert torch.equal(views(nothing, torch.tensor([2, 1])), RAW[[2, 1]])
    drawn = draw(ALL, seed=0, view=0, samples=400, size=(20, 2), device=torch.device("cpu"))
    assert drawn.targets(torch.arange(400), torch.tensor([4, 2]), classes=400).tolist() == [4, 2]
