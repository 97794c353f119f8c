"""`edgekd cache`: what is kept of teachers, listed and cleared."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edgekd import decoded, teacher_logits
from edgekd.errors import BadInputError
from edgekd.teachers.answers import Answers, Head, clear

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


def answered(folder: Path) -> Answers:
    """What an endpoint said of two samples, as kept in a folder that `edgekd cache` looks into."""
    answers = Answers(folder / "endpoint-answers" / ("b" * 32))
    answers.begin(Head(width=3, classes=None, endpoint="https://scores.example.com/v1"))
    answers.put([bytes(32), bytes([1] * 32)], np.zeros((2, 3), dtype=np.float32))
    return answers


def test_what_endpoints_answered_is_listed_and_cleared_by_its_own_option_alone(edgekd: Edgekd, tmp_path: Path) -> None:
    fill(tmp_path)
    answered(tmp_path)
    listed = edgekd("cache", "--folder", tmp_path)
    assert "https://scores.example.com/v1" in listed.out and listed.code == 0
    assert edgekd("cache", "--folder", tmp_path, "--clear").code == 0
    kept = json.loads(edgekd("cache", "--folder", tmp_path, "--json").out)
    assert kept["entries"] == [] and [one["samples"] for one in kept["answers"]] == [2]
    cleared = edgekd("cache", "--folder", tmp_path, "--clear-answers")
    assert cleared.code == 0 and "cleared from" in cleared.out
    assert json.loads(edgekd("cache", "--folder", tmp_path, "--json").out)["answers"] == []
    assert len(Answers(tmp_path / "endpoint-answers" / ("b" * 32))) == 0


def test_answers_that_a_run_uses_are_not_cleared_under_it(tmp_path: Path) -> None:
    used = answered(tmp_path)
    with pytest.raises(BadInputError, match="in use by another edgekd process and kept"):
        clear(tmp_path / "endpoint-answers")
    np.testing.assert_array_equal(used.scores([bytes(32)]), [[0, 0, 0]])
    del used
    assert [one.samples for one in clear(tmp_path / "endpoint-answers")] == [2]


def test_decoded_samples_are_listed_with_their_source_and_cleared(edgekd: Edgekd, tmp_path: Path) -> None:
    source = tmp_path / "source.bin"
    source.write_bytes(bytes(12))
    decoded.Storage(mode="disk", folder=tmp_path / "decoded").keep(
        source=source,
        files=[("source.bin", source)],
        settings={},
        row=(3,),
        dtype=np.uint8,
        count=4,
        read=lambda start: iter([np.zeros((4 - start, 3), dtype=np.uint8)]),
    )
    assert "source.bin" in edgekd("cache", "--folder", tmp_path).out
    (entry,) = json.loads(edgekd("cache", "--folder", tmp_path, "--json").out)["decoded"]
    assert entry["source"] == str(source) and entry["complete"]
    assert edgekd("cache", "--folder", tmp_path, "--clear").code == 0
    assert json.loads(edgekd("cache", "--folder", tmp_path, "--json").out)["decoded"] == []
    assert source.exists()
