"""Samples with several labels: what each source says of them, and what cannot be read."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekd import data
from edgekd.data.dataset import Pool
from edgekd.data.label_sets import from_array, indicator, parse
from edgekd.data.manifest import read_manifest
from edgekd.data.npz import read_npz
from edgekd.data.saved_dataset import read_saved_dataset
from edgekd.data.series import read_series_npz
from edgekd.data.text_source import TextSettings, read_pool
from edgekd.errors import BadInputError

SAVED = Path(__file__).parent / "hugging_face" / "pictures"
SETS = [[1, 1, 0], [0, 0, 0], [-1, -1, -1], [0, 1, 0]]
"""Of cat, dog and ant: cat and dog; none; not known; dog."""


def test_a_cell_holds_names_none_or_a_question_mark() -> None:
    assert parse(" cat ; dog;cat", ";", where="w") == ("cat", "dog")
    assert parse('["a;b", 3]', ";", where="w") == ("a;b", "3")
    assert parse("", ";", where="w") == () == parse("[]", ";", where="w")
    assert parse("?", ";", where="w") is None
    for cell, told in {"cat;;dog": "empty label", '["cat"': "no JSON list", "[[1]]": "no list of names"}.items():
        with pytest.raises(BadInputError, match=f"^w: .*{told}"):
            parse(cell, ";", where="w")
    with pytest.raises(BadInputError, match=r"line 3: label 'dgo' is none of the classes.*dog"):
        indicator([("dgo",)], ("cat", "dog"), where=lambda row: f"line {row + 3}")


def test_an_array_of_other_numbers_or_another_shape_is_no_label_set() -> None:
    assert from_array("y", np.array([[True, False]]), 1).tolist() == [[1, 0]]
    for array, told in (
        (np.array([[0, 2]]), "holds 2 in row 0, class 1"),
        (np.array([[0.5, 1.0]]), "float64"),
        (np.zeros((2, 3), np.int64), r"expected \(1, classes\)"),
        (np.zeros((1, 1), np.int64), r"expected \(1, classes\)"),
    ):
        with pytest.raises(BadInputError, match=told):
            from_array("y", array, 1)


def check(pool: Pool, classes: tuple[str, ...] = ("cat", "dog", "ant")) -> None:
    assert pool.task == "multi-label"
    order = [pool.classes.index(name) for name in classes]
    assert pool.train.labels[:, order].tolist() == SETS
    assert pool.train.labels.dtype == np.int8
    assert pool.train.labelled.tolist() == [True, True, False, True]


def test_arrays_bring_label_sets_of_images_and_of_windows(tmp_path: Path) -> None:
    images, names = np.zeros((4, 5, 5), np.uint8), np.array(["cat", "dog", "ant"])
    np.savez(tmp_path / "i.npz", x=images, y=np.array(SETS), classes=names)
    check(read_npz(tmp_path / "i.npz", classes=None))
    np.savez(tmp_path / "s.npz", x_train=images[..., 0] * 1.0, y_train=np.array(SETS), x_test=np.ones((2, 5)))
    pool = read_series_npz(tmp_path / "s.npz", classes=("cat", "dog", "ant"))
    check(pool)
    assert pool.test is not None and pool.test.labels.tolist() == [[-1] * 3] * 2
    np.savez(tmp_path / "b.npz", x_train=images, y_train=np.array(SETS), x_test=images, y_test=np.zeros(4, np.int64))
    with pytest.raises(BadInputError, match="in both"):
        read_npz(tmp_path / "b.npz", classes=None)


def test_a_table_of_images_has_several_labels_in_a_cell(tmp_path: Path) -> None:
    for number in range(4):
        Image.fromarray(np.full((4, 5), number, np.uint8)).save(tmp_path / f"p{number}.png")
    table = tmp_path / "m.csv"
    table.write_text("path,label\np0.png,dog|cat\np1.png,\np2.png,?\np3.png,dog\n")
    check(read_manifest(table, resize=None, channels=None, classes=("cat", "dog", "ant"), separator="|"))
    assert read_manifest(table, resize=None, channels=None, classes=None, separator="|").classes == ("cat", "dog")
    table.write_text("path,label\np0.png,dog\np1.png,frog\n")
    with pytest.raises(BadInputError, match=r"m\.csv, line 3: label 'frog' is none of the classes"):
        read_manifest(table, resize=None, channels=None, classes=("cat", "dog"), separator=";")
    table.write_text("path\np0.png\np1.png\n")
    bare = read_manifest(table, resize=None, channels=None, classes=("cat", "dog"), separator=";")
    assert not bare.train.labelled.any()


def test_lists_of_parquet_are_label_sets_and_null_is_not_known(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    for number in range(4):
        Image.fromarray(np.full((4, 5), number, np.uint8)).save(tmp_path / f"p{number}.png")
    labels = pyarrow.array([["cat", "dog"], [], None, ["dog"]], pyarrow.list_(pyarrow.string()))
    table = pyarrow.table({"path": [f"p{k}.png" for k in range(4)], "label": labels})
    pytest.importorskip("pyarrow.parquet").write_table(table, tmp_path / "m.parquet")
    found = read_manifest(
        tmp_path / "m.parquet", resize=None, channels=None, classes=("cat", "dog", "ant"), separator=";"
    )
    check(found)


def test_texts_have_lists_or_cells_of_labels(tmp_path: Path) -> None:
    lines = tmp_path / "t.jsonl"
    rows = [["cat", "dog"], [], None, "dog"]
    lines.write_text("".join(json.dumps({"text": f"t {k}", "label": row}) + "\n" for k, row in enumerate(rows)))
    check(read_pool(lines, TextSettings(), classes=("cat", "dog", "ant"), separator=";")[0])
    table = tmp_path / "t.tsv"
    table.write_text("text\tlabel\none\tcat; dog\ntwo\t\nthree\t?\nfour\tdog\n")
    check(read_pool(table, TextSettings(), classes=("cat", "dog", "ant"), separator=";")[0])
    with pytest.raises(BadInputError, match=r"t\.jsonl:1: 'label' is a list; .*data\.task = 'multi-label'"):
        read_pool(lines, TextSettings(), classes=None)


def test_a_saved_data_set_with_a_sequence_of_classes_is_multi_label(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    part = tmp_path / "saved"
    shutil.copytree(SAVED / "train", part)
    info = json.loads((part / "dataset_info.json").read_text())
    info["features"]["label"] = {"feature": {"names": ["cat", "dog", "ant"], "_type": "ClassLabel"}, "_type": "List"}
    (part / "dataset_info.json").write_text(json.dumps(info))
    entries = [part / one["filename"] for one in json.loads((part / "state.json").read_text())["_data_files"]]
    table = pyarrow.ipc.open_stream(entries[0].read_bytes()).read_all().slice(0, 4)

    def save(rows: list[list[int] | None]) -> None:
        place = table.column_names.index("label")
        changed = table.set_column(place, "label", pyarrow.array(rows, pyarrow.list_(pyarrow.int64())))
        with pyarrow.OSFile(str(entries[0]), "wb") as sink, pyarrow.ipc.new_stream(sink, changed.schema) as writer:
            writer.write_table(changed)

    save([[0, 1], [], None, [1]])
    check(read_saved_dataset(part, resize=None, channels=None, classes=None))
    save([[0, 7], [], None, [1]])
    with pytest.raises(BadInputError, match=r"row 0: 'label' is \[0, 7\]; expected numbers of classes, 0\.\.2"):
        read_saved_dataset(part, resize=None, channels=None, classes=None)


def test_the_task_must_be_what_the_source_says(tmp_path: Path, image_folder: Path) -> None:
    np.savez(tmp_path / "i.npz", x=np.zeros((4, 5, 5), np.uint8), y=np.array(SETS))
    with pytest.raises(BadInputError, match=r"data\.task = 'classes', and .* several classes a sample"):
        data.load(str(tmp_path / "i.npz"), task="classes")
    with pytest.raises(BadInputError, match=r"data\.task = 'multi-label', and .* one class a sample; .*Folders"):
        data.load(str(image_folder), task="multi-label")
