"""`edgekd init` on tables of pictures and on pictures without labels."""

import shutil
from pathlib import Path

import pytest

from edgekd import recipe as recipes

from ..conftest import MakeNet  # noqa: TID252  tests are no package
from .conftest import Edgekd


@pytest.fixture
def table(image_folder: Path) -> Path:
    """A table of the fixture's 36 pictures in three classes and twelve groups."""
    rows = ["path,label,group"]
    for number, path in enumerate(sorted(image_folder.rglob("*.png"))):
        rows.append(f"{path.relative_to(image_folder.parent)},{path.parent.name},g{number % 12}")
    (image_folder.parent / "m.csv").write_text("\n".join(rows))
    return image_folder.parent / "m.csv"


@pytest.fixture
def bare(image_folder: Path) -> Path:
    """The same pictures without class folders."""
    flat = image_folder.parent / "flat"
    flat.mkdir()
    for path in image_folder.rglob("*.png"):
        shutil.copy(path, flat)
    return flat


def test_the_recipe_for_a_table_loads_and_names_it(table: Path, tmp_path: Path, edgekd: Edgekd) -> None:
    answer = edgekd("init", table, "--out", tmp_path / "r.toml")
    assert answer.code == 0, answer.err
    loaded = recipes.load(tmp_path / "r.toml")
    assert loaded.data.source == str(table) and loaded.distill.method == "ce"
    assert edgekd("run", tmp_path / "r.toml", "--out", tmp_path / "run", "--dry-run").code == 0


def test_the_recipe_for_pictures_without_labels_has_a_teacher_and_a_limit_that_needs_none(
    bare: Path, tmp_path: Path, edgekd: Edgekd, make_net: MakeNet
) -> None:
    net = make_net(tmp_path / "teacher.onnx")
    out = tmp_path / "r.toml"
    answer = edgekd("init", bare, "--out", out, "--teacher", net, "--classes", "top, middle,bottom")
    assert answer.code == 0, answer.err
    loaded = recipes.load(out)
    assert loaded.data.classes == ("top", "middle", "bottom")
    assert loaded.gate.min_agreement == 0.8 and loaded.gate.min_top1 is None
    assert "# Without a label: {'train':" in out.read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "has images and no class folders"),
        (("--classes", "top,middle,bottom"), "only a teacher can say what to learn; name its file: --teacher"),
        (("--classes", "top,,bottom"), "expected at least two names, separated by commas"),
    ],
)
def test_what_is_missing_is_asked_for(
    options: tuple[str, ...], message: str, bare: Path, tmp_path: Path, edgekd: Edgekd
) -> None:
    answer = edgekd("init", bare, "--out", tmp_path / "r.toml", *options)
    assert answer.code == 2 and message in " ".join(answer.err.split())
    assert not (tmp_path / "r.toml").exists()
