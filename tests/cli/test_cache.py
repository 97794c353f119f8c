"""`edgekd cache`: what is kept of teachers, listed and cleared."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekd import teacher_logits

from .conftest import Edgekd


def fill(folder: Path) -> None:
    def compute(view: int, start: int, stop: int) -> npt.NDArray[np.float32]:
        return np.zeros((stop - start, 3), dtype=np.float32)

    place = folder / "teacher-logits"
    with teacher_logits.opened(place, key="a" * 64, views=1, samples=10, classes=3, limit_bytes=10**6) as cache:
        cache.fill(compute)


def test_what_is_kept_is_listed_and_cleared_on_request_alone(edgekd: Edgekd, tmp_path: Path) -> None:
    assert "holds nothing" in edgekd("cache", "--folder", tmp_path).out
    fill(tmp_path)
    (tmp_path / "mine.txt").write_text("kept")
    listed = edgekd("cache", "--folder", tmp_path)
    assert listed.code == 0 and "aaaaaaaaaaaaaaaa" in listed.out and "whole" in listed.out
    entries = json.loads(edgekd("cache", "--folder", tmp_path, "--json").out)["entries"]
    assert [entry["complete"] for entry in entries] == [True]
    assert edgekd("cache", "--folder", tmp_path, "--clear").code == 0
    assert json.loads(edgekd("cache", "--folder", tmp_path, "--json").out)["entries"] == []
    assert (tmp_path / "mine.txt").read_text() == "kept"


def test_the_folder_is_that_of_the_environment_where_none_is_named(edgekd: Edgekd, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("EDGEKD_CACHE", str(tmp_path))
    fill(tmp_path)
    assert "aaaaaaaaaaaaaaaa" in edgekd("cache").out
