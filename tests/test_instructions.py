"""Instructions per inference: what is computed from counts, what is refused, and (slow) real runs under valgrind."""

import os
import platform
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.instructions import Instructions, compare_counts, count, interval
from edgekd.instructions.child import planned
from edgekd.instructions.count import alone, difference
from edgekd.instructions.tools import callgrind_total, choose, last_words, perf_total, total
from edgekd.machine import X86_MACHINES
from edgekd.progress import Progress
from edgekd.session import SessionOptions
from edgekd.timing import digest

OPTIONS = SessionOptions()

COUNTED = Instructions(
    per_inference=1000.0,
    counts=((10_400, 20_400),),
    runs=(10, 20),
    method="callgrind",
    isa="avx2",
    spread=0.0,
    feeds="a" * 64,
    feeds_used=5,
    threads=1,
    threads_requested=1,
    tool="Valgrind-3.19.0",
    onnxruntime="1.32.0",
)


def dense(path: Path, layers: int, *, width: int = 64) -> Path:
    """`layers` MatMuls with a Relu each, (1, width) to (1, width)."""
    weight = np.random.default_rng(0).normal(0, 0.1, (width, width)).astype(np.float32)
    nodes = []
    for i in range(layers):
        nodes.append(helper.make_node("MatMul", ["x" if i == 0 else f"r{i - 1}", f"w{i}"], [f"m{i}"]))
        nodes.append(helper.make_node("Relu", [f"m{i}"], [f"r{i}"]))
    weights = [numpy_helper.from_array(weight, f"w{i}") for i in range(layers)]
    return write(path, nodes, f"r{layers - 1}", TensorProto.FLOAT, (1, width), weights)


def write(path: Path, nodes: Sequence[Any], output: str, kind: int, shape: tuple[int, ...], weights: Any = ()) -> Path:
    inputs, outputs = ([helper.make_tensor_value_info(name, kind, shape)] for name in ("x", output))
    graph = helper.make_graph(nodes, "net", inputs, outputs, weights)
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    )
    onnx.checker.check_model(str(path))
    return path


def batches(number: int = 8, width: int = 64) -> dict[str, npt.NDArray[np.float32]]:
    return {"x": np.random.default_rng(1).normal(size=(number, 1, width)).astype(np.float32)}


def test_the_difference_of_two_runs_leaves_out_the_start_up() -> None:
    assert difference((590_000_000 + 300, 590_000_000 + 600), 100) == 3.0


def test_twice_the_inferences_for_no_more_instructions_is_a_fault() -> None:
    with pytest.raises(EnvironmentFault, match=r"expected more for\s+more"):
        difference((500, 500), 10)


def test_callgrinds_file_is_read_by_its_totals_or_its_summary() -> None:
    assert callgrind_total("version: 1\nevents: Ir\n\nfn=(1)\n12 34\n\ntotals: 2354190\n") == 2354190
    assert callgrind_total("events: Ir\nsummary: 77\n") == 77
    assert callgrind_total("events: Ir\n") is None


def test_what_happens_in_one_block_does_not_reach_the_total(tmp_path: Path) -> None:
    for i, number in enumerate((410, 374, 374, 190_000, 373), start=1):
        (tmp_path / f"out.{i}-01").write_text(f"totals: {number}\n")
    assert total("callgrind", tmp_path, blocks=5) == 5 * 374
    with pytest.raises(EnvironmentFault, match=r"counted no instructions \(out.6-01: empty\)"):
        total("callgrind", tmp_path, blocks=6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# started on Mon\n\n123456,,instructions:u,1000,100.00,,\n", 123456),
        ("100,,cpu_core/instructions:u/,9,100.00,,\n<not counted>,,cpu_atom/instructions:u/,0,0.00,,\n", 100),
        ("100,,cpu_core/instructions:u/,9,60.00,,\n50,,cpu_atom/instructions:u/,6,40.00,,\n", None),
        ("<not supported>,,instructions:u,0,100.00,,\n", None),
        ("0,,instructions:u,0,100.00,,\n", None),
        ("Error:\nNo permission to enable instructions:u event.\n", None),
    ],
)
def test_perf_counts_only_where_it_counted_all_the_time(text: str, expected: int | None) -> None:
    assert perf_total(text) == expected


