"""Models by name or folder: never fetched unasked, never a pickle, and every refusal says what to do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.teachers.hub import check_installed, digests, folder_of, weights


def by_path(folder: Path) -> Path:
    return folder_of(model=None, path=str(folder), revision=None, allow_download=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder, whose weights are never opened here."""
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    return tmp_path


def test_a_whole_folder_is_taken_and_its_digest_changes_with_any_part(folder: Path) -> None:
    assert by_path(folder) == folder
    before = digests(folder)
    (folder / "preprocessor_config.json").write_text("{}")
    assert digests(folder) != before
    (folder / "README.md").write_text("words")
    assert len(digests(folder)) == 3


def test_a_folder_without_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"holds no config.json; expected the folder"):
        by_path(tmp_path)
    with pytest.raises(BadInputError, match=r"holds no config\.json"):
        by_path(tmp_path / "missing")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pth", "best.ckpt"])
def test_pickles_are_refused_by_name(name: str, folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / name)
    with pytest.raises(BadInputError, match=rf"as a pickle \({name}\), which could run code and is never loaded"):
        by_path(folder)
    (folder / name).unlink()
    with pytest.raises(BadInputError, match=r"holds no \*.safetensors"):
        by_path(folder)


def test_a_shard_that_the_index_names_must_be_there(folder: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(BadInputError, match=r"lacks model-2\.safetensors, which its index names"):
        weights(folder)
    (folder / "model.safetensors.index.json").write_text("[")
    with pytest.raises(BadInputError, match="cannot be read"):
        weights(folder)


def test_a_package_that_is_not_installed_is_named_with_its_extra() -> None:
    with pytest.raises(EnvironmentFault, match=r"not installed; pip install 'edgekd\[no_such_package\]'"):
        check_installed("no_such_package")


ASK = """
import sys
from edgekd.errors import EdgekdError
from edgekd.teachers.hub import folder_of
try:
    print(folder_of(model=sys.argv[1], path=None, revision=None, allow_download=sys.argv[2] == "yes"))
except EdgekdError as err:
    print(type(err).__name__, err)
"""


def asked(name: str, *, download: bool, tmp_path: Path, **environment: str) -> str:
    """What a process says that has an empty cache and for a hub a port on which nobody listens."""
    pytest.importorskip("huggingface_hub")
    own = {"HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"} | environment
    line = [sys.executable, "-P", "-c", ASK, name, "yes" if download else "no"]
    done = subprocess.run(line, env=os.environ | own, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def test_a_name_that_is_not_here_is_not_fetched_unasked(tmp_path: Path) -> None:
    said = asked("google/vit-base-patch16-224", download=False, tmp_path=tmp_path)
    assert said.startswith("EnvironmentFault the model 'google/vit-base-patch16-224' is not on this machine")
    assert "hf download google/vit-base-patch16-224" in said and "--allow-download" in said


@pytest.mark.parametrize("offline", ["0", "1"])
def test_a_name_that_cannot_be_fetched_is_told_with_the_way_out(offline: str, tmp_path: Path) -> None:
    said = asked("google/vit-base", download=True, tmp_path=tmp_path, HF_HUB_OFFLINE=offline)
    assert said.startswith("EnvironmentFault the model 'google/vit-base' cannot be fetched"), said
    assert "is this machine offline" in said and "teacher.path" in said


def test_a_name_that_is_none_is_refused(tmp_path: Path) -> None:
    said = asked("a/b/c", download=False, tmp_path=tmp_path)
    assert said.startswith("BadInputError teacher.model = 'a/b/c' is no name on the hub; expected owner/name")
