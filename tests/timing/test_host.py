"""Sessions in a process of their own: timed in blocks, and whoever started it survives what the network does."""

import os
import signal
import time
from pathlib import Path

import pytest

from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.session import SessionOptions
from edgekd.timing import Contestant, Host, feeds_for

from . import odd_nets

CPU = SessionOptions()


def contestant(path: Path, options: SessionOptions = CPU) -> Contestant:
    return Contestant(path=path, options=options, feeds=feeds_for(path)[0])


def test_a_block_has_a_positive_time_for_every_inference_and_the_processor_s_time(pixel_net: Path) -> None:
    with Host({"a": contestant(pixel_net), "b": contestant(pixel_net)}) as host:
        blocks = [host.block(name, runs) for name, runs in (("a", 10), ("b", 1))]
        assert [len(block.ns) for block in blocks] == [10, 1]
        assert all(ns > 0 for block in blocks for ns in block.ns)
        assert blocks[0].cpu_ns > 0
        assert host.opened["a"].providers == ("CPUExecutionProvider",)
        assert host.opened["a"].load_ms > 0
        assert host.opened["a"].constant is False
        assert host.reopen("a").load_ms > 0


def test_more_inferences_take_longer_together(tmp_path: Path) -> None:
    with Host({"net": contestant(odd_nets.dense(tmp_path / "n.onnx", width=64))}) as host:
        few, many = (sum(host.block("net", runs).ns) for runs in (10, 1000))
    assert many > few


def test_one_answer_to_all_inputs_is_noticed(tmp_path: Path) -> None:
    with Host({"net": contestant(odd_nets.constant(tmp_path / "n.onnx"))}) as host:
        assert host.opened["net"].constant is True


def test_one_input_is_told_from_another_of_its_kind(tmp_path: Path, pixel_net: Path) -> None:
    for path, is_constant in ((odd_nets.constant(tmp_path / "n.onnx"), True), (pixel_net, False)):
        feeds = {"x": feeds_for(path)[0]["x"][:1]}
        with Host({"net": Contestant(path=path, options=CPU, feeds=feeds)}) as host:
            assert host.opened["net"].constant is is_constant


def test_a_network_that_hangs_is_ended_and_the_parent_goes_on(tmp_path: Path) -> None:
    path = odd_nets.endless(tmp_path / "n.onnx")
    host = Host({"net": contestant(path)}, timeout_seconds=1.0)
    with pytest.raises(EnvironmentFault, match="no answer within 1 s, the process was ended; the network hangs"), host:
        pass
    with pytest.raises(ProcessLookupError):
        os.kill(host.pid, 0)


def test_a_network_that_hangs_only_later_is_ended_too(tmp_path: Path) -> None:
    with Host({"net": contestant(odd_nets.dense(tmp_path / "n.onnx"))}, timeout_seconds=0.2) as host:
        os.kill(host.pid, signal.SIGSTOP)
        with pytest.raises(EnvironmentFault, match="no answer within 1 s"):
            host.block("net", 4)


def test_a_crash_of_the_runtime_is_told_with_its_signal(tmp_path: Path) -> None:
    with Host({"net": contestant(odd_nets.dense(tmp_path / "n.onnx"))}) as host:
        os.kill(host.pid, signal.SIGSEGV)
        with pytest.raises(EnvironmentFault, match=r"n\.onnx: the process that ran it ended with signal 11"):
            host.block("net", 1)


def test_more_memory_than_the_device_has_is_an_error_that_says_so(tmp_path: Path) -> None:
    path = odd_nets.greedy(tmp_path / "n.onnx", gigabytes=1)
    with (
        pytest.raises(EnvironmentFault, match="needs more than the 256 MiB it may take"),
        Host({"net": contestant(path)}, memory_bytes=256 * 2**20),
    ):
        pass


def test_memory_that_is_enough_is_no_matter(pixel_net: Path) -> None:
    with Host({"net": contestant(pixel_net)}, memory_bytes=2**30) as host:
        assert host.opened["net"].peak_rss_bytes < 2**30


def test_a_provider_that_is_not_installed_is_the_machine_s_fault(pixel_net: Path) -> None:
    options = SessionOptions(provider="QNNExecutionProvider")
    with (
        pytest.raises(EnvironmentFault, match="QNNExecutionProvider is not in this onnxruntime"),
        Host({"net": contestant(pixel_net, options)}),
    ):
        pass


def test_inputs_that_the_network_cannot_take_are_told_in_the_runtime_s_words(pixel_net: Path, float_net: Path) -> None:
    wrong = Contestant(path=pixel_net, options=CPU, feeds=feeds_for(float_net)[0])
    with pytest.raises(BadInputError, match="ONNX Runtime cannot run it on x"), Host({"net": wrong}):
        pass


def test_a_process_whose_threads_would_spin_on_is_stopped_between_its_blocks(tmp_path: Path) -> None:
    path = odd_nets.dense(tmp_path / "n.onnx", width=256)
    spinning = SessionOptions(threads=2, threads_requested=2, spinning=True)

    def state(host: Host) -> str:
        time.sleep(0.05)
        return Path(f"/proc/{host.pid}/stat").read_text().rpartition(")")[2].split()[0]

    with Host({"net": contestant(path, spinning)}) as host:
        assert state(host) == "T"
        assert len(host.block("net", 5).ns) == 5
        assert state(host) == "T"
    with Host({"net": contestant(path)}) as host:
        host.block("net", 5)
        assert state(host) == "S"


def test_the_child_ends_when_whoever_started_it_was_killed(pixel_net: Path, tmp_path: Path) -> None:
    parent = os.fork()
    if parent == 0:
        host = Host({"net": contestant(pixel_net)}).__enter__()
        (tmp_path / "pid").write_text(str(host.pid))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(parent, 0)
    child = Path(f"/proc/{(tmp_path / 'pid').read_text()}/stat")
    for _ in range(100):
        if not child.exists() or child.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.05)
    pytest.fail("the process that holds the sessions is still there")
