"""A result document: whole and unedited, or refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from edgekd import environment, result
from edgekd.errors import BadInputError, EnvironmentFault

CYCLES = [{"new": [1_000_000] * 4, "base": [1_000_000] * 4, "new_first": True}] * 8
TARGET = {"name": "t", "title": "T", "proxy": True, "threads": 1}


@pytest.fixture
def found(tmp_path: Path) -> dict[str, Any]:
    model = tmp_path / "net.onnx"
    model.write_bytes(b"net")
    return result.document(
        kind="compare",
        metric="time",
        model=result.file_facts(model),
        base=None,
        target=result.target_facts(TARGET),
        environment=environment.describe(),
        conditions={
            "warnings": [],
            "inputs": "random numbers",
            "isa": "avx2",
            "provider": "CPUExecutionProvider",
            "batch_size": 1,
            "threads": 1,
        },
        limits={"max_regression": 0.05},
        sources={"max_regression": "given"},
        measured={"ratio_p50": 1.0},
        raw={"cycles": CYCLES},
        gate={"verdict": "pass", "checks": [], "message": ""},
    )


def put(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document))
    return path


def test_what_is_written_is_read_again(found: dict[str, Any], tmp_path: Path) -> None:
    result.write(found, tmp_path / "deep" / "r.json")
    assert result.read(tmp_path / "deep" / "r.json") == found
    assert found["name"] == "net" and found["gate"]["variant"] == "net"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d["raw"]["cycles"][0]["new"].__setitem__(0, 1), "the hash does not fit"),
        (lambda d: d["limits"].__setitem__("max_regression", 0.5), "the hash does not fit"),
        (lambda d: d["model"].__setitem__("sha256", "0" * 64), "the hash does not fit"),
        (lambda d: d["target"].__setitem__("name", "other"), "the hash does not fit"),
        (lambda d: d["conditions"].__setitem__("threads", 9), "the hash does not fit"),
        (lambda d: d.__setitem__("fingerprint", "0" * 12), "the hash does not fit"),
        (lambda d: d.__setitem__("edgekd_result", 2), "edgekd_result is 2; expected 1"),
        (lambda d: d.__setitem__("edgekd_result", True), "edgekd_result is True"),
        (lambda d: d.pop("gate"), "'gate' is missing"),
        (lambda d: d.__setitem__("raw", []), "'raw' is missing or of another type"),
        (lambda d: d["model"].pop("sha256"), "model.sha256 is missing"),
        (lambda d: d["model"].__setitem__("size_bytes", True), "model.size_bytes is missing or of another type"),
        (lambda d: d["target"].pop("name"), "target.name is missing"),
        (lambda d: d["conditions"].__setitem__("warnings", 3), "conditions.warnings is missing or of another type"),
        (lambda d: d.__setitem__("name", "other"), "the hash does not fit"),
        (lambda d: d["environment"].__setitem__("cpu_model", "other"), "the hash does not fit"),
    ],
)
def test_an_edited_document_is_refused(found: dict[str, Any], tmp_path: Path, edit: Any, message: str) -> None:
    edit(found)
    with pytest.raises(BadInputError, match=message):
        result.read(put(tmp_path / "r.json", found))


@pytest.mark.parametrize("text", ["", "{", "[]", "1", "{}", '{"edgekd_result": NaN}', '{"edgekd_result": 1}'])
def test_what_is_no_document_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(BadInputError, match=r"r\.json"):
        result.read(tmp_path / "r.json")


def test_a_result_of_another_file_or_target_is_refused(found: dict[str, Any], tmp_path: Path) -> None:
    result.belongs(found, model=tmp_path / "net.onnx", target=TARGET)
    other = tmp_path / "other.onnx"
    other.write_bytes(b"other")
    with pytest.raises(BadInputError, match=r"not of .*other\.onnx"):
        result.belongs(found, model=other)
    with pytest.raises(BadInputError, match="not of t as it is now"):
        result.belongs(found, target=TARGET | {"threads": 2})


def test_a_place_that_cannot_be_written_is_the_machine_s_fault(found: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFault, match="cannot write"):
        result.write(found, tmp_path / "file" / "r.json")
