"""Text to tokens and back, every character counted once; and vocabularies that differ."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.errors import BadInputError
from edgekd.language import vocabulary

TEXTS = st.text(st.characters(codec="utf-8"), max_size=60)


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=300, show_progress=False, initial_alphabet=alphabet)
    made.train_from_iterator(["the cat sat on the mat, the cat ran"] * 20, trainer)
    path = tmp_path_factory.mktemp("words") / "tokenizer.json"
    made.save(str(path))
    return path


@given(TEXTS)
def test_bytes_come_back_as_they_were_and_count_every_character(text: str) -> None:
    words = vocabulary.of("bytes", training_text="")
    encoded = words.encode(text)
    assert words.decode(encoded.tokens) == text
    assert encoded.characters.sum() == len(text)
    assert list(encoded.tokens) == list(text.encode())


@given(TEXTS.filter(bool))
def test_characters_of_the_training_text_come_back_as_they_were(text: str) -> None:
    words = vocabulary.of("characters", training_text=text)
    encoded = words.encode(text)
    assert words.decode(encoded.tokens) == text
    assert words.size == len(set(text)) + 1
    assert encoded.tokens.min() >= 1


def test_a_character_that_training_lacks_is_token_0() -> None:
    words = vocabulary.of("characters", training_text="abc")
    assert words.encode("xaz\U0001f600c").tokens.tolist() == [0, 1, 0, 0, 3]
    assert words.decode(np.array([1, 0])) == "a\ufffd"


def test_a_tokenizers_json_counts_every_character_once(tokenizer_file: Path) -> None:
    words = vocabulary.of(str(tokenizer_file), training_text="")
    text = "the cat, na\u00efve, sat on the \U0001f600 mat"
    encoded = words.encode(text)
    assert words.decode(encoded.tokens) == text
    assert encoded.characters.sum() == len(text)
    assert (encoded.characters >= 0).all()
    assert len(encoded.tokens) < len(text.encode())
    assert encoded.tokens.max() < words.size


@pytest.mark.parametrize(
    ("content", "message"), [("{", "is no JSON"), ('{"a": 1}', "is no tokenizer"), (None, "no such file")]
)
def test_a_vocabulary_that_cannot_be_read_is_named(content: str | None, message: str, tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    path = tmp_path / "words.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(BadInputError, match=message):
        vocabulary.of(str(path), training_text="")


def test_equal_vocabularies_go_together() -> None:
    one, two = (vocabulary.of("characters", training_text=text) for text in ("abc", "cab"))
    vocabulary.check_same(one, two, where="teacher.safetensors")


@pytest.mark.parametrize(
    ("teacher", "own", "message"),
    [
        ("abc", None, "4 characters, the data one of 256 bytes"),
        ("abc", "abcd", "4 characters, the data one of 5 characters"),
        ("abd", "abc", "first at place 3: the teacher's is 'd', the data's 'c'"),
    ],
)
def test_vocabularies_that_differ_are_told_apart(teacher: str, own: str | None, message: str) -> None:
    theirs = vocabulary.of("characters", training_text=teacher)
    ours = vocabulary.of("bytes" if own is None else "characters", training_text=own or "")
    with pytest.raises(BadInputError, match=message):
        vocabulary.check_same(theirs, ours, where="teacher.safetensors")
