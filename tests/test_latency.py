"""The timing loop on a clock that tests move by hand, and real rounds in fresh processes."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.latency import MAX_SAMPLES, Round, measure, run_round, summarise, time_runs
from edgekd.progress import Progress
from edgekd.session import SessionOptions

OPTIONS = SessionOptions(threads=1, threads_requested=4)
MS = 1_000_000


class Machine:
    """A clock and a network of known speed: run number i takes `cost(i)` milliseconds."""

    def __init__(self, cost: Callable[[int], float]) -> None:
        self.cost, self.now, self.runs = cost, 0, 0

    def clock(self) -> int:
        return self.now

    def run(self) -> None:
        self.now += round(self.cost(self.runs) * MS)
        self.runs += 1

    def time(self, *, seconds: float = 0.0, min_samples: int = 10) -> tuple[list[int], int]:
        return time_runs(self.run, seconds=seconds, min_samples=min_samples, clock=self.clock)


def a_round(samples: list[int], *, load_ms: float = 5.0, memory: int = 10**8) -> Round:
    return Round(
        samples_ns=tuple(samples),
        warmup_runs=30,
        load_ms=load_ms,
        first_inference_ms=1.0,
        peak_rss_bytes=memory,
        providers=("CPUExecutionProvider",),
        onnxruntime="1.20",
    )


def test_a_steady_machine_is_warm_after_three_blocks() -> None:
    machine = Machine(lambda _: 1.0)
    samples, warmup = machine.time()
    assert warmup == 30
    assert samples == [MS] * 10
    assert machine.runs == 40


def test_the_seconds_of_a_round_decide_on_the_number_of_samples() -> None:
    assert len(Machine(lambda _: 1.0).time(seconds=0.05)[0]) == 50


def test_a_slow_network_is_timed_until_there_are_enough_samples() -> None:
    assert len(Machine(lambda _: 1.0).time(seconds=0.05, min_samples=120)[0]) == 120


def test_a_fast_network_stops_at_the_most_samples_that_a_report_keeps() -> None:
    assert len(Machine(lambda _: 0.01).time(seconds=100)[0]) == MAX_SAMPLES


def test_the_warm_up_goes_on_until_three_blocks_in_a_row_agree() -> None:
    machine = Machine(lambda i: max(1, 5 - i // 10))  # blocks of 5, 4, 3, 2, 1, 1, 1 ms
    samples, warmup = machine.time()
    assert warmup == 70
    assert set(samples) == {MS}


def test_blocks_within_two_percent_agree_and_blocks_of_three_do_not() -> None:
    assert Machine(lambda i: 1.0 + 0.02 * (i // 10 == 1)).time()[1] == 30
    assert Machine(lambda i: 1.0 + 0.03 * (i // 10 == 1)).time()[1] == 50


def test_one_slow_run_in_a_block_does_not_lengthen_the_warm_up() -> None:
    assert Machine(lambda i: 50.0 if i % 10 == 3 else 1.0).time()[1] == 30


def test_a_machine_that_never_settles_is_warmed_up_for_two_seconds() -> None:
    machine = Machine(lambda i: 1.0 + (i // 10) % 2)  # blocks of 10 and 20 ms in turn: 134 of them end after 2.01 s
    assert machine.time()[1] == 1_340


@pytest.mark.parametrize("step", [-1.0, 0.0], ids=["goes back", "stands still"])
def test_a_clock_that_does_not_go_forward_is_a_fault_of_the_machine(step: float) -> None:
    with pytest.raises(EnvironmentFault, match="the clock went"):
        Machine(lambda i: step if i == 35 else 1.0).time()


def test_percentile_99_appears_with_the_thousandth_sample() -> None:
    below = summarise([a_round([MS] * 333)] * 3, OPTIONS, batch_size=1, isa="avx2")
    there = summarise([a_round([MS] * 500)] * 2, OPTIONS, batch_size=1, isa="avx2")
    assert (below.n, below.p99_ms, below.p99_low, below.p99_high) == (999, None, None, None)
    assert (there.n, there.p99_ms) == (1000, 1.0)


def test_a_summary_pools_samples_and_takes_the_worst_memory() -> None:
    rounds = [
        a_round([MS, 2 * MS], load_ms=7, memory=5),
        a_round([3 * MS, 4 * MS], load_ms=3, memory=9),
        a_round([5 * MS, 6 * MS], load_ms=4, memory=7),
    ]
    result = summarise(rounds, OPTIONS, batch_size=4, isa="avx2")
    assert (result.n, result.rounds, result.p50_ms, result.mean_ms) == (6, 3, 3.5, 3.5)
    assert result.throughput_per_s == pytest.approx(4 / 3.5e-3)
    assert (result.load_low, result.load_ms, result.load_high) == (3, 4, 7)
    assert result.peak_rss_bytes == 9
    assert (result.threads, result.threads_requested) == (1, 4)


@pytest.fixture
def large_parent() -> Iterator[None]:
    """300 MB that this process has touched."""
    ballast = np.ones(300_000_000, dtype=np.uint8)
    yield
    del ballast


@pytest.mark.usefixtures("large_parent")
def test_each_round_of_each_file_is_a_fresh_process_in_turn(pixel_net: Path, images: np.ndarray) -> None:
    turns: list[Progress] = []
    results = measure(
        {"one": pixel_net, "two": pixel_net},
        images,
        OPTIONS,
        batch_size=2,
        rounds=2,
        seconds=0.001,
        min_samples=12,
        isa="avx2",
        listener=turns.append,
    )
    assert [turn.note for turn in turns] == ["one", "two", "two", "one", ""]
    assert (turns[-1].done, turns[-1].total) == (4, 4)
    for latency in results.values():
        assert (latency.rounds, latency.batch_size, len(latency.samples_ns)) == (2, 2, 2)
        assert all(len(samples) >= 12 for samples in latency.samples_ns)
        assert all(runs >= 30 for runs in latency.warmup_runs)
        assert latency.n == sum(map(len, latency.samples_ns))
        assert latency.p50_low <= latency.p50_ms <= latency.p50_high
        assert latency.providers == ("CPUExecutionProvider",)
        assert latency.load_ms > 0
        assert latency.first_inference_ms > 0
        # Python, numpy and ONNX Runtime, and nothing of the parent's 300 MB.
        assert 20_000_000 < latency.peak_rss_bytes < 250_000_000
        json.dumps(latency.samples_ns)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (8, 8, 8, 1), dtype=np.uint8)


def one_round(path: Path, images: np.ndarray, **changed: object) -> Round:
    settings = {"seconds": 0.001, "min_samples": 10} | changed
    return run_round(path, images[None, :1], OPTIONS, **settings)  # type: ignore[arg-type]


def test_a_file_that_is_gone_when_its_turn_comes_is_named(images: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"gone\.onnx: ONNX Runtime cannot load it"):
        one_round(tmp_path / "gone.onnx", images)


def test_a_child_that_dies_is_a_fault_with_its_last_words(pixel_net: Path, images: np.ndarray) -> None:
    with pytest.raises(EnvironmentFault, match=r"(?s)ended with exit code 1: .*TypeError"):
        one_round(pixel_net, images, min_samples="many")


def test_a_child_that_does_not_answer_is_ended(pixel_net: Path, images: np.ndarray) -> None:
    with pytest.raises(EnvironmentFault, match=r"no answer within 0 s, the process was ended"):
        one_round(pixel_net, images, timeout_seconds=0.01)


def test_another_batch_than_the_fixed_one_is_refused(
    make_net: Callable[..., Path], images: np.ndarray, tmp_path: Path
) -> None:
    with pytest.raises(BadInputError, match=r"fixed to 4, .* batch_size = 1"):
        one_round(make_net(tmp_path / "fixed.onnx", batch=4), images)


def test_a_batch_larger_than_the_data_is_refused(pixel_net: Path, images: np.ndarray) -> None:
    with pytest.raises(BadInputError, match=r"batch size 9 is larger than the data \(8 samples\)"):
        measure({"net": pixel_net}, images, OPTIONS, batch_size=9, rounds=1, seconds=0.1, min_samples=10, isa="avx2")


def test_the_child_loads_no_torch_and_not_even_onnx(pixel_net: Path, images: np.ndarray) -> None:
    request = {"path": str(pixel_net), "dtype": "uint8", "shape": [1, 8, 8, 8, 1], "options": OPTIONS.as_dict()}
    header = json.dumps(request | {"seconds": 0.001, "min_samples": 10}).encode()
    program = "import sys; from edgekd.latency.child import main; main(); print(*sys.modules, file=sys.stderr)"
    child = subprocess.run(
        [sys.executable, "-P", "-c", program], input=header + b"\n" + images.tobytes(), capture_output=True, check=True
    )
    assert {"torch", "onnx", "scipy", "pydantic"}.isdisjoint(child.stderr.decode().split())
    assert json.loads(child.stdout)["providers"] == ["CPUExecutionProvider"]
