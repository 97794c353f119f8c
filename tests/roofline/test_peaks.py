"""The machine's peaks are measured, kept and read again; a kernel is placed under them."""

import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.kernels import Node
from edgekd.operators import Tensor
from edgekd.progress import Progress
from edgekd.roofline import Bandwidth, Peak, Peaks, measure, peaks_for, place, worth_changing
from edgekd.roofline.nets import products, stream
from edgekd.session import SessionOptions

CPU = SessionOptions()


def peak(best: float) -> Peak:
    return Peak(best=best, median=best, runs=3)


PEAKS = Peaks(
    fp32=peak(1e9),
    int8=peak(4e9),
    bandwidths=(Bandwidth(working_set=1 << 10, peak=peak(16e9)), Bandwidth(working_set=1 << 20, peak=peak(4e9))),
    launch_us=0.5,
    profiled_us=2.0,
    measured=0.0,
    key="key",
)


def test_every_peak_is_a_number_above_zero() -> None:
    said: list[Progress] = []
    found = measure(CPU, seconds=0.0, memory=1 << 21, listener=said.append)
    rates = [found.fp32, found.int8, *(one.peak for one in found.bandwidths)]
    assert all(one.best >= one.median > 0 and one.runs >= 3 for one in rates)
    assert found.launch_us > 0 and found.profiled_us > 0
    assert said[-1].done == said[-1].total == len(said) - 1


def test_a_little_memory_measures_small_working_sets_alone() -> None:
    assert [one.working_set for one in measure(CPU, seconds=0.0, memory=1).bandwidths] == [1 << 15]


def test_peaks_come_from_the_cache_until_they_are_wanted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKD_CACHE", str(tmp_path))

    def ask(fingerprint: str = "one", options: SessionOptions = CPU, *, again: bool = False) -> Peaks:
        return peaks_for(options, fingerprint=fingerprint, again=again, memory=1, seconds=0.0)

    first = ask()
    assert ask() == first
    assert ask("another machine") != first
    assert ask(options=SessionOptions(spinning=True)) != first
    second = ask(again=True)
    assert second != first and ask() == second
    assert len(list(tmp_path.rglob("*"))) == 4  # the folder and three files, none half written


def test_a_damaged_cache_is_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKD_CACHE", str(tmp_path))
    last = peaks_for(CPU, fingerprint="one", memory=1, seconds=0.0)
    (file,) = tmp_path.rglob("*.json")
    body = json.loads(file.read_text())
    body["peaks"]["fp32"]["best"] = 0
    for damage in ("{", "[]", '{"format": 0}', json.dumps(body)):
        file.write_text(damage)
        found = peaks_for(CPU, fingerprint="one", memory=1, seconds=0.0)
        assert found.measured > last.measured
        last = found


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_cache_that_cannot_be_written_is_said_and_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(stat.S_IREAD | stat.S_IEXEC)
    monkeypatch.setenv("EDGEKD_CACHE", str(tmp_path))
    assert peaks_for(CPU, fingerprint="one", memory=1, seconds=0.0).fp32.best > 0


def test_the_cache_may_be_a_file_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "peaks").write_text("")
    monkeypatch.setenv("EDGEKD_CACHE", str(tmp_path))
    said: list[Progress] = []
    assert peaks_for(CPU, fingerprint="one", memory=1, seconds=0.0, listener=said.append).fp32.best > 0
    assert said[-1].note.startswith("cannot be kept in")


def test_the_networks_do_the_work_that_they_say() -> None:
    assert [net.amount for net in products("fp32")] == [512**3, 128 * 128 * 9 * 28 * 28]
    assert stream(800, 5).amount == 5 * 100 * 12  # two vectors of 100 floats, 12 bytes a sum


@given(st.floats(1.0, 1e12))
def test_the_bandwidth_lies_between_those_measured(working_set: float) -> None:
    assert 4e9 * (1 - 1e-9) <= PEAKS.bandwidth(working_set) <= 16e9 * (1 + 1e-9)


def test_the_bandwidth_of_a_size_half_way_in_logarithms_is_the_geometric_mean() -> None:
    assert PEAKS.bandwidth(1 << 15) == pytest.approx(8e9)
    assert (PEAKS.bandwidth(1), PEAKS.bandwidth(1 << 30)) == (16e9, 4e9)


def kernel(op_type: str, microseconds: float, *shapes: tuple[int, ...], name: str = "it", kind: str = "float") -> Node:
    *inputs, made = (Tensor(dtype="float", shape=shape) for shape in shapes)
    return Node(
        name=name, op_type=op_type, provider="CPUExecutionProvider", kind=kind, calls=1.0, median_us=microseconds,
        share=0.5, inputs=tuple(inputs), outputs=(made,), traced=True,
    )  # fmt: skip


def test_a_large_product_is_bound_by_compute_and_a_sum_by_memory() -> None:
    # 100 ** 3 multiply-adds at 1e9 a second: 1000 us
    product = place(kernel("MatMul", 2000.0, (100, 100), (100, 100), (100, 100)), PEAKS)
    assert (product.verdict, product.roof_us, product.attained) == ("compute", pytest.approx(1000), pytest.approx(0.5))
    sums = 1 << 18
    vector = place(kernel("Add", 1000.0, (sums,), (sums,), (sums,)), PEAKS)
    # 3 MiB at 4e9 bytes a second: 786.4 us; 262144 operations would take 262.1
    assert (vector.verdict, vector.roof_us) == ("memory", pytest.approx(12 * sums / 4e9 * 1e6))


def test_a_kernel_far_below_its_roof_is_overhead_and_one_without_a_count_unknown() -> None:
    assert place(kernel("MatMul", 10_001.0, (100, 100), (100, 100), (100, 100)), PEAKS).verdict == "overhead"
    assert place(kernel("TopK", 1.0, (10,), (1,)), PEAKS).verdict == "unknown"
    assert place(kernel("Add", 1.0, (10,), (10,)), None).verdict == "unknown"


def test_the_nodes_worth_changing_are_those_with_the_most_to_gain() -> None:
    nodes = [
        kernel("MatMul", 1100.0, (100, 100), (100, 100), (100, 100), name="product"),
        kernel("Transpose", 400.0, (100, 100), (100, 100), name="turned"),
        kernel("TopK", 9000.0, (10,), (1,), name="unknown"),
        *(kernel("Relu", 20.0 + n, (100,), (100,), name=f"relu{n}") for n in range(6)),
    ]
    found = worth_changing([place(node, PEAKS) for node in nodes], PEAKS)
    assert [one.name for one in found] == ["product", "turned", "relu5", "relu4", "relu3"]
    assert found[0].at_most_ms == pytest.approx(1.1 - 0.25)  # to the int8 peak, four times the fp32 one
    assert found[1].at_most_ms == pytest.approx(0.4)
    assert "quantize it if accuracy allows" in found[0].why and "4.0 times" in found[0].why
    assert worth_changing([place(node, None) for node in nodes], None) == ()


def test_an_int8_kernel_slower_than_the_base_file_is_told_so_and_an_island_called_one() -> None:
    slow = kernel("QLinearMatMul", 3000.0, (100, 100), (100, 100), (100, 100), name="slow", kind="int8")
    island = kernel("MatMul", 2000.0, (100, 100), (100, 100), (100, 100), name="island")
    found = worth_changing([place(node, PEAKS) for node in (slow, island)], PEAKS, before_us={"slow": 1000.0})
    assert found[0].why.startswith("slower than in the base file (3 ms against 1 ms): leave it in float")
    assert found[1].why.startswith("a float island in a quantized file")
