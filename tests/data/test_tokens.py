"""A tokenizer is trained on what it is given and on nothing else, the same one every time; padding is token 0."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekd.data.tokens import (
    SMALLEST_VOCABULARY,
    encode,
    open_tokenizer,
    read_tokenizer,
    train_tokenizer,
    vocabulary_size,
)
from edgekd.errors import BadInputError

pytest.importorskip("tokenizers")

TEXTS = [f"the {animal} sees a {other}, and {k} times it says hello" for k in range(9) for animal in ("cat", "dog")
         for other in ("bird", "fish")]  # fmt: skip


@pytest.fixture(scope="module")
def trained() -> str:
    return train_tokenizer(TEXTS, vocabulary_size=320)


def test_tokens_are_cut_at_the_end_and_padded_with_zeros_behind(trained: str) -> None:
    tokens = encode(trained, ["the cat sees", "the cat sees a bird and it says hello hello hello"], max_tokens=6)
    assert tokens.dtype == np.int32 and tokens.shape == (2, 6)
    assert (tokens[0, :3] > 0).all() and (tokens[0, -2:] == 0).all()
    assert (tokens[1] > 0).all()


def test_the_vocabulary_is_no_larger_than_asked_for_and_holds_every_number(trained: str) -> None:
    assert vocabulary_size(trained) <= 320  # TEXTS have no more to merge
    assert vocabulary_size(train_tokenizer(TEXTS, vocabulary_size=270)) == 270
    assert encode(trained, TEXTS, max_tokens=64).max() < vocabulary_size(trained)


def test_case_and_spaces_do_not_matter_unless_asked_for(trained: str) -> None:
    one, other = encode(trained, ["The  CAT\nsees ", "the cat sees"], max_tokens=8)
    assert (one == other).all()
    exact = train_tokenizer(TEXTS, vocabulary_size=320, lowercase=False)
    one, other = encode(exact, ["The cat", "the cat"], max_tokens=8)
    assert (one != other).any()


def test_letters_of_a_script_that_training_never_saw_are_not_unknown(trained: str) -> None:
    one, other = encode(trained, ["плохо", "хорошо"], max_tokens=32)
    assert (one != other).any()
    assert not (encode(trained, ["плохо 好 🙂"], max_tokens=64) == 1).any()


def test_a_text_of_one_control_letter_is_still_a_row(trained: str) -> None:
    assert encode(trained, ["\x00", "cat"], max_tokens=4).shape == (2, 4)


def test_another_process_trains_the_same_tokenizer(trained: str) -> None:
    code = (
        "import json, sys; from edgekd.data.tokens import train_tokenizer\n"
        "sys.stdout.write(train_tokenizer(json.load(sys.stdin), vocabulary_size=320))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(TEXTS), capture_output=True, text=True, check=True
    )
    assert done.stdout == trained


def test_a_vocabulary_that_cannot_hold_all_bytes_is_refused() -> None:
    with pytest.raises(BadInputError, match=f"100 tokens; expected at least {SMALLEST_VOCABULARY}"):
        train_tokenizer(TEXTS, vocabulary_size=100)


def test_a_tokenizer_that_was_given_is_read_as_it_is(trained: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(trained, encoding="utf-8")
    assert read_tokenizer(path) == trained


def test_special_tokens_that_a_given_tokenizer_adds_are_there() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    made = Tokenizer(models.WordPiece({"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "cat": 3}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", 2)])
    assert encode(made.to_str(), ["cat dog cat"], max_tokens=5).tolist() == [[2, 3, 1, 3, 0]]
    assert encode(made.to_str(), ["cat dog cat"], max_tokens=2).tolist() == [[2, 3]]


def test_padding_and_cutting_that_a_file_asks_for_are_not_those_of_the_recipe(trained: str) -> None:
    tokenizer = open_tokenizer(trained)
    tokenizer.enable_padding(length=50, pad_id=7)
    tokenizer.enable_truncation(2)
    tokens = encode(tokenizer.to_str(), ["the cat sees a dog"], max_tokens=12)
    assert (tokens == encode(trained, ["the cat sees a dog"], max_tokens=12)).all()


def bad(folder: Path, content: bytes | None) -> Path:
    path = folder / "tokenizer.json"
    if content is not None:
        path.write_bytes(content)
    return path


NO_PADDING = b'{"version": "1.0", "added_tokens": [], "model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab": '
NO_PADDING += b'{"<s>": 0, "[UNK]": 1}, "continuing_subword_prefix": "##", "max_input_chars_per_word": 9}}'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file; expected a tokenizer.json"),
        (b"{}", r"tokenizer\.json: not a tokenizer"),
        (b"\xff\xfe", "cannot be read"),
        (b"", r"tokenizer\.json: not a tokenizer"),
        (NO_PADDING, r"its token 0 is '<s>'; expected padding as token 0"),
    ],
)
def test_a_file_that_is_no_such_tokenizer_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        read_tokenizer(bad(tmp_path, content))
