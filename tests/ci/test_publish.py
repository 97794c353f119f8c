"""Files appear whole, in folders that are made, or not at all."""

from pathlib import Path

import pytest

from edgekd import ci
from edgekd.errors import BadInputError, EnvironmentFault

from . import sample


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> list[ci.Document]:
    return [ci.read(sample.saved(sample.compared(0.97), tmp_path_factory.mktemp("results") / "result.json"))]


def test_every_format_is_written_into_folders_that_are_made(documents: list[ci.Document], tmp_path: Path) -> None:
    outs = {name: tmp_path / "deep" / name for name in ci.FORMATS}
    ci.publish(documents, outs=outs)
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == sorted(ci.FORMATS)
    assert all(path.read_text(encoding="utf-8").endswith("\n") for path in outs.values())


def test_a_path_that_cannot_be_written_is_the_machines_fault(documents: list[ci.Document], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "junit.xml", tmp_path):
        with pytest.raises(EnvironmentFault, match="cannot write"):
            ci.publish(documents, outs={"junit": path})
    with pytest.raises(EnvironmentFault, match="cannot write"):
        ci.add_summary(documents, tmp_path / "none" / "summary.md")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_two_outputs_or_an_output_and_a_result_cannot_share_a_path(
    documents: list[ci.Document], tmp_path: Path
) -> None:
    before = documents[0].path.read_bytes()
    with pytest.raises(BadInputError, match="--summary"):
        ci.publish(documents, outs={"junit": tmp_path / "a", "summary": tmp_path / "x" / ".." / "a"})
    with pytest.raises(BadInputError, match="--junit"):
        ci.publish(documents, outs={"junit": documents[0].path})
    assert documents[0].path.read_bytes() == before and list(tmp_path.iterdir()) == []


def test_the_step_summary_is_added_to_what_is_there(documents: list[ci.Document], tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    path.write_text("before\n")
    ci.add_summary(documents, path)
    ci.add_summary(documents, path)
    text = path.read_text(encoding="utf-8")
    assert text.startswith("before\n### ") and text.count("### ") == 2


def test_the_step_summary_never_outgrows_what_github_keeps(documents: list[ci.Document], tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    path.write_bytes(b"x" * (2**20 - 20))
    ci.add_summary(documents, path)
    assert path.stat().st_size <= 2**20
