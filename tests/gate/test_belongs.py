"""A report counts for the file and the target that it was measured with, and for no other."""

from pathlib import Path
from typing import Any

import pytest

from edgekd.errors import BadInputError
from edgekd.files import sha256
from edgekd.gate import check_belongs

from .sample import TARGET, report


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"weights")
    return path


def report_of(model: Path) -> dict[str, Any]:
    return report(sha256=sha256(model))


def test_the_file_and_the_target_of_the_report_are_taken(model: Path) -> None:
    check_belongs(report_of(model))
    check_belongs(report_of(model), model=model, target=TARGET)


def test_another_file_is_refused_and_a_variant_that_lost_is_named(model: Path) -> None:
    made = report_of(model)
    model.write_bytes(b"other weights")
    with pytest.raises(BadInputError, match=r"model\.onnx: its SHA-256 is \w{12}, the report's int8-u8s8 has \w{12};"):
        check_belongs(made, model=model)
    made["variants"][0]["sha256"] = sha256(model)
    with pytest.raises(BadInputError, match="it is the variant fp32, which did not win"):
        check_belongs(made, model=model)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no such file"):
        check_belongs(report(), model=tmp_path / "none.onnx")


def test_another_target_is_refused_also_under_the_same_name(model: Path) -> None:
    made = report_of(model)
    with pytest.raises(BadInputError, match="the report is of target 'x86-1t', not of 'raspberry-pi-5'"):
        check_belongs(made, target=TARGET | {"name": "raspberry-pi-5"})
    with pytest.raises(BadInputError, match=r"target x86-1t is not as it is now: spinning, threads differ"):
        check_belongs(made, target=TARGET | {"threads": 2, "spinning": None})
