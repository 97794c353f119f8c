"""The text networks do not see padding, have the sizes worked out by hand, and learn what they are there for."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgekd.errors import BadInputError
from edgekd.models.count import count_parameters
from edgekd.models.text import TextCnn, TextMean, TextTransformer, mean_of_words, sinusoids, words_of

NETWORKS = {"mean": TextMean, "cnn": TextCnn, "transformer": TextTransformer}


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    made: nn.Module = NETWORKS[request.param](num_classes=3, in_channels=50)
    return made.eval()


def sentences(count: int, length: int, *, seed: int = 0) -> torch.Tensor:
    """Random token numbers, of random lengths, padded with 0."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, 50, (count, length), generator=generator, dtype=torch.int32)
    lengths = torch.randint(1, length + 1, (count, 1), generator=generator)
    return torch.where(torch.arange(length) < lengths, tokens, 0)


@torch.no_grad()
def test_padding_behind_a_text_changes_no_logit(network: nn.Module) -> None:
    tokens = sentences(5, 9)
    longer = torch.cat([tokens, torch.zeros(5, 20, dtype=torch.int32)], dim=1)
    # Sums of other lengths may be taken in another order: a few float32 roundings of logits of about 1.
    torch.testing.assert_close(network(longer), network(tokens), atol=2e-6, rtol=1e-5)


@torch.no_grad()
def test_a_text_of_padding_alone_gives_finite_logits(network: nn.Module) -> None:
    assert network(torch.zeros(2, 7, dtype=torch.int32)).isfinite().all()


@torch.no_grad()
def test_a_text_of_one_token_is_enough(network: nn.Module) -> None:
    assert network(torch.ones(2, 1, dtype=torch.int32)).shape == (2, 3)


@torch.no_grad()
def test_what_shares_the_batch_does_not_matter(network: nn.Module) -> None:
    tokens = sentences(6, 12)
    torch.testing.assert_close(network(tokens)[2:3], network(tokens[2:3]), atol=2e-6, rtol=1e-5)


def test_no_gradient_moves_the_row_of_padding(network: nn.Module) -> None:
    network(sentences(4, 8)).square().sum().backward()
    table = network.embedding
    assert isinstance(table, nn.Embedding) and table.weight.grad is not None
    assert not table.weight[0].any() and not table.weight.grad[0].any()


def test_sizes_are_those_worked_out_by_hand() -> None:
    # Embedding V * d; then: head d * K + K.
    assert count_parameters(TextMean(num_classes=4, in_channels=1000, width=16)) == 16_000 + 16 * 4 + 4
    # Filters of 3, 4 and 5 tokens: 10 * (3 + 4 + 5) * 16 + 3 * 10; head 30 * 4 + 4.
    cnn = TextCnn(num_classes=4, in_channels=1000, width=16, filters=10)
    assert count_parameters(cnn) == 16_000 + 1_920 + 30 + 124
    # A block: two norms 4 d, four products d * d + d, inner 2 d * d + 2 d and 2 d * d + d; last norm 2 d; head.
    block = 4 * 16 + 4 * (256 + 16) + (512 + 32) + (512 + 16)
    transformer = TextTransformer(num_classes=4, in_channels=1000, width=16, depth=3, heads=2)
    assert count_parameters(transformer) == 16_000 + 3 * block + 32 + 68


def test_the_mean_of_words_by_hand() -> None:
    x = torch.tensor([[[1.0, 4.0], [3.0, 8.0], [100.0, 100.0]], [[7.0, 7.0]] * 3])
    words = words_of(torch.tensor([[5, 9, 0], [0, 0, 0]]))
    assert mean_of_words(x, words).tolist() == [[2.0, 6.0], [0.0, 0.0]]


def test_positions_are_the_sinusoids_of_the_paper() -> None:
    found = sinusoids(4, 6)
    for place in range(4):
        for pair in range(3):
            angle = place / 10_000 ** (2 * pair / 6)
            assert found[place, 2 * pair : 2 * pair + 2].tolist() == pytest.approx([math.sin(angle), math.cos(angle)])


@torch.no_grad()
def test_attention_is_torchs_own_on_the_same_weights() -> None:
    torch.manual_seed(0)
    block = TextTransformer(num_classes=2, in_channels=9, width=16, depth=1, heads=2).eval().blocks[0]
    reference = nn.MultiheadAttention(16, 2, batch_first=True).eval()
    parts = [block.query, block.key, block.value]
    reference.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
    reference.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
    reference.out_proj.load_state_dict(block.joined.state_dict())
    x, padding = torch.randn(3, 5, 16), torch.arange(5) >= torch.tensor([[5], [3], [1]])
    hidden = padding.float()[:, None, None] * -1e4
    expected, _ = reference(x, x, x, key_padding_mask=padding, need_weights=False)
    torch.testing.assert_close(block._attention(x, hidden), expected, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_the_convolution_sees_a_phrase_wherever_it_stands() -> None:
    torch.manual_seed(0)
    net = TextCnn(num_classes=2, in_channels=50).eval()
    phrase, other = [3, 4, 5], [9] * 14
    early, late = torch.tensor([other[:5] + phrase + other[5:]]), torch.tensor([other[:8] + phrase + other[8:]])
    torch.testing.assert_close(net(early), net(late), atol=1e-6, rtol=1e-5)


def test_settings_that_fit_no_network_are_refused() -> None:
    with pytest.raises(BadInputError, match=r"width = 30 is no multiple of 2 \* heads = 8"):
        TextTransformer(num_classes=2, in_channels=9, width=30)
    with pytest.raises(BadInputError, match="longest = 2; expected 3"):
        TextCnn(num_classes=2, in_channels=9, longest=2)


def test_each_network_learns_which_word_is_in_a_sentence(network: nn.Module) -> None:
    tokens = sentences(24, 6, seed=1)
    tokens[:, 0] = torch.arange(24) % 3 + 10  # the word that decides
    tokens[:, 1:][(tokens[:, 1:] >= 10) & (tokens[:, 1:] < 13)] = 20
    labels = torch.arange(24) % 3
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    network.train()
    for _ in range(25):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(tokens), labels).backward()
        optimizer.step()
    assert (network.eval()(tokens).argmax(dim=1) == labels).float().mean() > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [False, True])
def test_exported_networks_answer_as_torch_does_at_any_batch_and_length(
    network: nn.Module, tmp_path: Path, *, dynamic: bool
) -> None:
    import warnings

    import onnxruntime

    batch, length = torch.export.Dim("batch", min=1), torch.export.Dim("length", min=2, max=1024)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            (sentences(3, 12),),
            dynamo=True,
            opset_version=18,
            input_names=["tokens"],
            dynamic_shapes=({0: batch, 1: length} if dynamic else {0: batch},),
            verbose=False,
        )
    assert program is not None
    program.save(tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    for shape in [(1, 12), (7, 12), *([(2, 30), (1, 2)] if dynamic else [])]:
        tokens = sentences(*shape, seed=2)
        with torch.no_grad():
            expected = network(tokens).numpy()
        np.testing.assert_allclose(session.run(None, {"tokens": tokens.numpy()})[0], expected, atol=1e-5, rtol=1e-4)
