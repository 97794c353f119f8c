"""A sweep over real networks: what it finds is proved afresh or not claimed, and what changes outputs is refused."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from edgekd.errors import BadInputError
from edgekd.files import sha256
from edgekd.machine import cores_here
from edgekd.progress import Progress
from edgekd.session import SessionOptions, options_for, read_options
from edgekd.tune import AXES, Tuned, tune

from .nets import branched, chain, gelu, target

ONE = target(name="one", threads=1, spinning=False)


def check(tuned: Tuned) -> None:
    """What holds of every result."""
    assert tuned.better == (tuned.high is not None and tuned.high < 1)
    assert bool(tuned.changes) == tuned.better and (tuned.better or tuned.options == tuned.own)
    for each in (*tuned.trials, tuned):
        if each.low is not None and each.high is not None and each.ratio is not None:
            assert 0 < each.low <= each.ratio <= each.high < math.inf
    for trial in tuned.trials:
        assert trial.changes and trial.axis in AXES
        assert (trial.cpu_ms is None) == (trial.p50_ms is None) == (trial.cycles == 0)
    json.dumps(tuned.as_dict(), allow_nan=False)


def test_a_sweep_answers_with_every_candidate_and_a_session_file_of_the_best(tmp_path: Path) -> None:
    path, heard = chain(tmp_path / "net.onnx"), list[Progress]()
    axes = ("spinning", "arena", "memory pattern")
    tuned = tune(path, ONE, axes=axes, max_seconds=0.01, listener=heard.append)
    check(tuned)
    arena, pattern = tuned.trials  # one thread has nothing to spin for
    assert (arena.name, pattern.name) == ("no arena", "no memory pattern")
    assert arena.cycles >= 8 and arena.p50_ms and arena.cpu_ms and arena.high
    assert pattern.verdict == "not tried" and "--max-seconds" in pattern.note
    assert tuned.own == options_for(ONE, cores=1) and tuned.inputs == "random numbers"
    assert any("tune on the device" in warning for warning in tuned.warnings)
    assert any("--data" in warning for warning in tuned.warnings)
    assert all(0 <= each.done <= each.total for each in heard) and heard[-1].done == heard[-1].total
    file = tmp_path / "session.json"
    file.write_text(json.dumps(tuned.session))
    assert read_options(file) == tuned.options
    assert tuned.session["tuned"]["model_sha256"] == sha256(path)
    assert tuned.session["input"]["name"] == "x" and tuned.session["outputs"] == [{"name": "y", "kind": "values"}]


def test_options_that_change_the_outputs_are_refused_by_name(tmp_path: Path) -> None:
    rough = {"optimization.enable_gelu_approximation": "1"}  # which the lower levels do not know
    path = gelu(tmp_path / "net.onnx")
    tuned = tune(path, ONE, axes=("graph optimisation",), session_config=rough, max_seconds=0.01)
    check(tuned)
    found = {trial.name: trial for trial in tuned.trials}
    for level in ("basic", "disable"):
        trial = found[f"graph optimisation {level}"]
        assert trial.verdict == "refused" and "changes the outputs: output 0 differs by up to" in trial.note
    assert tuned.options.session_config == rough


@pytest.mark.parametrize("threads", [0, 10_000])
def test_more_threads_than_cores_or_none_are_bad_input(threads: int, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=rf"--threads {threads}: this process has {cores_here()} core"):
        tune(chain(tmp_path / "net.onnx"), ONE, threads=threads)


def test_a_file_that_is_no_network_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"rubbish")
    with pytest.raises(BadInputError, match=r"net\.onnx"):
        tune(tmp_path / "net.onnx", ONE)


def test_a_network_of_several_inputs_gets_its_options_without_a_description_of_its_input(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    values = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", 4]) for name in ("a", "b", "sum")]
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["sum"])], "two", values[:2], values[2:])
    path = tmp_path / "two.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    tuned = tune(path, ONE, axes=(), max_seconds=1.0)
    check(tuned)
    assert tuned.session["input"] is None and tuned.session["options"] == tuned.own.as_dict()


@pytest.mark.slow
def test_a_target_that_leaves_much_to_gain_is_beaten_or_nothing_is_claimed(tmp_path: Path) -> None:
    wasteful = target(name="wasteful", graph_optimization="disable", threads=min(2, cores_here()))
    tuned = tune(branched(tmp_path / "net.onnx"), wasteful, max_seconds=25.0)
    check(tuned)
    offered = {trial.axis for trial in tuned.trials}
    assert {"graph optimisation", "arena", "memory pattern"} <= offered
    if wasteful.threads > 1:
        assert {"threads", "execution"} <= offered
    assert all(read_back(trial.changes, wasteful.threads) for trial in tuned.trials)


def read_back(changes: Any, most: int) -> bool:
    """Whether a candidate stays within the target's threads."""
    usual = SessionOptions(threads=most)
    return int(changes.get("threads", usual.threads)) * int(changes.get("inter_op_threads", 1)) <= most
