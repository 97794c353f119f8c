"""Tables of pictures: what is read from CSV, TSV and Parquet, and every row that cannot be."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgekd import data
from edgekd.data.manifest import is_manifest, read_manifest, read_rows
from edgekd.errors import BadInputError

Table = Callable[..., Path]


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """A function that writes a table beside six pictures p0.png to p5.png, each of its own grey."""
    for number in range(6):
        Image.fromarray(np.full((4, 5), 10 * number, dtype=np.uint8)).save(tmp_path / f"p{number}.png")

    def write(text: str, name: str = "m.csv", encoding: str = "utf-8") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding=encoding)
        return path

    return write


def read(path: Path, classes: tuple[str, ...] | None = None):  # type: ignore[no-untyped-def]
    return read_manifest(path, resize=None, channels=None, classes=classes)


def test_pictures_come_in_the_order_of_their_rows_with_sorted_classes_and_their_paths_as_ids(table: Table) -> None:
    pool = read(table("path,label,who knows\np2.png,cat,x\np0.png,ant,\n./p1.png,cat,y\n"))
    assert pool.classes == ("ant", "cat")
    assert pool.train.inputs.shape == (3, 4, 5, 1)
    assert pool.train.inputs[:, 0, 0, 0].tolist() == [20, 0, 10]
    assert pool.train.labels.tolist() == [1, 0, 1]
    assert pool.train.ids is not None and pool.train.ids.tolist() == ["p2.png", "p0.png", "./p1.png"]
    assert pool.test is None and pool.validation is None and pool.train.groups is None


def test_numbers_are_sorted_as_numbers_and_given_classes_keep_their_order(table: Table) -> None:
    assert read(table("path,label\np0.png,10\np1.png,9\np2.png,0\n")).classes == ("0", "9", "10")
    pool = read(table("path,label\np0.png,b\np1.png,a\n"), classes=("b", "c", "a"))
    assert (pool.classes, pool.train.labels.tolist()) == (("b", "c", "a"), [0, 2])


def test_splits_groups_and_ids_are_read(table: Table) -> None:
    rows = [
        "p0.png,a,train,anna,1",
        "p1.png,b,TRAIN,bo,2",
        "p2.png,a,val,cy,3",
        "p3.png,b,dev,cy,4",
        "p4.png,a,test,di,5",
    ]
    pool = read(table("\n".join(["path,label,split,group,id", *rows])))
    assert pool.validation is not None and pool.test is not None
    assert [len(part) for part in (pool.train, pool.validation, pool.test)] == [2, 2, 1]
    assert pool.validation.groups is not None and pool.validation.groups.tolist() == ["cy", "cy"]
    assert pool.test.ids is not None and pool.test.ids.tolist() == ["5"]


def test_a_row_without_a_label_is_an_unlabelled_sample(table: Table) -> None:
    pool = read(table("path,label\np0.png,a\np1.png,\np2.png,b\n"))
    assert pool.train.labels.tolist() == [0, -1, 1]
    assert read(table("path\np0.png\np1.png\n"), classes=("a", "b")).train.labels.tolist() == [-1, -1]
    with pytest.raises(BadInputError, match=r"no row has a label.*set data\.classes"):
        read(table("path\np0.png\np1.png\n"))


def test_tabs_a_byte_order_mark_quotes_and_blank_lines_are_what_spreadsheets_write(table: Table) -> None:
    assert read(table("path\tlabel\np0.png\ta, b\np1.png\tc\n", "m.tsv")).classes == ("a, b", "c")
    assert read(table('path,label\r\n"p0.png","a, b"\r\n\r\np1.png,c\r\n', encoding="utf-8-sig")).classes == (
        "a, b",
        "c",
    )


def test_parquet_is_the_same_table(table: Table, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {
        "path": ["p0.png", "p1.png", "p2.png"],
        "label": [1.0, None, 0.0],  # what pandas makes of integers with a gap
        "split": ["train", "train", "test"],
        "other": [[1], [2], [3]],
    }
    table("")
    parquet.write_table(pyarrow.table(columns), tmp_path / "m.parquet")
    assert is_manifest(tmp_path / "m.parquet")
    pool = read(tmp_path / "m.parquet")
    assert (pool.classes, pool.train.labels.tolist()) == (("0", "1"), [1, -1])
    assert pool.test is not None and pool.test.labels.tolist() == [0]
    parquet.write_table(pyarrow.table({"path": ["p0.png", "gone.png"]}), tmp_path / "m.parquet")
    with pytest.raises(BadInputError, match=r"1 of 2 files are not there \(row 1: gone\.png\)"):
        read(tmp_path / "m.parquet")
    (tmp_path / "m.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(BadInputError, match="not a readable Parquet file"):
        read(tmp_path / "m.parquet")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\np0.png,a\nq.png,b\np1.png,b\nr.png,a\n", r"2 of 4 files are not there \(line 3: q\.png; line 5"),
        (
            "path,label\np0.png,a\np1.png,b\n./p0.png,b\n",
            r"line 4: \./p0\.png stands in line 2 too with label 'b', there",
        ),
        ("path,label\np0.png,a\np1.png,b\np1.png,b\n", r"line 4: p1\.png stands in line 3 too; list a picture once"),
        ("path,label,split\np0.png,a,train\np0.png,a,test\n", "line 3: .* in split 'test', there in 'train'"),
        ("path,label,split\np0.png,a,train\np1.png,b,tset\n", "line 3: split is 'tset'; expected train, validation"),
        ("path,label,split\np0.png,a,train\np1.png,b,\n", "line 3: split is ''"),
        ("path,label,split\np0.png,a,test\np1.png,b,test\n", "no row is of split 'train'"),
        ("path,label,group\np0.png,a,x\np1.png,b,\n", "line 3: 'group' is empty"),
        ("path,label,id\np0.png,a,7\np1.png,b,7\n", "line 3: id '7' stands in line 2 too"),
        ("path,label\np0.png,a\n,b\n", "line 3: 'path' is empty"),
        ("path,label\np0.png,a\np1.png,b,c\n", "line 3: found 3 cells; expected 2"),
        ("path,lable\np0.png,a\n", "unknown column 'lable'; did you mean 'label'"),
        ("path,path\np0.png,a\n", "two columns are called 'path'"),
        ("path,label\n", "has a header and no rows"),
        ('path,label\n"p0.png,a\n', "not a readable table"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(text: str, message: str, table: Table) -> None:
    with pytest.raises(BadInputError, match=message):
        read(table(text))


def test_a_label_that_is_no_class_is_named_with_the_nearest(table: Table) -> None:
    with pytest.raises(BadInputError, match=r"line 3: label 'dgo' is none of the classes; did you mean 'dog'"):
        read(table("path,label\np0.png,cat\np1.png,dgo\n"), classes=("cat", "dog"))


def test_a_table_that_is_not_utf_8_and_a_picture_that_is_none_are_named(table: Table, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="not UTF-8"):
        read(table("path,label\np0.png,größe\n", encoding="latin-1"))
    (tmp_path / "p1.png").write_text("no picture")
    with pytest.raises(BadInputError, match=r"m\.csv, line 3: .*p1\.png: not a readable PNG or JPEG"):
        read(table("path,label\np0.png,a\np1.png,b\n"))


def test_a_table_without_paths_is_no_manifest(table: Table, tmp_path: Path) -> None:
    assert is_manifest(table("path,label\n"))
    assert not is_manifest(table("text,label\n"))
    assert not is_manifest(tmp_path / "none.csv") and not is_manifest(tmp_path)
    with pytest.raises(BadInputError, match="has the columns text, label; expected path"):
        read_rows(table("text,label\n"))


def test_a_group_in_two_given_splits_is_named(table: Table) -> None:
    path = table("path,label,split,group\np0.png,a,train,anna\np1.png,b,train,bo\np2.png,a,test,anna\n")
    with pytest.raises(BadInputError, match=r"group 'anna' is in train and in test; expected each group in one split"):
        data.load(str(path))


@given(cells=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), min_size=1), min_size=1))
def test_any_text_is_read_or_refused(cells: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_text("path,label\n" + "\n".join(cells), encoding="utf-8")
    with pytest.raises(BadInputError):
        read(path)
