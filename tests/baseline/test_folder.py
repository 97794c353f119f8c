"""Baselines in a folder: names, writers at once, what cannot be read or written."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekd.baseline import FolderStore, Key
from edgekd.baseline.key import key_of
from edgekd.errors import BadInputError, EnvironmentFault

KEY = Key(name="resnet8", target="x86-1t", metric="time")
SAVE = """
import sys
from pathlib import Path
from edgekd.baseline import FolderStore, Key
store = FolderStore(folder=Path(sys.argv[1]))
for k in range(20):
    store.write(Key(name="shared", target="t", metric="time"), sys.argv[2].encode() * 100_000)
    store.write(Key(name=sys.argv[2], target=f"t{k}", metric="time"), b"1")
"""


def test_a_document_is_kept_byte_for_byte_under_its_name_target_and_metric(tmp_path: Path) -> None:
    store = FolderStore(folder=tmp_path / "a" / "store")
    assert (store.read(KEY), store.listed()) == (None, ())
    assert not store.write(KEY, b"\x00\r\n").replaced
    assert (tmp_path / "a" / "store" / "resnet8" / "x86-1t" / "time.json").read_bytes() == b"\x00\r\n"
    assert (store.read(KEY), store.listed()) == (b"\x00\r\n", (KEY,))
    assert not store.write(KEY, b"\x00\r\n").replaced and store.write(KEY, b"2").replaced


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "-option", "a/b", "a\\b", "../a", "a b", "a\n", "é", "a\x00", "x" * 101, "a:b"]
)
def test_a_name_that_could_lead_out_of_the_store_is_refused(name: str) -> None:
    for what in ("name", "target", "metric"):
        with pytest.raises(BadInputError, match=f"{what} .* cannot be that of a baseline"):
            Key(**{"name": "a", "target": "b", "metric": "c", what: name})


def test_only_paths_that_a_key_makes_are_keys() -> None:
    assert key_of(KEY.path) == KEY
    for path in ("README.md", "a/time.json", "a/b/c/time.json", "a/b/time.txt", "../b/time.json", "a/.b/time.json"):
        assert key_of(path) is None


def test_writers_at_once_leave_whole_documents_and_nothing_else(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-P", "-c", SAVE, str(tmp_path), letter], stderr=subprocess.PIPE)
        for letter in "abc"
    ]
    for writer in writers:
        _, said = writer.communicate()
        assert writer.returncode == 0, said.decode()
    shared = (tmp_path / "shared" / "t" / "time.json").read_bytes()
    assert len(shared) == 100_000 and len(set(shared)) == 1
    assert len(FolderStore(folder=tmp_path).listed()) == 61
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_folder_that_another_process_holds_too_long_is_the_machine_s_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekd.baseline.folder.LOCK_SECONDS", 0.1)
    with (tmp_path / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(EnvironmentFault, match="held by another edgekd process"):
            FolderStore(folder=tmp_path).write(KEY, b"1")


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for use in (FolderStore(folder=tmp_path / "file").listed, lambda: FolderStore(folder=tmp_path / "file").read(KEY)):
        with pytest.raises(BadInputError, match="is a file; expected a folder"):
            use()


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder with one baseline that nobody can write to, root neither."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        FolderStore(folder=place).write(KEY, b"1")
        place.chmod(0o555)
        yield place
        place.chmod(0o755)
        return
    mounted = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)]
    if shutil.which("mount") is None or subprocess.run(mounted, capture_output=True, check=False).returncode:
        pytest.skip("root may write everywhere, and may not mount a read-only tmpfs here")
    FolderStore(folder=place).write(KEY, b"1")
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    yield place
    subprocess.run(["umount", str(place)], check=False)


def test_an_unwritable_folder_is_the_machine_s_fault_and_can_still_be_read(read_only: Path) -> None:
    for folder in (read_only, read_only / "new"):
        with pytest.raises(EnvironmentFault, match=rf"cannot write the baseline to {folder}"):
            FolderStore(folder=folder).write(KEY, b"2")
    assert FolderStore(folder=read_only).read(KEY) == b"1"
