"""`edgekd init`: a recipe for one's own data, which runs as it stands."""

import json
from pathlib import Path

import pytest

from edgekd import recipe as recipes

from .conftest import Edgekd

STRANGE = ("with space", "größe 猫", "<script>alert(1)</script>".replace("/", "∕"))


@pytest.fixture
def strange_folder(image_folder: Path) -> Path:
    """The class folders under names with a space, Unicode and markup, in a folder with a quote and a space."""
    for name, strange in zip(("top", "middle", "bottom"), STRANGE, strict=True):
        (image_folder / name).rename(image_folder / strange)
    return image_folder.rename(image_folder.with_name('my "pictures" [x]'))


def test_the_recipe_for_a_folder_of_images_loads_and_names_it(
    strange_folder: Path, tmp_path: Path, edgekd: Edgekd
) -> None:
    out = tmp_path / "new" / "my recipe.toml"
    answer = edgekd("init", strange_folder, "--out", out)
    assert answer.code == 0, answer.err
    assert answer.out == f"{out}: look it over, then: edgekd run {out}\n"
    loaded = recipes.load(out)
    assert (loaded.name, loaded.data.source) == ("my-recipe", str(strange_folder))
    assert "3 classes, images of 8x8x1" in out.read_text()
    assert [path.name for path in out.parent.iterdir()] == ["my recipe.toml"]


def test_a_recipe_that_is_there_is_overwritten_only_by_force(npz_file: Path, tmp_path: Path, edgekd: Edgekd) -> None:
    out = tmp_path / "recipe.toml"
    out.write_text("mine")
    answer = edgekd("init", npz_file, "--out", out)
    assert (answer.code, out.read_text()) == (2, "mine")
    assert f"{out} exists; choose another --out, or --force" in answer.err
    assert edgekd("init", npz_file, "--out", out, "--force").code == 0
    assert recipes.load(out).data.source == str(npz_file)


def test_paths_are_meant_from_here_and_not_from_the_recipe_s_folder(
    npz_file: Path, tmp_path: Path, edgekd: Edgekd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.toml").write_text(edgekd("targets", "show", "x86-2t").out)
    assert edgekd("init", npz_file.name, "--out", "deep/er/recipe.toml", "--target", "own.toml").code == 0
    loaded = recipes.load(tmp_path / "deep/er/recipe.toml")
    assert (loaded.data.source, loaded.validate_.target) == (str(npz_file), str(tmp_path / "own.toml"))


def test_pictures_are_resized_as_asked(image_folder: Path, tmp_path: Path, edgekd: Edgekd) -> None:
    out = tmp_path / "recipe.toml"
    assert edgekd("init", image_folder, "--out", out, "--resize", "12x10").code == 0
    assert recipes.load(out).data.resize == (12, 10)
    assert "images of 12x10x1" in out.read_text()


@pytest.mark.parametrize(
    ("options", "fragment"),
    [
        (["--resize", "12"], "--resize 12: expected HEIGHTxWIDTH"),
        (["--resize", "0x8"], "--resize 0x8: expected HEIGHTxWIDTH"),
        (["--target", "x86"], "unknown target 'x86'"),
        (["--out", "."], "file '.' is a directory"),
    ],
)
def test_wrong_options_are_refused(
    options: list[str],
    fragment: str,
    image_folder: Path,
    tmp_path: Path,
    edgekd: Edgekd,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    answer = edgekd("init", image_folder, *options)
    assert answer.code == 2, answer.err
    assert fragment in answer.err and not list(Path().iterdir())


@pytest.mark.slow
def test_the_recipe_runs_as_it_stands_and_the_page_escapes_the_names(
    strange_folder: Path, tmp_path: Path, edgekd: Edgekd
) -> None:
    recipe, folder = tmp_path / "recipe.toml", tmp_path / "run [1]"
    assert edgekd("init", strange_folder, "--out", recipe).code == 0
    quick = ("distill.epochs=1", "quantize.variants=[]", "validate.rounds=1", "validate.seconds=0.01")
    answer = edgekd("run", recipe, "--out", folder, *(part for value in quick for part in ("--set", value)))
    assert answer.code in (0, 1, 3), answer.err
    report = json.loads((folder / "report.json").read_text())
    assert report["data"]["classes"] == sorted(STRANGE)
    assert json.loads((folder / "bundle" / "labels.json").read_text()) == sorted(STRANGE)
    page = (folder / "report.html").read_text()
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page and "größe 猫" in page
    assert edgekd("verify", folder / "bundle").code == 0
