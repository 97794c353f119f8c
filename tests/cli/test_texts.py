"""Texts at the command line: `init` knows them, and what is wrong with them is said in a line, with exit code 2."""

import json
from pathlib import Path

import pytest

from edgekd import recipe as recipes

from .conftest import Edgekd

pytest.importorskip("tokenizers")

WORDS = {"sport": "goal match team", "money <b>": "bank share price"}


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A CSV file of 80 short texts in two classes, one with markup in its name, in a folder with a space."""
    path = tmp_path / "my texts" / "all.csv"
    path.parent.mkdir()
    rows = [f"{words} on day {k},{label}" for k in range(40) for label, words in WORDS.items()]
    path.write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    return path


def test_the_recipe_for_texts_loads_and_fits_their_length(texts: Path, tmp_path: Path, edgekd: Edgekd) -> None:
    out = tmp_path / "recipe.toml"
    answer = edgekd("init", texts, "--out", out)
    assert answer.code == 0, answer.err
    loaded = recipes.load(out)
    assert loaded.data.source == str(texts)
    assert loaded.data.text is not None and loaded.data.text.max_tokens == 16
    assert (loaded.student.model, loaded.teacher) == ("text_cnn", None)
    assert "2 classes of texts" in out.read_text()
    plan = edgekd("run", out, "--dry-run", "--out", tmp_path / "run")
    assert plan.code == 0, plan.err


def test_a_recipe_for_texts_with_a_teachers_scores_names_them(texts: Path, tmp_path: Path, edgekd: Edgekd) -> None:
    scores = tmp_path / "scores.npz"
    scores.write_bytes(b"")
    out = tmp_path / "recipe.toml"
    answer = edgekd("init", texts, "--out", out, "--teacher", scores)
    assert answer.code == 0, answer.err
    loaded = recipes.load(out)
    assert loaded.teacher is not None and (loaded.teacher.kind, loaded.teacher.path) == ("scores", str(scores))
    assert (loaded.data.augment, loaded.distill.method) == ("none", "cist")


RECIPE = """
name = "x"
[data]
source = "{source}"
calibration_samples = 8
{more}
[student]
model = "{model}"
[distill]
method = "ce"
"""


def recipe(folder: Path, source: Path, *, more: str = "", model: str = "text_cnn") -> Path:
    path = folder / "x.toml"
    path.write_text(RECIPE.format(source=source, more=more, model=model), encoding="utf-8")
    return path


BAD_SETTINGS = {
    "[data.text]\nmax_token = 5": "unknown key 'data.text.max_token'; did you mean 'max_tokens'?",
    "[data.text]\nmax_tokens = 2000": "data.text.max_tokens: found 2000",
    "[data.text]\ntokenizer = 'none.json'": "none.json: no such file; expected a tokenizer.json",
    "[data.text]\ntokenizer = 'a.json'\nlowercase = true": "brings its own; remove lowercase",
    "[data.text]\nvocabulary_size = 100": "data.text.vocabulary_size: found 100",
    "[data.text]\nlabel_column = 'labels'": "column 'labels' is missing (found: text, label); did you mean 'label'?",
    "resize = [8, 8]": "data.resize is set, but",
    "augment = 'flip'": "data.augment = 'flip' is for images",
}


@pytest.mark.parametrize("more", BAD_SETTINGS)
def test_settings_that_do_not_fit_are_named(texts: Path, tmp_path: Path, edgekd: Edgekd, more: str) -> None:
    answer = edgekd("run", recipe(tmp_path, texts, more=more), "--out", tmp_path / "run", "--set", "distill.epochs=1")
    assert answer.code == 2
    assert BAD_SETTINGS[more] in " ".join(answer.err.split())


BAD_FILES = {
    "bytes": (b"text,label\nfine,a\ncaf\xe9,b\n", "all.csv:3: byte 4 of the line is 0xe9, which is not UTF-8"),
    "empty text": (b"text,label\nfine,a\n,b\n", "all.csv:3: column 'text' is empty"),
    "one line of a megabyte": (b"text,label\nfine,a\n" + b"a " * 600_000 + b",b\n", "all.csv:3: the record"),
    "one class": (b"text,label\nfine,a\nwell,a\n", "found 1 class; expected at least 2"),
    "no rows": (b"text,label\n", "all.csv: holds no records"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_faulty_file_is_named_with_its_line(texts: Path, tmp_path: Path, edgekd: Edgekd, case: str) -> None:
    content, message = BAD_FILES[case]
    texts.write_bytes(content)
    answer = edgekd("run", recipe(tmp_path, texts), "--out", tmp_path / "run")
    assert answer.code == 2
    assert message in " ".join(answer.err.split())
    assert "Traceback" not in answer.err
    assert not list((tmp_path / "run").glob("*")) if (tmp_path / "run").exists() else True


def test_texts_in_json_lines_are_known_too(texts: Path, tmp_path: Path, edgekd: Edgekd) -> None:
    lines = [json.dumps({"text": f"{words} {k}", "label": label}) for k in range(40) for label, words in WORDS.items()]
    path = texts.with_suffix(".jsonl")
    path.write_text("\n".join(lines), encoding="utf-8")
    answer = edgekd("init", path, "--out", tmp_path / "recipe.toml")
    assert answer.code == 0, answer.err
