"""The causal transformer: no look ahead, a past that changes nothing, and sizes that are refused."""

import pytest
import torch

from edgekd.errors import BadInputError
from edgekd.models.causal_transformer import CausalTransformer


def build(**changes: object) -> CausalTransformer:
    torch.manual_seed(0)
    options: dict[str, object] = {"vocabulary": 13, "context": 12, "width": 16, "depth": 2, "heads": 2}
    return CausalTransformer(**(options | changes)).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_a_token_changes_nothing_before_it(positions: str) -> None:
    net, tokens = build(positions=positions), torch.randint(0, 13, (2, 12), generator=torch.Generator().manual_seed(0))
    changed = tokens.clone()
    changed[:, 7] = (changed[:, 7] + 1) % 13
    with torch.no_grad():
        before, after = net(tokens), net(changed)
    assert torch.equal(before[:, :7], after[:, :7])
    assert not torch.allclose(before[:, 7:], after[:, 7:])


@pytest.mark.parametrize("positions", ["learned", "rotary"])
@pytest.mark.parametrize("split", [1, 5, 11])
def test_a_text_in_two_calls_is_read_as_in_one(positions: str, split: int) -> None:
    net, tokens = build(positions=positions), torch.arange(12).reshape(1, 12)
    with torch.no_grad():
        whole = net(tokens)
        first, past = net.step(tokens[:, :split], net.empty_past(1))
        second, kept = net.step(tokens[:, split:], past)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole, atol=1e-5, rtol=1e-5)
    assert kept.shape == (2, 2, 1, 2, 12, 8)


def test_rotary_attention_depends_on_distances_alone() -> None:
    from edgekd.models.causal_transformer import _rotated

    query, key = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)
    products = [
        (_rotated(query, torch.tensor([a])) * _rotated(key, torch.tensor([b]))).sum().item()
        for a, b in ((5, 2), (9, 6), (103, 100))
    ]
    assert products == pytest.approx([products[0]] * 3, abs=1e-4)


def test_the_number_of_parameters_is_that_of_its_formula() -> None:
    net = build(vocabulary=50, context=12, width=16, depth=3, heads=2, expansion=4)
    block = 4 * (16 * 16 + 16) + (16 * 64 + 64) + (64 * 16 + 16) + 2 * 32
    assert sum(p.numel() for p in net.parameters()) == 50 * 16 + 12 * 16 + 3 * block + 32 + 16 * 50


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 15}, "width 15 cannot be shared by 2 heads"),
        ({"width": 6, "positions": "rotary"}, "expected a multiple of 4"),
        ({"positions": "absolute"}, "expected learned or rotary"),
        ({"depth": 0}, "depth = 0; expected at least 1"),
        ({"vocabulary": 1}, "vocabulary = 1; expected at least 2"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        build(**changes)
