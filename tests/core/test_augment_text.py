"""Views of texts: a pure function of (seed, view, sample) that drops tokens and nothing else."""

import torch

from edgekd.core.augment import draw
from edgekd.core.augment_text import UNKNOWN, TextAugmentation, TextView


def view(dropout: float, *, seed: int = 0, number: int = 0) -> TextView:
    chosen = TextAugmentation(dropout=dropout)
    return draw(chosen, seed=seed, view=number, samples=400, size=(50,), device=torch.device("cpu"))


TEXTS = torch.where(torch.arange(50) < 40, torch.arange(2, 402)[:, None].expand(-1, 50), 0).to(torch.int32)
ALL = torch.arange(400)


def test_the_share_of_tokens_asked_for_becomes_unknown_and_padding_stays() -> None:
    seen = view(0.25).inputs(TEXTS, ALL)
    assert seen.dtype == torch.int32 and seen.shape == TEXTS.shape
    assert (seen[:, 40:] == 0).all()
    dropped = seen[:, :40] == UNKNOWN
    assert (seen[:, :40] == torch.where(dropped, UNKNOWN, TEXTS[:, :40])).all()
    # 16,000 tokens: the share's standard deviation is 0.0034.
    assert abs(float(dropped.float().mean()) - 0.25) < 0.02


def test_a_text_looks_the_same_in_whatever_batch_it_stands() -> None:
    whole = view(0.3).inputs(TEXTS, ALL)
    some = torch.tensor([7, 3, 399])
    assert (view(0.3).inputs(TEXTS[some], some) == whole[some]).all()


def test_another_view_or_seed_drops_other_tokens() -> None:
    one = view(0.3).inputs(TEXTS, ALL)
    assert not torch.equal(view(0.3, number=1).inputs(TEXTS, ALL), one)
    assert not torch.equal(view(0.3, seed=1).inputs(TEXTS, ALL), one)


def test_without_dropout_views_do_not_differ_at_all() -> None:
    assert not TextAugmentation().random and not TextAugmentation().mixes
    assert view(0.0).inputs(TEXTS, ALL) is TEXTS
    assert view(0.0).targets(ALL, ALL[:3], classes=400).tolist() == [0, 1, 2]