def test_valgrinds_last_words_are_found_in_its_log(tmp_path: Path) -> None:
    assert last_words(tmp_path) == ""
    (tmp_path / "log").write_text(
        "==7== Callgrind\n==7== valgrind: Unrecognised instruction at address 0x48.\n==7== \n"
        "==7== Process terminating with default action of signal 4 (SIGILL)\n==7== at 0x1\n"
    )
    assert last_words(tmp_path) == (
        "valgrind: Unrecognised instruction at address 0x48.; "
        "Process terminating with default action of signal 4 (SIGILL)"
    )


@pytest.mark.parametrize(
    ("runs", "seconds", "method", "feeds", "expected"),
    [
        (100, 0.02, "callgrind", 5, 100),
        (100, 0.001, "callgrind", 5, 500),  # 1 s of a quick one
        (101, 0.02, "callgrind", 5, 200),  # equal blocks of each feed equally often
        (100, 0.25, "callgrind", 5, 20),  # 10 s of inferences that counting makes twice as slow
        (100, 9.0, "callgrind", 5, 5),
        (100, 9.0, "callgrind", 3, 6),
        (100, 0.001, "perf", 5, 1000),  # a second of them
        (100, 1.0, "perf", 1, 10),
    ],
)
def test_slow_networks_get_fewer_inferences_and_quick_ones_more(
    runs: int, seconds: float, method: Any, feeds: int, expected: int
) -> None:
    assert planned(runs, seconds, method=method, feeds=feeds) == expected


def test_a_result_is_no_surer_than_half_a_percent_or_its_repeats() -> None:
    assert interval(COUNTED) == 0.005
    assert (COUNTED.low, COUNTED.high) == pytest.approx((995.0, 1005.0))
    assert interval(replace(COUNTED, spread=0.02)) == 0.02


