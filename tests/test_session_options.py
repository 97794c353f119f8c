"""Session options reach ONNX Runtime and child processes, and a session.json is read whole or refused by name."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.isa import run_on
from edgekd.latency import run_round
from edgekd.session import (
    SessionOptions,
    chosen_options,
    create_session,
    options_for,
    read_options,
    within,
)
from edgekd.session_options import AFFINITIES, ALLOW_SPINNING, LEVELS, MODES, STOP_SPINNING, lingers
from edgekd.targets import load

PINNED = SessionOptions(threads=4, inter_op_threads=2, session_config={AFFINITIES: "1;2;3", "session.other": "1"})
TUNED = SessionOptions(
    threads=2,
    threads_requested=2,
    inter_op_threads=2,
    spinning=True,
    graph_optimization="basic",
    session_config={"session.dynamic_block_base": "4"},
    execution_mode="parallel",
    arena=False,
    mem_pattern=False,
)


def put(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document))
    return path


def test_what_is_not_said_is_what_onnx_runtime_does_by_default(pixel_net: Path) -> None:
    import onnxruntime

    found, usual = create_session(pixel_net, SessionOptions()).get_session_options(), onnxruntime.SessionOptions()
    for name in ("execution_mode", "enable_cpu_mem_arena", "enable_mem_pattern", "graph_optimization_level"):
        assert getattr(found, name) == getattr(usual, name)


def test_every_option_reaches_onnx_runtime(pixel_net: Path) -> None:
    found = create_session(pixel_net, TUNED).get_session_options()
    assert (found.intra_op_num_threads, found.inter_op_num_threads) == (2, 2)
    assert (found.enable_cpu_mem_arena, found.enable_mem_pattern) == (False, False)
    assert found.execution_mode.name == "ORT_PARALLEL" and found.graph_optimization_level.name == "ORT_ENABLE_BASIC"
    assert found.get_session_config_entry("session.dynamic_block_base") == "4"
    assert found.get_session_config_entry("session.intra_op.allow_spinning") == "1"


def test_the_names_of_levels_and_modes_are_onnx_runtimes_own() -> None:
    import onnxruntime

    assert all(hasattr(onnxruntime.GraphOptimizationLevel, name) for name in LEVELS.values())
    assert all(hasattr(onnxruntime.ExecutionMode, name) for name in MODES.values())


def test_options_travel_to_the_processes_that_time_and_that_compare(pixel_net: Path) -> None:
    images = np.zeros((2, 1, 8, 8, 1), dtype=np.uint8)
    assert run_round(pixel_net, images, TUNED, seconds=0.0, min_samples=3).providers == ("CPUExecutionProvider",)
    assert run_on(pixel_net, images[0], TUNED, isa="native").values.shape == (1, 3)
    sideways = SessionOptions(execution_mode="sideways")  # an option that did not travel would do no harm
    with pytest.raises(EnvironmentFault, match="sideways"):
        run_round(pixel_net, images, sideways, seconds=0.0, min_samples=3)
    with pytest.raises(EnvironmentFault, match="sideways"):
        run_on(pixel_net, images[0], sideways, isa="native")


def test_an_affinity_without_sense_is_refused_and_not_a_crash(pixel_net: Path) -> None:
    options = SessionOptions(threads=3, session_config={AFFINITIES: "1"})
    with pytest.raises(BadInputError, match=r"(?s)ONNX Runtime cannot load it.*affinit"):
        create_session(pixel_net, options)


def test_threads_are_held_to_the_cores_and_what_pins_them_goes_with_them() -> None:
    fewer = within(PINNED, cores=3)
    assert (fewer.threads, fewer.inter_op_threads, fewer.session_config) == (3, 2, {"session.other": "1"})
    assert within(PINNED, cores=1).inter_op_threads == 1
    assert within(PINNED, cores=4) == PINNED


def test_options_come_back_from_a_session_file_as_they_were(tmp_path: Path) -> None:
    path = put(tmp_path / "session.json", {"options": TUNED.as_dict(), "isa": "avx2", "tuned": {}})
    assert read_options(path) == TUNED


def test_a_session_file_from_before_there_were_such_options_is_read_with_their_defaults(tmp_path: Path) -> None:
    old = {
        "provider": "CPUExecutionProvider",
        "threads": 2,
        "threads_requested": 4,
        "inter_op_threads": 1,
        "spinning": True,
        "graph_optimization": "all",
        "session_config": {"session.x64quantprecision": "1"},
        "provider_options": {},
    }
    found = read_options(put(tmp_path / "session.json", {"options": old}))
    assert found == SessionOptions(**old)  # type: ignore[arg-type]
    assert (found.execution_mode, found.arena, found.mem_pattern) == ("sequential", True, True)


@pytest.mark.parametrize(
    ("document", "fragment"),
    [
        ([], "no JSON object"),
        ({}, "holds no session options"),
        ({"options": []}, "holds no session options"),
        ({"options": {"thread": 2}}, r"options\.thread is unknown; did you mean 'threads'"),
        ({"options": {"threads": "2"}}, r"options\.threads: input should be a valid integer"),
        ({"options": {"threads": True}}, r"options\.threads"),
        ({"options": {"threads": 0}}, r"options\.threads is 0; expected at least 1"),
        ({"options": {"inter_op_threads": -1}}, "expected at least 1, each"),
        ({"options": {"arena": "no"}}, r"options\.arena"),
        ({"options": {"session_config": {"a": 1}}}, r"options\.session_config\.a"),
        ({"options": {"graph_optimization": "most"}}, "'most'; expected all, extended, basic, disable"),
        ({"options": {"execution_mode": "both"}}, "'both'; expected sequential, parallel"),
    ],
)
def test_a_session_file_without_sense_is_refused_by_name(document: Any, fragment: str, tmp_path: Path) -> None:
    path = put(tmp_path / "session.json", document)
    with pytest.raises(BadInputError, match=fragment) as caught:
        read_options(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_session_file_that_is_no_json_is_refused(raw: bytes, tmp_path: Path) -> None:
    (tmp_path / "session.json").write_bytes(raw)
    with pytest.raises(BadInputError, match="holds no JSON"):
        read_options(tmp_path / "session.json")


def test_a_session_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.json", tmp_path):
        with pytest.raises(BadInputError, match="cannot be read"):
            read_options(path)


def test_the_options_of_a_file_stand_in_for_the_targets_within_the_cores(tmp_path: Path) -> None:
    path, target = put(tmp_path / "session.json", {"options": TUNED.as_dict()}), load("x86-1t")
    assert chosen_options(target, cores=8, session=None) == options_for(target, cores=8)
    assert chosen_options(target, cores=8, session=path) == TUNED
    assert chosen_options(target, cores=1, session=path).threads == 1


def test_options_for_another_provider_than_the_targets_are_refused(tmp_path: Path) -> None:
    path = put(tmp_path / "session.json", {"options": SessionOptions(provider="CUDAExecutionProvider").as_dict()})
    with pytest.raises(BadInputError, match="is for CUDAExecutionProvider, target x86-1t is for CPU"):
        chosen_options(load("x86-1t"), cores=8, session=path)


TWO = SessionOptions(threads=2, threads_requested=2, spinning=True)


@pytest.mark.parametrize(
    ("options", "does"),
    [
        (TWO, True),
        (replace(TWO, threads=1), False),
        (replace(TWO, threads=1, inter_op_threads=2), True),
        (replace(TWO, spinning=False), False),
        (replace(TWO, session_config={STOP_SPINNING: "1"}), False),
        (replace(TWO, session_config={ALLOW_SPINNING: "0"}), False),
        (replace(TWO, spinning=False, session_config={ALLOW_SPINNING: "1"}), True),
    ],
)
def test_only_threads_that_may_spin_and_have_company_linger(options: SessionOptions, does: bool) -> None:
    assert lingers(options) is does
