"""A text network is exported for texts of any length: padding is not needed, and changes nothing."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edgekd.data import tokens
from edgekd.errors import BadInputError
from edgekd.export import describe, export
from edgekd.network import Card, Network, build
from edgekd.runner import runner
from edgekd.session import SessionOptions, facts, longest, open_session
from edgekd.timing import feeds_for

pytest.importorskip("tokenizers")
MOST = 12
TOKENIZER = tokens.train_tokenizer(["rain and goals"], vocabulary_size=260)

OWN = """
from torch import nn

def flat(num_classes, in_channels):
    return nn.Sequential(nn.Embedding(in_channels, 4), nn.Flatten(), nn.Linear(48, num_classes))
"""


def exported(model: str, path: Path) -> Network:
    torch.manual_seed(0)
    front = {"vocabulary": 260, "max_tokens": MOST, "tokenizer": TOKENIZER}
    card = Card(model=model, classes=("a", "b", "c"), channels=260, options={}, facts={}, kind="text", front=front)
    network = build(card, mean=(), std=()).eval()
    inputs = np.random.default_rng(0).integers(1, 260, (9, MOST), dtype=np.int32)
    metadata = describe(network, classes=card.classes, input_layout="nhwc")
    export(network, path, inputs=inputs, opset=18, input_layout="nhwc", tolerance=1e-4, metadata=metadata)
    return network


@pytest.mark.parametrize(
    "model", ["text_cnn", *(pytest.param(name, marks=pytest.mark.slow) for name in ("text_mean", "text_transformer"))]
)
def test_short_texts_need_no_padding_and_long_ones_are_cut(model: str, tmp_path: Path) -> None:
    network = exported(model, tmp_path / "a.onnx")
    session = open_session(tmp_path / "a.onnx", SessionOptions())
    known = facts(session, tmp_path / "a.onnx")
    run = runner(session, known)
    assert known.shape == (None, None) and longest(known) == (None, MOST)
    assert session.get_inputs()[0].shape == ["batch", "length"]
    text = np.random.default_rng(1).integers(1, 260, (2, MOST), dtype=np.int32)
    text[:, 5:] = 0
    with torch.no_grad():
        wanted = network(torch.from_numpy(text)).numpy()
    for length in (5, 6, 9, MOST):
        np.testing.assert_allclose(run(text[:, :length]), wanted, atol=1e-5)
    assert run(text[:, :1]).shape == (2, 3)
    feeds, _ = feeds_for(tmp_path / "a.onnx", count=2)
    assert feeds["tokens"].shape == (2, 1, MOST)
    if model == "text_transformer":
        sizes = [list(tensor.dims) for tensor in onnx.load(tmp_path / "a.onnx").graph.initializer]
        assert [MOST, 64] in sizes and [1024, 64] not in sizes
        with pytest.raises(BadInputError, match="cannot run the model"):
            run(np.ones((1, MOST + 1), dtype=np.int32))


def test_a_network_that_counts_on_one_length_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    exported(f"{tmp_path / 'own.py'}:flat", tmp_path / "a.onnx")
    path = tmp_path / "a.onnx"
    assert facts(open_session(path, SessionOptions()), path).shape == (None, MOST)
