"""A small text that a small network can learn: a few sentences in many orders."""

import random
from pathlib import Path

import pytest

from edgekd.language import corpus
from edgekd.language.corpus import Corpus
from edgekd.language.text import Text

SENTENCES = ("the cat sat on the mat. ", "a dog ran to the park. ", "the sun is warm. ", "naïve cafés open late. ")


def story(characters: int) -> str:
    drawn = random.Random(0)
    return "".join(drawn.choice(SENTENCES) for _ in range(characters // 15))[:characters]


@pytest.fixture(scope="session")
def words() -> Corpus:
    """12,000 characters in 40 blocks, characters as tokens, 16 at a time."""
    return corpus.build(
        Text(content=story(12_000), sources=("story",)),
        vocabulary="characters",
        context=16,
        block_characters=300,
        validation_fraction=0.1,
        test_fraction=0.2,
        seed=0,
    )


@pytest.fixture(scope="session")
def shipped(words: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model.onnx of a network for these words, not trained, wide enough to be quantized."""
    import torch

    from edgekd.language.export import export
    from edgekd.language.files import texts
    from edgekd.models.causal_transformer import CausalTransformer

    torch.manual_seed(0)
    size = words.vocabulary.size
    made = CausalTransformer(vocabulary=size, context=16, width=48, depth=1, heads=2)
    with torch.no_grad():
        for parameter in made.parameters():  # larger than at the start of training, so that tokens matter
            parameter.mul_(4.0 if parameter.ndim > 1 else 1.0)
    path = tmp_path_factory.mktemp("shipped") / "model.onnx"
    facts = {"kind": "language", "context": 16, "vocabulary": {"sha256": words.vocabulary.sha256}}
    export(made, path, tokens=texts(words, context=16), opset=18, tolerance=1e-3, metadata=facts)
    return path


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe that ends in seconds, with its text beside it."""
    (tmp_path / "story.txt").write_text(story(12_000), encoding="utf-8")
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


RECIPE = """
name = "story"
[data]
text = ["story.txt"]
vocabulary = "characters"
context = 16
block_characters = 300
[teacher]
width = 32
depth = 2
heads = 2
train = { steps = 80, learning_rate = 1e-2, warmup_steps = 5 }
[student]
width = 16
depth = 1
heads = 2
[distill]
steps = 60
learning_rate = 1e-2
warmup_steps = 5
[validate]
rounds = 1
seconds = 0.02
[gate]
max_perplexity_ratio = 20.0
max_size_bytes = 1000000
"""
