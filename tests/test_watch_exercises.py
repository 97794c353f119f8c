"""The real recordings are read out of a wheel's pickle without loading it."""

import io
import pickle  # noqa: TID251  written here, never loaded
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.watch_exercises import MEMBER, write


def wheel(folder: Path, data: dict[str, Any]) -> Path:
    file = io.BytesIO()
    array = np.array(data, dtype=object)
    np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
    file.write(pickle.dumps(array, protocol=2))
    with zipfile.ZipFile(folder / "a.whl", "w") as archive:
        archive.writestr(MEMBER, file.getvalue())
    return folder / "a.whl"


DATA = {
    "X_labels": ["ax"],
    "X": [np.arange(12.0).reshape(2, 6), np.asfortranarray(np.arange(18.0).reshape(3, 6)), np.ones((1, 6))],
    "y_labels": ["PEN", "ABD"],
    "y": np.array([1, 0, 1]),
    "subject": np.array([3, 4, 3]),
}


def test_each_reading_becomes_a_row_with_its_exercise_and_subject(tmp_path: Path) -> None:
    assert write(wheel(tmp_path, DATA), tmp_path / "a.csv") == 6
    rows = (tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()
    assert rows[:2] == ["ax,ay,az,wx,wy,wz,label,group", "0,1,2,3,4,5,ABD,subject 3"]
    assert rows[4] == "6,7,8,9,10,11,PEN,subject 4"
    assert rows[6] == "1,1,1,1,1,1,ABD,subject 3"


class Bad:
    """What a pickle from a stranger may do when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "it ran")


def test_what_a_pickle_would_call_is_not_called(tmp_path: Path) -> None:
    assert write(wheel(tmp_path, DATA | {"side": Bad(tmp_path / "trap")}), tmp_path / "a.csv") == 6
    assert not (tmp_path / "trap").exists()


def test_a_file_of_another_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"laid out in another way; expected seglearn 1\.2\.5"):
        write(wheel(tmp_path, {"X": [np.ones((1, 6))]}), tmp_path / "a.csv")
    assert not (tmp_path / "a.csv").exists()
