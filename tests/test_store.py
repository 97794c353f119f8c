"""A stage is used again only when its key and the bytes of its files are what they were; a run folder has one user."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.store import Stage, Store, key_of, locked, sha256, write_atomic


class Work:
    """A stage that writes one file and counts how often it ran."""

    def __init__(self, folder: Path) -> None:
        self.store, self.folder, self.count = Store(folder), folder, 0

    def __call__(self) -> tuple[Any, list[Path]]:
        self.count += 1
        path = self.folder / "weights.bin"
        path.write_bytes(b"weights")
        return {"top1": 0.5, "epochs": [1, 2]}, [path]

    def run(self, key: str = "key") -> Stage:
        return self.store.run("distill", key, self)

    @property
    def record(self) -> Path:
        return self.folder / "stages" / "distill.json"


@pytest.fixture
def work(tmp_path: Path) -> Work:
    made = Work(tmp_path)
    made.run()
    return made


def test_a_finished_stage_is_not_run_again_and_gives_the_same_result(work: Work) -> None:
    assert work.run() == work.run()
    assert work.count == 1


def test_a_later_process_finds_the_stage(work: Work) -> None:
    stage = Store(work.folder).recall("distill", "key")
    assert stage is not None
    assert stage.result == {"top1": 0.5, "epochs": [1, 2]}
    assert stage.outputs == {"weights.bin": sha256(work.folder / "weights.bin")}


def test_another_key_runs_the_stage_again(work: Work) -> None:
    work.run("other")
    assert work.count == 2
    assert work.store.recall("distill", "key") is None


@pytest.mark.parametrize("content", [b"", b"weight", b"weightz"], ids=["emptied", "cut", "edited"])
def test_a_file_that_was_touched_runs_the_stage_again(content: bytes, work: Work) -> None:
    (work.folder / "weights.bin").write_bytes(content)
    work.run()
    assert work.count == 2
    assert (work.folder / "weights.bin").read_bytes() == b"weights"


def test_a_file_that_was_deleted_runs_the_stage_again(work: Work) -> None:
    (work.folder / "weights.bin").unlink()
    work.run()
    assert work.count == 2


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'{"format": 0}',
        b'{"format": 1}',
        b'{"format": 1, "key": "key", "seconds": 1, "result": 1, "outputs": ["weights.bin"]}',
    ],
    ids=["empty", "half", "binary", "list", "null", "old", "bare", "outputs"],
)
def test_a_damaged_record_runs_the_stage_again(damaged: bytes, work: Work) -> None:
    work.record.write_bytes(damaged)
    work.run()
    assert work.count == 2
    assert work.store.recall("distill", "key") is not None


def test_a_record_cut_at_any_byte_is_never_taken_for_a_finished_stage(work: Work) -> None:
    whole = work.record.read_bytes()
    for end in range(len(whole)):
        work.record.write_bytes(whole[:end])
        assert work.store.recall("distill", "key") is None


def test_a_stage_that_fails_leaves_no_record(tmp_path: Path) -> None:
    def fail() -> tuple[Any, list[Path]]:
        raise BadInputError("no")

    with pytest.raises(BadInputError):
        Store(tmp_path).run("distill", "key", fail)
    assert not (tmp_path / "stages").exists()


def test_the_first_result_has_the_form_of_a_recalled_one(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = store.run("validate", "key", lambda: ({"rounds": ((1, 2), (3,))}, []))
    assert first.result == {"rounds": [[1, 2], [3]]}
    assert first == store.recall("validate", "key")


def test_equal_inputs_have_equal_keys_whatever_the_order_of_a_mapping() -> None:
    assert key_of({"a": 1, "b": 2}, ("x",)) == key_of({"b": 2, "a": 1}, ["x"])
    assert key_of("a", "b") != key_of("ab") != key_of(["a", "b"])
    assert key_of() == "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"  # sha256 of []


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_atomic(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomic(path, "new \ud800")
    with pytest.raises(TypeError):
        write_atomic(path, 1.0)  # type: ignore[arg-type]
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]


def test_a_second_process_is_turned_away_and_let_in_afterwards(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from edgekd.errors import EdgekdError; from edgekd.store import locked\n"
        "try:\n with locked(Path(sys.argv[1])): print('in')\nexcept EdgekdError as err: sys.exit(int(err.exit_code))"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with locked(tmp_path):
        assert subprocess.run(command, check=False).returncode == 2
    assert subprocess.run(command, check=False).returncode == 0


def test_who_takes_a_folder_removes_what_a_killed_process_left_half_written(tmp_path: Path) -> None:
    kill = (
        "import os, signal; from pathlib import Path; from edgekd.files import write_atomic\n"
        "Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"write_atomic(Path({str(tmp_path / 'weights.bin')!r}), b'half')"
    )
    subprocess.run([sys.executable, "-P", "-c", kill], check=False)
    (tmp_path / "yours.1234.tmp").touch()
    assert len(list(tmp_path.glob("*.tmp"))) == 2
    with locked(tmp_path):
        assert {path.name for path in tmp_path.iterdir()} == {".lock", "yours.1234.tmp"}


def test_the_same_process_cannot_take_a_folder_twice(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(BadInputError, match="in use by another"), locked(tmp_path):
        pass


def test_a_folder_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        raise ZeroDivisionError
    with locked(tmp_path):
        pass


def test_a_folder_below_a_file_is_the_environment_s_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFault, match="cannot write to"), locked(tmp_path / "file" / "run"):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_the_environment_s_fault(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(EnvironmentFault, match="choose another folder"), locked(tmp_path / "run"):
        pass


def test_records_are_plain_json(work: Work) -> None:
    assert set(json.loads(work.record.read_text())) == {"format", "key", "seconds", "outputs", "result"}
