"""Texts become a data set whose tokenizer has seen the training split alone."""

import json
from pathlib import Path

import numpy as np
import pytest

from edgekd import data
from edgekd.data import Dataset
from edgekd.data.text_source import TextSettings, is_text_source, read_pool
from edgekd.data.tokens import read_tokenizer, train_tokenizer, vocabulary_size
from edgekd.errors import BadInputError

pytest.importorskip("tokenizers")

WORDS = {"sport": "goal match team", "money": "bank share price", "sky": "cloud rain storm"}


def rows(count: int, *, seed: int = 0) -> list[tuple[str, str]]:
    """(text, label): three words of the label's and two of no one's, no two texts alike."""
    generator = np.random.default_rng(seed)
    labels = [list(WORDS)[k % 3] for k in range(count)]
    return [
        (" ".join([*generator.permutation(WORDS[label].split()), f"on day {seed} {k}"]), label)
        for k, label in enumerate(labels)
    ]


def write(path: Path, content: list[tuple[str, str]], more: str = "", values: tuple[str, ...] = ()) -> Path:
    lines = [f"text,label{more and ',' + more}"]
    lines += [",".join((*row, *((values[k % len(values)],) if more else ()))) for k, row in enumerate(content)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def loaded(source: Path, **more: object) -> Dataset:
    settings = TextSettings(**{"max_tokens": 12, "vocabulary_size": 320, **more})
    return data.load(str(source), calibration_samples=12, text=settings)


def test_a_table_of_texts_becomes_token_numbers_in_four_splits(tmp_path: Path) -> None:
    dataset = loaded(write(tmp_path / "a.csv", rows(120)))
    assert (dataset.kind, dataset.classes, dataset.input_shape) == ("text", ("money", "sky", "sport"), (12,))
    assert dataset.train.inputs.dtype == np.int32
    assert dataset.channels == dataset.front["vocabulary"] == vocabulary_size(dataset.front["tokenizer"])
    assert dataset.front["max_tokens"] == 12
    assert sum(dataset.counts().values()) == 120


def test_the_tokenizer_is_trained_on_the_training_split_alone(tmp_path: Path) -> None:
    content = rows(120)
    dataset = loaded(write(tmp_path / "a.csv", content))
    assert dataset.train.ids is not None
    seen = [content[int(row)][0] for row in dataset.train.ids]
    assert dataset.front["tokenizer"] == train_tokenizer(seen, vocabulary_size=320)
    # A word of the test part that training never saw has no token of its own.
    folder = tmp_path / "parts"
    write(folder / "train.csv", content)
    write(folder / "test.csv", [(f"zyzzyva {text}", label) for text, label in rows(30, seed=1)])
    vocabulary = json.loads(loaded(folder).front["tokenizer"])["model"]["vocab"]
    assert not any("zyz" in token for token in vocabulary)


def test_a_folder_brings_its_own_test_and_validation_parts(tmp_path: Path) -> None:
    for name, count, seed in (("train", 90, 0), ("test", 30, 1), ("validation", 15, 2)):
        write(tmp_path / f"{name}.csv", rows(count, seed=seed))
    assert loaded(tmp_path).counts() == {"train": 78, "calibration": 12, "validation": 15, "test": 30}


def test_authors_stand_in_one_split_only(tmp_path: Path) -> None:
    names = tuple(f"author {k}" for k in range(20))
    dataset = loaded(write(tmp_path / "a.csv", rows(240), "group", names))
    parts = [set(part.groups or ()) if part.groups is None else set(part.groups.tolist())
             for part in (dataset.train, dataset.validation, dataset.test)]  # fmt: skip
    assert all(parts) and not (parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2])


def test_an_author_of_two_parts_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", rows(90), "group", ("ann", "bob"))
    write(tmp_path / "test.csv", rows(30, seed=1), "group", ("cem", "bob"))
    with pytest.raises(BadInputError, match="bob"):
        loaded(tmp_path)


def test_unlabelled_texts_are_trained_on_and_never_judged_on(tmp_path: Path) -> None:
    content = [(text, label if k % 4 else "") for k, (text, label) in enumerate(rows(160))]
    dataset = loaded(write(tmp_path / "a.csv", content))
    assert (dataset.train.labels == -1).any()
    assert (dataset.test.labels >= 0).all() and (dataset.validation.labels >= 0).all()


def test_labels_that_are_numbers_are_counted_as_numbers(tmp_path: Path) -> None:
    pool, _ = read_pool(write(tmp_path / "a.csv", [("x", "10"), ("y", "9"), ("z", "-1")]), TextSettings(), classes=None)
    assert pool.classes == ("-1", "9", "10")


def test_class_names_are_taken_in_the_order_given(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", rows(6))
    pool, _ = read_pool(path, TextSettings(), classes=("sport", "sky", "money"))
    assert pool.train.labels.tolist() == [0, 2, 1] * 2
    with pytest.raises(BadInputError, match=r"a\.csv:3: label 'money'; expected one of: sport, sky$"):
        read_pool(path, TextSettings(), classes=("sport", "sky"))


def test_a_test_label_that_training_does_not_know_is_refused_by_its_line(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", rows(90))
    write(tmp_path / "test.csv", [*rows(30, seed=1), ("a new thing", "politics")])
    with pytest.raises(BadInputError, match=r"test\.csv:32: label 'politics'; expected one of: money, sky, sport"):
        loaded(tmp_path)


def test_a_given_tokenizer_is_used_and_belongs_to_the_content(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", rows(120))
    own = loaded(path)
    file = tmp_path / "tokenizer.json"
    file.write_text(own.front["tokenizer"], encoding="utf-8")
    same = loaded(path, tokenizer=file)
    assert same.front == own.front and same.content_hash == own.content_hash
    file.write_text(train_tokenizer([text for text, _ in rows(9)], vocabulary_size=300), encoding="utf-8")
    other = loaded(path, tokenizer=file)
    assert other.front["tokenizer"] == read_tokenizer(file)
    assert other.content_hash != own.content_hash


def test_texts_are_known_by_their_column_and_settings_of_images_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", rows(120))
    assert is_text_source(path)
    assert data.load(str(path), calibration_samples=12).kind == "text"
    with pytest.raises(BadInputError, match=r"data\.resize is set, but .*a\.csv is not a source that takes it"):
        data.load(str(path), resize=(8, 8))


def test_settings_of_texts_for_another_source_are_refused(npz_file: Path) -> None:
    with pytest.raises(BadInputError, match=r"bars\.npz.*expected one that ends in \.csv, \.tsv, \.jsonl"):
        data.load(str(npz_file), text=TextSettings())
    with pytest.raises(BadInputError, match=r"data\.text is set, but fashion-mnist"):
        data.load("fashion-mnist", text=TextSettings())
