"""A report is written whole and reads back equal; a damaged one is refused with what to do."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgekd import report as reports
from edgekd.errors import BadInputError, EnvironmentFault

from .sample import build


def test_a_written_report_reads_back_equal_and_leaves_no_temporary_file(written: reports.Written) -> None:
    assert reports.read(written.json) == build()
    names = {path.name for path in written.json.parent.iterdir()}
    assert names == {"report.json", "report.md", "report.html", "junit.xml"}


def test_raw_samples_take_one_line_a_round(written: reports.Written) -> None:
    lines = written.json.read_text(encoding="utf-8").splitlines()
    assert sum(line.count(",") >= 399 for line in lines) == 6 * 3 + 2 + 1  # and two entropies, the predictions


def test_the_same_report_gives_the_same_bytes(written: reports.Written, tmp_path: Path) -> None:
    again = reports.write(build(), tmp_path)
    for first, second in zip(written.json.parent.iterdir(), again.json.parent.iterdir(), strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_a_failed_write_keeps_the_old_report_and_no_temporary_file(tmp_path: Path) -> None:
    written = reports.write(build(), tmp_path)
    before = written.json.read_bytes()
    written.markdown.unlink()
    written.markdown.mkdir()  # replacing a folder by a file fails, also for root
    with pytest.raises(OSError, match=r"report\.md"):
        reports.write(build(seed=1), tmp_path)
    assert not list(tmp_path.glob("*.tmp"))
    assert written.json.read_bytes() != before  # the data went first
    assert reports.read(written.json) == build(seed=1)


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_a_missing_package_is_named_and_costs_no_data(
    package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EnvironmentFault, match=rf'{package}.*pip install "edgekd\[report\]"'):
        reports.write(build(), tmp_path)
    with pytest.raises(EnvironmentFault, match=package):  # and before anything is measured
        reports.check_packages()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["junit.xml", "report.json", "report.md"]


def test_importing_the_report_loads_neither_torch_nor_the_drawing_packages() -> None:
    code = "import sys, edgekd.report; print({'torch', 'jinja2', 'matplotlib'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def _without(key: str) -> Callable[[str], str]:
    return lambda text: json.dumps({name: value for name, value in json.loads(text).items() if name != key})


def _with(**values: Any) -> Callable[[str], str]:
    return lambda text: json.dumps(json.loads(text) | values)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: "", "empty"),
        (lambda text: text[: len(text) // 2], "not whole JSON"),
        (lambda text: "[]", "expected an object"),
        (lambda text: "{}", "schema_version is None"),
        (_with(schema_version=2), "schema_version is 2; this edgekd reads 4"),
        (_without("gate"), "no gate"),
        (_with(variants={}), "variants is .*; expected a list"),
        (_with(teacher="wrn"), "teacher is 'wrn'; expected an object or null"),
        (_with(gate={"verdict": "maybe"}), "gate.verdict is 'maybe'; expected one of pass"),
    ],
)
def test_a_damaged_report_is_bad_input(
    damage: Callable[[str], str], message: str, written: reports.Written, tmp_path: Path
) -> None:
    path = tmp_path / "report.json"
    path.write_text(damage(written.json.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(BadInputError, match=message):
        reports.read(path)


def test_a_missing_or_binary_report_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no such file"):
        reports.read(tmp_path / "report.json")
    (tmp_path / "report.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInputError, match="not whole JSON"):
        reports.read(tmp_path / "report.json")