def test_a_ratio_has_the_uncertainty_of_the_less_sure_result() -> None:
    ratio = compare_counts(replace(COUNTED, per_inference=1100.0, spread=0.01), COUNTED)
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((1.1, 1.089, 1.111))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"method": "perf"}, "different methods .* has perf, the base has callgrind"),
        ({"isa": "avx512_vnni"}, "different instruction sets"),
        ({"feeds": "b" * 64}, "different inputs"),
    ],
)
def test_counts_that_were_not_made_alike_are_not_compared(change: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        compare_counts(replace(COUNTED, **change), COUNTED)


def test_the_inputs_digest_follows_values_types_and_shapes_but_not_names() -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert digest({"x": values}) == digest({"input": values})
    others = (values + 1, values.astype(np.float64), values.reshape(3, 2))
    assert len({digest({"x": v}) for v in (values, *others)}) == 4


def test_any_number_of_threads_becomes_one_that_does_not_spin() -> None:
    config = {"session.intra_op_thread_affinities": "1", "session.set_denormal_as_zero": "1"}
    made = alone(replace(OPTIONS, threads=4, threads_requested=8, inter_op_threads=2, spinning=True,
                             session_config=config))  # fmt: skip
    assert (made.threads, made.inter_op_threads, made.spinning, made.threads_requested) == (1, 1, False, 8)
    assert made.session_config == {"session.set_denormal_as_zero": "1"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"runs": 4}, "at least 5"),
        ({"repeats": 0}, "at least 5 and 1"),
        ({"feeds": {}}, "feeds to count instructions on: none"),
        ({"feeds": {"x": np.zeros((0, 1, 64), np.float32)}}, "1 or more"),
        ({"feeds": {"x": np.zeros((2, 1)), "y": np.zeros((3, 1))}}, "the same number"),
        ({"feeds": {"x": np.array([["a"]], dtype=object)}}, "inputs x are no numbers"),
        ({"options": replace(OPTIONS, provider="CUDAExecutionProvider")}, "choose a CPU target"),
    ],
)
def test_what_cannot_be_counted_is_bad_input(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    wanted = {"feeds": batches(), "options": OPTIONS, **changes}
    with pytest.raises(BadInputError, match=said):
        count(dense(tmp_path / "net.onnx", 1), wanted.pop("feeds"), wanted.pop("options"), **wanted)


def put(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH, on a machine that says x86-64."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    return folder


def test_a_machine_without_any_counter_is_told_how_to_get_one(tools: Path) -> None:
    with pytest.raises(EnvironmentFault, match="apt-get install valgrind"):
        choose(None)
    with pytest.raises(EnvironmentFault, match="perf_event_paranoid"):
        choose("perf")


def test_perf_is_taken_only_where_it_counts(tools: Path) -> None:
    put(tools, "valgrind", "exit 1")
    put(tools, "true", "exit 0")
    put(tools, "perf", "echo '<not supported>,,instructions:u,0,100.00,,' >&2")
    assert choose(None) == "callgrind"
    put(tools, "perf", "echo '812345,,instructions:u,4,100.00,,' >&2")
    assert (choose(None), choose("callgrind")) == ("perf", "callgrind")


def test_a_run_that_hangs_is_ended_and_tried_once_more(tools: Path, tmp_path: Path) -> None:
    put(tools, "valgrind", f"echo x >> {tmp_path}/started\nexec /bin/sleep 60")
    with pytest.raises(EnvironmentFault, match="no answer within 0 s, 2 times, from valgrind"):
        count(dense(tmp_path / "net.onnx", 1), batches(), OPTIONS, timeout_seconds=0.3)
    assert (tmp_path / "started").read_text() == "x\nx\n"


def test_a_run_that_a_signal_ends_is_told_by_its_name(tools: Path, tmp_path: Path) -> None:
    put(tools, "valgrind", "kill -ILL $$")
    with pytest.raises(EnvironmentFault, match=r"under callgrind ended with signal 4 \(SIGILL\)"):
        count(dense(tmp_path / "net.onnx", 1), batches(), OPTIONS)


@pytest.mark.skipif(platform.machine().lower() not in X86_MACHINES, reason="needs x86-64")
def test_a_child_that_is_not_under_valgrind_says_so(tools: Path, tmp_path: Path) -> None:
    put(tools, "valgrind", 'while [ "${1#--}" != "$1" ]; do shift; done\nexec "$@"')
    with pytest.raises(EnvironmentFault, match="no valgrind around this process"):
        count(dense(tmp_path / "net.onnx", 1), batches(), OPTIONS)


needs_valgrind = pytest.mark.usefixtures("valgrind")


@pytest.mark.slow
@needs_valgrind
def test_repeats_agree_within_half_a_percent_and_a_file_with_itself_is_one(tmp_path: Path) -> None:
    said: list[Progress] = []
    found = count(dense(tmp_path / "net.onnx", 4), batches(), OPTIONS, runs=20, repeats=2, method="callgrind",
                  listener=said.append)  # fmt: skip
    assert (found.method, found.isa, found.feeds_used) == ("callgrind", "avx2", 5)
    assert found.runs[1] == 2 * found.runs[0] >= 40
    assert found.spread < 0.005
    assert found.low < found.per_inference < found.high
    assert [p.done for p in said] == [0, 1, 2, 3, 4]
    assert compare_counts(found, found).value == 1.0


@pytest.mark.slow
@needs_valgrind
def test_twice_the_layers_are_twice_the_instructions_of_the_network(tmp_path: Path) -> None:
    """The call itself costs the same whatever the network, so three files: what 20 layers add, 20 more add again."""
    one, two, three = (
        count(dense(tmp_path / f"{n}.onnx", n), batches(), OPTIONS, runs=5, method="callgrind").per_inference
        for n in (10, 30, 50)
    )
    assert (three - two) / (two - one) == pytest.approx(1.0, abs=0.1)


@pytest.mark.slow
@needs_valgrind
def test_a_crash_under_valgrind_is_told_with_its_signal_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process reads address 0 under the real valgrind, as a broken kernel does; ONNX Runtime checks its networks
    too well for a file that does it from one version to the next."""
    real, folder = shutil.which("valgrind"), tmp_path / "bin"
    folder.mkdir()
    options = 'all=""; while [ "${1#--}" != "$1" ]; do all="$all $1"; shift; done'
    put(folder, "valgrind", f"{options}\nexec {real} $all \"$1\" -c 'import ctypes; ctypes.string_at(0)'")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EnvironmentFault, match=r"ended with signal 11 \(SIGSEGV\): Process terminating"):
        count(dense(tmp_path / "net.onnx", 1), batches(), OPTIONS, method="callgrind")
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("vgcore")) == ["bin", "net.onnx"]


@pytest.mark.slow
@needs_valgrind
def test_inputs_that_do_not_fit_are_bad_input(tmp_path: Path) -> None:
    net = dense(tmp_path / "net.onnx", 1)
    with pytest.raises(BadInputError, match="takes x; inputs were given for other"):
        count(net, {"other": batches()["x"]}, OPTIONS, method="callgrind")
    with pytest.raises(BadInputError, match="cannot run it on these inputs"):
        count(net, batches(width=63), OPTIONS, method="callgrind")
