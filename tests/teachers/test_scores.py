"""A table of scores: every format says the same, and rows that are missing, twice or of others are named."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekd.errors import BadInputError
from edgekd.teachers.scores import open_scores

IDS = np.array(["cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"])
SCORES = np.array([[2, 1], [3, 0], [-1, 4], [0.5, 1]], dtype=np.float32)
NONE = np.zeros((4, 1))


def npy(folder: Path, ids: np.ndarray, scores: np.ndarray) -> Path:
    np.save(folder / "s.npy", scores)
    return folder / "s.npy"


def npz(folder: Path, ids: np.ndarray, scores: np.ndarray) -> Path:
    np.savez(folder / "s.npz", ids=ids, scores=scores, classes=np.array(["cat", "dog"]))
    return folder / "s.npz"


def table_csv(folder: Path, ids: np.ndarray, scores: np.ndarray) -> Path:
    rows = [f"{a},{name},{b}" for name, (a, b) in zip(ids, scores, strict=True)]
    (folder / "s.csv").write_text("\n".join(["cat,id,dog", *rows]) + "\n")
    return folder / "s.csv"


def parquet(folder: Path, ids: np.ndarray, scores: np.ndarray) -> Path:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as files

    files.write_table(arrow.table({"id": ids.tolist(), "cat": scores[:, 0], "dog": scores[:, 1]}), folder / "s.parquet")
    return folder / "s.parquet"


Write = Callable[[Path, np.ndarray, np.ndarray], Path]
NAMED = [npz, table_csv, parquet]


@pytest.mark.parametrize("write", [npy, *NAMED])
def test_every_format_answers_by_id_in_any_order(write: Write, tmp_path: Path) -> None:
    teacher = open_scores(write(tmp_path, IDS, SCORES), source_ids=IDS, needed=IDS)
    np.testing.assert_array_equal(teacher.ask(NONE, IDS[[3, 0, 3]]), SCORES[[3, 0, 3]])
    assert teacher.by_sample and teacher.parameters is None
    assert teacher.classes == (None if write is npy else ("cat", "dog"))


@pytest.mark.parametrize("write", NAMED)
def test_rows_may_stand_in_any_order(write: Write, tmp_path: Path) -> None:
    teacher = open_scores(write(tmp_path, IDS[::-1], SCORES[::-1]), source_ids=IDS, needed=IDS)
    np.testing.assert_array_equal(teacher.ask(NONE, IDS), SCORES)


@pytest.mark.parametrize("write", NAMED)
def test_missing_rows_are_named(write: Write, tmp_path: Path) -> None:
    path = write(tmp_path, IDS[:2], SCORES[:2])
    with pytest.raises(
        BadInputError, match=r"\.\w+: has no row for 'dog/1.png', 'dog/2.png'; 2 of 4 needed rows are missing"
    ):
        open_scores(path, source_ids=IDS, needed=IDS)
    teacher = open_scores(path, source_ids=IDS, needed=IDS[:2])
    with pytest.raises(BadInputError, match=r"has no row for 'dog/2.png'"):
        teacher.ask(NONE, IDS[3:])


def test_scores_for_other_samples_are_refused(tmp_path: Path) -> None:
    others = np.array(["a", "b", "c", "d"])
    with pytest.raises(BadInputError, match=r"none of its ids is one of the data's \(the data's are like 'cat/1.png'"):
        open_scores(npz(tmp_path, others, SCORES), source_ids=IDS, needed=IDS)
    more, rows = np.append(IDS, "bird/1.png"), np.concatenate([SCORES, SCORES[:1]])
    with pytest.raises(BadInputError, match=r"has scores for 1 other sample\(s\), such as 'bird/1.png'"):
        open_scores(npz(tmp_path, more, rows), source_ids=IDS, needed=IDS)


def test_two_rows_for_one_sample_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"has two rows for 'cat/1.png'"):
        open_scores(npz(tmp_path, IDS[[0, 1, 0, 3]], SCORES), source_ids=IDS, needed=IDS)


def test_another_number_of_rows_is_refused_where_the_order_says_which_is_which(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"has 3 rows, the source 4 samples; without ids the order says"):
        open_scores(npy(tmp_path, IDS, SCORES[:3]), source_ids=IDS, needed=IDS[:2])


def test_columns_that_are_numbers_name_no_classes(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("id,0,1\n" + "".join(f"{name},0,1\n" for name in IDS))
    assert open_scores(tmp_path / "s.csv", source_ids=IDS, needed=IDS).classes is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no column 'id'"),
        ("name,cat\nx,1\n", "its first line has no column 'id'"),
        ("id,cat,dog\nx,1\n", r"row 2: has 2 fields, the first row 3"),
        ("id,cat,dog\nx,1,many\n", r"row 2 \(id 'x'\): could not convert string to float: 'many'"),
        ("id\nx\n", r"has scores of shape \(1, 0\)"),
        ("id,cat,dog\n", r"has scores of shape \(0, 2\)"),
    ],
)
def test_a_csv_that_is_no_table_of_scores_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(BadInputError, match=message):
        open_scores(tmp_path / "s.csv", source_ids=IDS, needed=IDS)


def test_a_table_of_words_or_of_pickles_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "words.npz", ids=IDS, scores=np.array([["a", "b"]] * 4))
    with pytest.raises(BadInputError, match="holds <U1; expected numbers"):
        open_scores(tmp_path / "words.npz", source_ids=IDS, needed=IDS)
    np.save(tmp_path / "objects.npy", np.array([object()] * 4))
    with pytest.raises(BadInputError, match=r"not a whole \.npy file of plain numbers"):
        open_scores(tmp_path / "objects.npy", source_ids=IDS, needed=IDS)
    np.savez(tmp_path / "other.npz", x=SCORES)
    with pytest.raises(BadInputError, match=r"array 'ids' is missing \(found: x\)"):
        open_scores(tmp_path / "other.npz", source_ids=IDS, needed=IDS)


def test_an_id_that_two_samples_of_the_source_have_is_refused(tmp_path: Path) -> None:
    source = np.array(["0", "1", "0"])  # such as the ids of a train and of a test part
    path = npz(tmp_path, np.array(["0", "1"]), SCORES[:2])
    with pytest.raises(BadInputError, match="calls 2 samples '0'; expected an id for each"):
        open_scores(path, source_ids=source, needed=source)
