"""What a session.json of a bundle says is what runs on the device, by infer.py and by `verify`, within its cores."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd import bundle
from edgekd.bundle import infer
from edgekd.files import sha256
from edgekd.machine import affinity_cores
from edgekd.session import SessionOptions, read_options
from edgekd.session_options import AFFINITIES

NEW = ("execution_mode", "arena", "mem_pattern")
TUNED = SessionOptions(
    inter_op_threads=2,
    graph_optimization="extended",
    session_config={"session.dynamic_block_base": "4"},
    execution_mode="parallel",
    arena=False,
    mem_pattern=False,
)
MANY = 999
"""Threads: more than any machine has cores."""


@pytest.fixture
def write(pixel_net: Path, draw: Callable[..., Any], tmp_path: Path) -> Callable[..., Path]:
    """A function that bundles a small classifier with some options."""

    def write(options: SessionOptions, **more: Any) -> Path:
        bundle.write(
            tmp_path / "bundle",
            model=pixel_net,
            variant="fp32",
            options=options,
            classes=(),
            target_toml="",
            reports=[],
            inputs=draw(6).inputs,
            isa="avx2",
            **more,
        )
        return tmp_path / "bundle"

    return write


def facts(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "session.json").read_text())
    return found


def change(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Edit session.json and make the manifest agree."""
    document = facts(folder)
    edit(document)
    path = folder / "session.json"
    path.write_text(json.dumps(document))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["session.json"] = {"sha256": sha256(path), "size_bytes": path.stat().st_size}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def run_infer(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(folder / "infer.py")]
    return subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)


def test_tuned_options_are_in_the_bundle_and_reach_the_device(write: Callable[..., Path]) -> None:
    folder = write(TUNED)
    assert read_options(folder / "session.json") == TUNED
    found = infer.open_session(folder / "model.onnx", facts(folder)).get_session_options()
    if affinity_cores(total=1) > 1:  # with one thread for branches ONNX Runtime runs them one after the other
        assert found.execution_mode.name == "ORT_PARALLEL"
    assert found.graph_optimization_level.name == "ORT_ENABLE_EXTENDED"
    assert (found.enable_cpu_mem_arena, found.enable_mem_pattern) == (False, False)
    assert found.get_session_config_entry("session.dynamic_block_base") == "4"
    done = run_infer(folder)
    assert done.returncode == 0, done.stderr
    assert bundle.verify(folder).passed is True


def test_a_bundle_from_before_there_were_such_options_still_verifies(write: Callable[..., Path]) -> None:
    folder = write(SessionOptions())

    def as_before(document: dict[str, Any]) -> None:
        del document["execution_mode"]
        for name in NEW:
            del document["options"][name]

    change(folder, as_before)
    assert bundle.verify(folder).passed is True
    assert read_options(folder / "session.json") == SessionOptions()


def test_verify_opens_the_network_as_the_bundle_says(write: Callable[..., Path]) -> None:
    folder = write(SessionOptions())
    change(folder, lambda document: document["options"].update(session_config={AFFINITIES: ""}))
    checks = {check.name: check for check in bundle.verify(folder).checks}
    assert checks["outputs"].passed is False and "cannot load it" in checks["outputs"].detail


def test_a_device_with_fewer_cores_runs_fewer_threads_and_says_so(write: Callable[..., Path]) -> None:
    folder = write(SessionOptions())

    def for_a_large_machine(document: dict[str, Any]) -> None:
        pinned = {AFFINITIES: ";".join("1" for _ in range(MANY - 1))}
        document["options"].update(threads=MANY, session_config=pinned)
        document["session_config"].update(pinned)

    change(folder, for_a_large_machine)
    cores = affinity_cores(total=1)
    options = infer.open_session(folder / "model.onnx", facts(folder)).get_session_options()
    assert options.intra_op_num_threads == cores
    done = run_infer(folder)
    assert (done.returncode, done.stderr) == (0, f"{MANY} threads wanted; this process has {cores} core(s)\n")
    assert bundle.verify(folder).passed is True


def test_a_bundle_of_tuned_options_says_who_measured_what(write: Callable[..., Path]) -> None:
    folder = write(TUNED, tuned={"ratio": 0.8})
    assert facts(folder)["tuned"] == {"ratio": 0.8}
    assert "`edgekd tune` measured" in (folder / "README.txt").read_text()
    assert bundle.verify(folder).passed is True
    plain = write(TUNED)
    assert "tuned" not in facts(plain) and "edgekd tune" not in (plain / "README.txt").read_text()
    assert np.load(plain / "samples.npz")["inputs"].shape[0] == 6
