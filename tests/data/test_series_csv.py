"""Windows cut out of a CSV of readings, and what a table probably means."""

from pathlib import Path

import numpy as np
import pytest

from edgekd import data
from edgekd.data.series_csv import Windows, read_series_csv
from edgekd.data.series_guess import guess_windows
from edgekd.errors import BadInputError

HEADER = "time,ax,ay,label,group"


def table(folder: Path, rows: list[str], header: str = HEADER) -> Path:
    path = folder / "readings.csv"
    path.write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    return path


def run(count: int, label: str, group: str, start: int = 0) -> list[str]:
    """Rows whose ax counts up from `start`, and whose ay is ten times that."""
    return [f"{t},{start + t},{10 * (start + t)},{label},{group}" for t in range(count)]


AXES = ("ax", "ay")


def test_a_window_reaches_over_no_change_of_label_or_group(tmp_path: Path) -> None:
    rows = [*run(5, "walk", "ann"), *run(4, "run", "ann", 100), *run(4, "run", "bob", 200)]
    pool = read_series_csv(table(tmp_path, rows), Windows(window=2, columns=AXES), classes=None)
    assert pool.train.inputs[:, :, 0].tolist() == [[0, 1], [2, 3], [100, 101], [102, 103], [200, 201], [202, 203]]
    assert pool.train.inputs[0].tolist() == [[0, 0], [1, 10]]  # (length, channels)
    assert pool.classes == ("run", "walk") and pool.train.labels.tolist() == [1, 1, 0, 0, 0, 0]
    assert pool.train.groups is not None and pool.train.groups.tolist() == ["ann"] * 4 + ["bob"] * 2
    assert pool.train.ids is not None and pool.train.ids.tolist()[:2] == ["line 2", "line 4"]
    assert pool.front == {"channels": ["ax", "ay"]}


def test_a_stride_lets_windows_overlap_and_without_groups_keeps_those_of_a_run_together(tmp_path: Path) -> None:
    path = table(tmp_path, [*run(4, "walk", "x"), *run(3, "run", "x")])
    pool = read_series_csv(path, Windows(window=2, stride=1, columns=AXES), classes=None)
    assert pool.train.inputs[:, 0, 0].tolist() == [0, 1, 2, 0, 1]
    bare = table(tmp_path, [row.rpartition(",")[0] for row in [*run(4, "walk", ""), *run(3, "run", "")]], HEADER[:-6])
    pool = read_series_csv(bare, Windows(window=2, stride=1, columns=AXES), classes=None)
    assert pool.train.groups is not None and len(set(pool.train.groups[:3])) == 1 and len(set(pool.train.groups)) == 2
    apart = read_series_csv(bare, Windows(window=2, columns=AXES), classes=None)
    assert apart.train.groups is None


def test_a_column_may_name_the_windows_and_another_their_split(tmp_path: Path) -> None:
    rows = [
        f"{w},{w * 10 + t},{'a' if w % 2 else 'b'},{'test' if w > 2 else 'train'}" for w in range(5) for t in (0, 1)
    ]
    path = table(tmp_path, rows, "id,x,class,split")
    pool = read_series_csv(path, Windows(id="id", label="class"), classes=None)
    assert pool.test is not None and pool.test.ids is not None
    assert (pool.train.inputs.shape, pool.test.ids.tolist()) == ((3, 2, 1), ["3", "4"])


def test_windows_of_two_lengths_are_refused(tmp_path: Path) -> None:
    path = table(tmp_path, ["a,1,u", "a,2,u", "b,3,v"], "id,x,label")
    with pytest.raises(BadInputError, match=r"window 'b' has 1 rows, 'a' 2; expected one length"):
        read_series_csv(path, Windows(id="id"), classes=None)


def test_rows_of_a_window_that_are_not_together_are_refused(tmp_path: Path) -> None:
    path = table(tmp_path, ["a,1,u", "b,2,u", "a,3,u"], "id,x,label")
    with pytest.raises(BadInputError, match=r"line 4: window 'a' comes again \(first in line 2\)"):
        read_series_csv(path, Windows(id="id"), classes=None)


@pytest.mark.parametrize("cell", ["nan", "", "n/a", "inf", "1e39"])
def test_a_cell_that_is_no_finite_number_is_named_by_line_and_column(cell: str, tmp_path: Path) -> None:
    rows = run(6, "walk", "ann")
    rows[3] = f"3,{cell},30,walk,ann"
    with pytest.raises(BadInputError, match=r"line 5, column 'ax': found '.*' \(1 such cells in the column\)"):
        read_series_csv(table(tmp_path, rows), Windows(window=2, columns=AXES), classes=None)


@pytest.mark.parametrize(
    ("windows", "message"),
    [
        (Windows(), r"nothing says where a window of readings begins; set data\.series\.window"),
        (Windows(window=9), r"no window of 9 rows fits into the longest run .*, 6 rows; lower data\.series\.window"),
        (Windows(window=2, columns=("az",)), r"has no column 'az' \(data\.series\.columns\)"),
        (Windows(window=2, group="subjekt"), r"has no column 'subjekt' \(data\.series\.group\)"),
        (Windows(window=2, columns=("ax", "label"), label="ay"), r"column 'label': found 'walk'"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(windows: Windows, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=message):
        read_series_csv(table(tmp_path, run(6, "walk", "ann")), windows, classes=None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", r"empty; expected a header line"),
        (b"x,label\n1,a,2\n", r"line 2: 3 cells; expected 2"),
        (b"x,x\n1,2\n", r"two columns are called 'x'"),
        (b"x,label\n\xff,a\n", r"not UTF-8"),
        (b"x,split,label\n1,dev,a\n", r"line 2: split is 'dev'; expected train, validation or test"),
        (b"x,label,group\n1,a,\n", r"line 2: 'group' is empty"),
        (b"x,split,label\n1,test,a\n", r"no row's split is 'train'"),
    ],
)
def test_a_file_that_is_no_table_is_refused(text: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_bytes(text)
    with pytest.raises(BadInputError, match=message):
        read_series_csv(tmp_path / "bad.csv", Windows(window=1), classes=None)


def test_the_source_loads_as_series_with_its_groups_apart(tmp_path: Path) -> None:
    rows = [row for k in range(8) for row in (*run(20, "walk", f"s{k}"), *run(20, "run", f"s{k}", 50))]
    found = data.load(str(table(tmp_path, rows)), series=Windows(window=5, columns=AXES), calibration_samples=4)
    assert (found.kind, found.input_shape) == ("series", (5, 2))
    assert found.train.groups is not None and found.test.groups is not None
    assert not set(found.train.groups.tolist()) & set(found.test.groups.tolist())
    assert np.unique(found.test.labels).tolist() == [0, 1]


def test_the_columns_names_say_what_a_table_means(tmp_path: Path) -> None:
    path = table(tmp_path, run(12, "walk", "ann"), "time,ax,ay,Activity,Subject")
    assert guess_windows(path) == Windows(window=12, columns=AXES, label="Activity", group="Subject")
    assert guess_windows(table(tmp_path, ["a,1,u"], "id,x,label")) == Windows(id="id", columns=("x",), label="label")
    assert guess_windows(table(tmp_path, ["a.png,u"], "path,label")) is None
    assert guess_windows(table(tmp_path, ["1,2"], "x,z")) is None
    assert guess_windows(tmp_path / "none.csv") is None
