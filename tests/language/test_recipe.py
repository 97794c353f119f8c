"""Language recipes: the one that ships loads; every mistake is named, all at once."""

from pathlib import Path

import pytest

from edgekd.errors import BadInputError
from edgekd.language import recipe as recipes

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("language-*.toml")), ids=lambda path: path.stem)
def test_every_language_recipe_of_the_repository_loads_and_is_called_as_its_file(path: Path) -> None:
    assert recipes.load(path).name == path.stem


def test_paths_are_relative_to_the_recipe(recipe: Path) -> None:
    loaded = recipes.load(recipe, overrides=('teacher={weights="t.safetensors"}', 'data.vocabulary="w.json"'))
    assert loaded.data.text == (str(recipe.parent / "story.txt"),)
    assert loaded.data.vocabulary == str(recipe.parent / "w.json")
    assert loaded.teacher.weights == str(recipe.parent / "t.safetensors")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("distill.stepz=3", r"unknown key 'distill.stepz'; did you mean 'steps'"),
        ("distill.method='cits'", "distill.method: found 'cits'"),
        ("distill.temperature=2.0", "temperature is set, but method = 'cist' does not take it"),
        ("distill.teacher_cache='top-k'", "belong together"),
        ("teacher.weights='t.safetensors'", "is set, and weights bring it already"),
        ("data.text=[]", "data.text"),
        ("gate.max_tokn_ms=1.0", "did you mean 'max_token_ms'"),
        ("distill", "expected section.key=value"),
        ("name.x=1", "'name' is a value, not a section"),
    ],
)
def test_a_mistake_is_named_with_its_place(override: str, message: str, recipe: Path) -> None:
    with pytest.raises(BadInputError, match=message):
        recipes.load(recipe, overrides=(override,))


def test_all_mistakes_come_at_once(recipe: Path) -> None:
    with pytest.raises(BadInputError, match=r"2 problem\(s\)"):
        recipes.load(recipe, overrides=("distill.steps=0", "student.width='wide'"))


@pytest.mark.parametrize(
    ("content", "message"), [(None, "no such file"), (b"x = ", "not valid TOML"), (b"\xff", "TOML")]
)
def test_a_recipe_that_cannot_be_read_is_named(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInputError, match=message):
        recipes.load(path)
