"""Texts and teachers that are not what they should be: each is named, before anything is trained."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from edgekd.errors import BadInputError
from edgekd.language import corpus, learn, network, text
from edgekd.language import recipe as recipes
from edgekd.language import run as runs
from edgekd.language.corpus import Corpus, Windows
from edgekd.language.learn import Place
from edgekd.language.network import Card


def test_a_megabyte_on_one_line_is_text_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("abcdefghij" * 100_000, encoding="utf-8")
    made = corpus.build(
        text.read((str(tmp_path / "long.txt"),)),
        vocabulary="characters",
        context=64,
        block_characters=8192,
        validation_fraction=0.05,
        test_fraction=0.1,
        seed=0,
    )
    assert made.characters == 1_000_000 and made.vocabulary.size == 11
    windows = Windows(made.train, context=64)
    assert sum(int(windows.batch(np.array([i]))[2].sum()) for i in range(128)) == 8191  # one block, each token once


def saved(words: Corpus, path: Path) -> Path:
    card = Card(vocabulary=words.vocabulary, context=16, sizes={"width": 16, "depth": 1, "heads": 2})
    torch.manual_seed(0)
    network.save(network.build(card), path, card)
    return path


def place(words: Corpus, folder: Path) -> Place:
    return Place(corpus=words, context=16, folder=folder, device=torch.device("cpu"))


def changed(path: Path, name: str, factor: float) -> Path:
    """The weights with one tensor multiplied."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    save_file(tensors | {name: tensors[name] * factor}, path, metadata)
    return path


def test_a_teacher_with_nan_in_its_weights_is_named_with_the_tensor(words: Corpus, tmp_path: Path) -> None:
    path = changed(saved(words, tmp_path / "broken.safetensors"), "head.weight", float("nan"))
    with pytest.raises(BadInputError, match=r"broken\.safetensors: tensor 'head.weight' holds NaN"):
        learn.brought(path, place=place(words, tmp_path))


def test_a_teacher_that_answers_nan_is_named_before_anything_learns_from_it(words: Corpus, tmp_path: Path) -> None:
    path = changed(saved(words, tmp_path / "huge.safetensors"), "head.weight", 1e38)
    path = changed(path, "norm.weight", 1e10)
    with pytest.raises(BadInputError, match=r"teacher .*safetensors returns NaN or infinity on the text"):
        learn.brought(path, place=place(words, tmp_path))


def test_a_dry_run_names_every_stage_and_writes_nothing(recipe: Path) -> None:
    before = sorted(recipe.parent.rglob("*"))
    steps = runs.plan(recipes.load(recipe), folder=recipe.parent / "out")
    assert [step.name for step in steps] == [
        "teacher", "student-cist", "student-ce", "export", "files", "speed", "gate", "report", "bundle",
    ]  # fmt: skip
    assert not any(step.cached for step in steps)
    assert sorted(recipe.parent.rglob("*")) == before
