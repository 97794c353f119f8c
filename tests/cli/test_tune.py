"""`tune` ends with 0 whether or not something is faster, and what it writes is what the other commands take."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from edgekd.session import read_options

from ..timing import odd_nets  # noqa: TID252  tests are no package
from .conftest import Edgekd, Finished, without_torch
from .onnx_files import linear

QUICK = ("--target", "x86-1t", "--max-seconds", "1")


def test_the_best_options_are_shown_and_written_and_taken_by_validate(tmp_path: Path, edgekd: Edgekd) -> None:
    model, out = linear(tmp_path / "[red]net.onnx"), tmp_path / "session.json"
    answer = edgekd("tune", model, *QUICK, "--out", out)
    assert answer.code == 0, answer.err
    lines = answer.out.splitlines()
    assert lines[1].startswith("the target's own") and lines[-1] == f"session {out}"
    assert any(line.startswith("best ") for line in lines) and any("no memory pattern" in line for line in lines)
    assert "warning: timed with random numbers" in answer.err
    assert read_options(out).threads == 1
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32))
    usual = ("validate", model, "--data", tmp_path / "data.npz", "--rounds", "1", "--seconds", "0")
    answer = edgekd(*usual, "--session", out, "--min-samples", "40", "--json")
    assert answer.code in (0, 3) and json.loads(answer.out)["variants"][0]["latency"]["n"] == 40
    document = json.loads(out.read_text())
    document["options"]["session_config"] = {"session.intra_op_thread_affinities": ""}
    out.write_text(json.dumps(document))
    refused = edgekd(*usual, "--session", out)
    assert refused.code == 2 and "cannot load it" in refused.err
    answer = edgekd(*usual, "--session", tmp_path / "none.json")
    assert answer.code == 2 and "none.json: cannot be read" in answer.err


@pytest.mark.slow
def test_json_is_the_whole_result(tmp_path: Path, edgekd: Edgekd) -> None:
    model = linear(tmp_path / "net.onnx")
    np.savez(tmp_path / "data.npz", x=np.ones((20, 4), np.float32))
    answer = edgekd("tune", model, *QUICK, "--data", tmp_path / "data.npz", "--json")
    found = json.loads(answer.out)
    assert answer.code == 0 and found["inputs"] == str(tmp_path / "data.npz")
    assert found["better"] == (found["high"] is not None and found["high"] < 1)
    assert {trial["axis"] for trial in found["trials"]} == {"graph optimisation", "arena", "memory pattern"}
    assert found["session"]["options"] == found["options"]


@pytest.mark.parametrize(
    ("options", "fragment"),
    [
        (["--shape", "x0=1,2"], "--shape x0=1,2"),
        (["--shape", "x"], "--shape x: expected"),
        (["--shape", "z=1,4"], "no such input"),
        (["--threads", "0"], "--threads 0"),
        (["--session-config", "key"], "expected name=value"),
        (["--data", "nowhere.npz"], "nowhere.npz"),
        (["--target", "pi9"], "unknown target 'pi9'"),
        (["--out", "."], "is a directory"),
        (["--max-seconds", "0"], "max-seconds"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    options: list[str], fragment: str, tmp_path: Path, edgekd: Edgekd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = edgekd("tune", linear(tmp_path / "net.onnx"), *options)
    assert (answer.code, answer.out) == (2, ""), answer.out
    assert fragment in answer.err


@pytest.mark.slow
def test_tuned_options_go_into_the_bundle_of_the_file_that_they_were_tuned_for(
    finished: Finished, tmp_path: Path
) -> None:
    run, session = finished.copy(tmp_path / "run"), tmp_path / "session.json"
    assert without_torch("tune", run / "model.onnx", *QUICK, "--out", session).code == 0
    for variant, code in (("fp32", 0), ("int8-u8s8", 2)):
        made = ("bundle", run, "--out", tmp_path / variant, "--variant", variant, "--session", session)
        answer = without_torch(*made)
        assert answer.code == code, answer.err
    assert "was tuned for another file" in answer.err and not (tmp_path / "int8-u8s8").exists()
    assert without_torch("verify", tmp_path / "fp32").code == 0
    tuned = json.loads((tmp_path / "fp32" / "session.json").read_text())["tuned"]
    assert tuned["target"] == "x86-1t"
    shutil.rmtree(tmp_path / "fp32")


def test_a_network_that_hangs_ends_the_tuning_with_4(edgekd: Edgekd, tmp_path: Path) -> None:
    answer = edgekd("tune", odd_nets.endless(tmp_path / "endless.onnx"), "--timeout", "1")
    assert answer.code == 4 and "the network hangs" in answer.err
