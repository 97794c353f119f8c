"""Checkpoints: whole or not at all, and never unpickled."""

from pathlib import Path

import numpy as np
import pytest
import torch

from edgekd.core import checkpoint
from edgekd.errors import BadInputError


class Trap:
    """Unpickling an instance creates the file `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"epoch": 3, "student": {"w": torch.arange(4.0)}, "history": [{"loss": 0.5}]}, key="k")
    state = checkpoint.load(path, key="k")
    assert state is not None
    assert (state["epoch"], state["history"]) == (3, [{"loss": 0.5}])
    assert torch.equal(state["student"]["w"], torch.arange(4.0))
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_no_file_and_a_checkpoint_of_another_key_are_no_state(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    assert checkpoint.load(path, key="k") is None
    checkpoint.save(path, {"epoch": 1}, key="k")
    assert checkpoint.load(path, key="another") is None


def test_a_checkpoint_of_another_torch_or_format_is_no_state(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    for other in ({"torch": "0.0"}, {"format": 0}):
        checkpoint.save(path, {"epoch": 1, **other}, key="k")
        assert checkpoint.load(path, key="k") is None
    torch.save([1, 2], path)
    assert checkpoint.load(path, key="k") is None


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 and no more", b"\x80\x04K\x01."])
def test_a_file_that_is_no_checkpoint_is_bad_input_that_says_delete_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "last.pt"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"last\.pt is not a whole checkpoint \(.*\); delete it and run again"):
        checkpoint.load(path, key="k")


def test_truncation_anywhere_and_a_flipped_bit_in_the_weights_are_bad_input(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"w": torch.full((1000,), 7.0)}, key="k")
    raw = path.read_bytes()
    for length in np.linspace(0, len(raw) - 1, 20, dtype=int):
        path.write_bytes(raw[:length])
        with pytest.raises(BadInputError):
            checkpoint.load(path, key="k")
    place = raw.index(np.full(10, 7.0, dtype=np.float32).tobytes()) + 2
    path.write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
    with pytest.raises(BadInputError, match="checksum"):
        checkpoint.load(path, key="k")


def test_a_pickle_inside_is_refused_and_not_run(tmp_path: Path) -> None:
    path, created = tmp_path / "last.pt", tmp_path / "created"
    torch.save({"format": checkpoint.FORMAT, "key": "k", "trap": Trap(created)}, path)
    with pytest.raises(BadInputError, match="not a whole checkpoint"):
        checkpoint.load(path, key="k")
    assert not created.exists()


def test_a_write_that_fails_leaves_the_old_checkpoint_and_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"epoch": 1}, key="k")
    with pytest.raises(AttributeError):  # a function defined here cannot be saved: the write breaks off half-way
        checkpoint.save(path, {"w": torch.zeros(10), "broken": lambda: None}, key="k")
    state = checkpoint.load(path, key="k")
    assert state is not None
    assert state["epoch"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_a_folder_that_is_not_there_is_an_os_error_with_the_path(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"last\.pt"):
        checkpoint.save(tmp_path / "nowhere" / "last.pt", {}, key="k")
