"""The speed benchmarks run, compare the same nets and the same loss, and say what became of a goal."""

import importlib.util
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))  # at the end: edgekd is the installed one

from benchmarks import inside, turns  # noqa: E402
from benchmarks.temperature_overhead import measure as measure_temperature  # noqa: E402
from benchmarks.train_throughput import check_same_nets, write_pictures  # noqa: E402
from benchmarks.training_loops import crop_and_mirror, kd_loss, measure  # noqa: E402
from benchmarks.training_task import CE_WEIGHT, MEAN, PADDING, SIZE, STD, TEMPERATURE, Task  # noqa: E402
from edgekd.core import losses  # noqa: E402
from edgekd.data import Samples  # noqa: E402
from edgekd.errors import BadInputError, EnvironmentFault  # noqa: E402

found = importlib.util.find_spec("edgekd")
from_checkout = pytest.mark.skipif(
    found is None or not str(found.origin).startswith(str(ROOT)),
    reason="benchmarks run from a checkout that is installed in place",
)


def test_a_ratio_is_the_median_of_pairs_with_an_order_statistic_interval() -> None:
    ratio = turns.paired_ratio([2.0, 4.0, 9.0, 4.0, 5.0, 12.0], [1.0] * 6)
    # Worked by hand: of six the first and the last hold the median with 1 - 2/64 = 96.9 %.
    assert (ratio.value, ratio.low, ratio.high, ratio.pairs) == (4.5, 2.0, 12.0, 6)
    assert str(ratio) == "4.50x (2.00–12.00)"


def test_a_ratio_of_few_pairs_shows_their_range() -> None:
    ratio = turns.paired_ratio([1.0, 1.02], [1.0, 1.0])
    assert (ratio.low, ratio.high) == (1.0, 1.02)
    assert ratio.percent_over() == "+1.0 % (+0.0 to +2.0)"


@pytest.mark.parametrize(
    ("pairs", "at_least", "expected"),
    [([2.1, 2.2], True, "met"), ([1.8, 1.9], True, "missed"), ([1.9, 2.1], True, "open"), ([1.9, 2.0], False, "met")],
)
def test_a_goal_is_decided_by_the_whole_interval(pairs: list[float], at_least: bool, expected: str) -> None:
    assert turns.verdict(turns.paired_ratio(pairs, [1.0, 1.0]), 2.0, at_least=at_least) == expected


def test_the_plain_loop_minimises_edgekds_kd_loss() -> None:
    student, teacher = torch.randn(2, 6, 10, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(6)
    own = losses.kd(student, teacher, labels, temperature=TEMPERATURE, kd_weight=1 - CE_WEIGHT, ce_weight=CE_WEIGHT)
    torch.testing.assert_close(kd_loss(student, teacher, labels), own)


def test_the_plain_loops_picture_is_a_crop_of_the_padded_one_mirrored_or_not() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    random.seed(0)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    made = (crop_and_mirror(Image.fromarray(pixels)) * std + mean).mul(255).round().to(torch.uint8)
    padded = torch.from_numpy(np.pad(pixels, ((PADDING,) * 2, (PADDING,) * 2, (0, 0)))).permute(2, 0, 1)
    crops = padded.unfold(1, SIZE, 1).unfold(2, SIZE, 1).permute(1, 2, 0, 3, 4).reshape(-1, 3, SIZE, SIZE)
    assert any(torch.equal(crop, made) or torch.equal(crop.flip(2), made) for crop in crops)


def test_the_loops_train_the_same_nets(tmp_path: Path, one_thread: None) -> None:
    write_pictures(tmp_path / "pictures.npz", None, count=40)
    shape = {"teacher": "resnet8", "batch_size": 4, "warm_up": 1, "steps": 8, "workers": 0}
    results = [
        measure(Task(loop=loop, pictures=str(tmp_path / "pictures.npz"), classes=100, precision="fp32", **shape))
        for loop in ("plain", "edgekd")
    ]
    check_same_nets({str(number): [result] for number, result in enumerate(results)})
    assert all(result["images_per_second"] > 0 and result["peak_bytes"] > 0 for result in results)


def test_different_nets_are_not_compared() -> None:
    with pytest.raises(EnvironmentFault, match="the nets differ"):
        check_same_nets({"a": [{"weights": "1"}], "b": [{"weights": "2"}]})


def test_pictures_of_another_size_are_refused(tmp_path: Path, draw: Callable[..., Samples]) -> None:
    samples = draw(900)
    np.savez(tmp_path / "bars.npz", x=samples.inputs, y=samples.labels)
    with pytest.raises(BadInputError, match=r"expected \(32, 32, 3\)"):
        write_pictures(tmp_path / "pictures.npz", str(tmp_path / "bars.npz"), count=8)


def test_steps_and_losses_of_every_method_are_timed(one_thread: None) -> None:
    methods = ["kd", "cist", "entropy"]
    shape = {"device": "cpu", "precision": "fp32", "teacher": "resnet8", "classes": 10, "batch_size": 2, "rounds": 2}
    times = measure_temperature(**shape, methods=methods)["times"]
    assert [len(times[name][key]) for name in methods for key in ("step_ms", "loss_ms")] == [2] * 6


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="only Linux tells")
def test_peak_memory_is_this_process_own() -> None:
    before = inside.own_peak_bytes()
    block = b"x" * (before // 2)
    assert inside.own_peak_bytes() > before
    del block
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert 0 < inside.private_bytes(child.pid) < before
    finally:
        child.communicate(b"\n")


@from_checkout
@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["temperature_overhead"], "cist, K = 10"),
        (["train_throughput", "--contenders", "plain-fp32", "edgekd-fp32"], "edgekd-fp32 against plain-fp32"),
        (["teacher_cache", "--precision", "fp32"], "the teacher is"),
    ],
)
def test_a_command_prints_a_table_and_its_goal(command: list[str], expected: str, tmp_path: Path) -> None:
    line = [
        sys.executable,
        "-m",
        f"benchmarks.{command[0]}",
        *command[1:],
        "--quick",
        "--out",
        str(tmp_path / "o.json"),
    ]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "peak memory, MiB" in done.stdout and expected in done.stdout
    assert "load average" in done.stdout and (tmp_path / "o.json").is_file()


from benchmarks.peers import judge, process, score, table, text  # noqa: E402
from benchmarks.peers.build import Built  # noqa: E402
from benchmarks.peers.judge import Judged  # noqa: E402


def test_lines_read_the_same_where_blanks_and_repetitions_differ() -> None:
    # Characters by step, 0 the blank: "aab" and "ab" are apart only where a blank stands between the two a.
    reference, other = (np.eye(3, dtype=np.float32)[np.array(steps)] for steps in ([[1, 1, 2], [1, 0, 1]],) * 2)
    other[0] = np.eye(3, dtype=np.float32)[[1, 0, 2]]
    other[1] = np.eye(3, dtype=np.float32)[[1, 1, 1]]
    assert score.same_text(reference, other).tolist() == [1.0, 0.0]


def test_masks_agree_by_intersection_over_union() -> None:
    reference = np.array([[0.9, 0.9, 0.1, 0.1], [0.0, 0.0, 0.0, 0.0]], dtype=np.float32)
    other = np.array([[0.9, 0.1, 0.9, 0.1], [0.1, 0.1, 0.1, 0.1]], dtype=np.float32)
    assert score.same_mask(reference, other) == pytest.approx([1 / 3, 1.0])


def judged(*, agreement: float = 1.0, avx2: float | None = 1.0, difference: float | None = 0.0) -> Judged:
    found = {"avx2_agreement": avx2, "avx2_difference": difference, "output_step": 0.004}
    return Judged(key="", n=200, accuracy=None, agreement=agreement, avx2_n=200, error="", **found)


@pytest.mark.parametrize(
    ("avx2", "difference", "expected"),
    [(1.0, 0.0, True), (0.995, 0.0049, True), (0.99, 0.0, False), (1.0, 0.006, False), (None, None, None)],
)
def test_a_file_is_portable_within_one_step_beyond_fp32(
    avx2: float | None, difference: float | None, expected: bool | None
) -> None:
    assert judge.portable(judged(avx2=avx2, difference=difference), judged(difference=0.001)) is expected


def row(tool: str, speed: float, agreement: float) -> table.Row:
    empty = dict.fromkeys(("size_bytes", "sha256", "seconds", "cpu_seconds", "peak_bytes"))
    built = Built(net="n", tool=tool, key="", path="f", versions={}, session_config={}, chosen="", reason="", **empty)
    ratio = turns.paired_ratio([speed, speed], [1.0, 1.0])
    return table.Row(built=built, judged=judged(agreement=agreement), speed=ratio, portable=True)


def test_a_faster_and_a_better_tool_are_named() -> None:
    lines = table.goals([row("fp32", 1.0, 1.0), row("other", 1.6, 0.996), row("edgekd", 1.5, 0.992)])
    assert lines[0] == "- fastest or tied within 3 %: missed (1.50x; other 1.60x)"
    assert lines[1] == "- best or tied within 0.3 point: missed (99.20 %; other 99.60 %)"
    assert "met" in lines[2] and lines[3].endswith("so are: other")


def test_a_tie_within_three_percent_and_three_tenths_of_a_point_is_met() -> None:
    lines = table.goals([row("fp32", 1.0, 0.994), row("other", 1.54, 0.99), row("edgekd", 1.5, 0.992)])
    assert "met (1.50x" in lines[0] and "met (99.20 %" in lines[1]


def test_peak_memory_of_a_command_is_that_of_its_child_too(tmp_path: Path) -> None:
    child = "import time; b = b'x' * 2**27; time.sleep(1)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    ran = process.run([sys.executable, "-c", code], folder=tmp_path, log=tmp_path / "log", limit_seconds=30)
    assert ran.code == 0 and ran.peak_bytes > 2**27


@pytest.mark.slow
def test_a_command_ends_at_its_limit_with_what_it_started(tmp_path: Path) -> None:
    code = "import subprocess, sys; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); p.wait()"
    # Long enough for an interpreter to start on a busy machine.
    ran = process.run([sys.executable, "-c", code], folder=tmp_path, log=tmp_path / "log", limit_seconds=6)
    assert ran.code is None
    ends = time.monotonic() + 10  # whoever inherits it clears it away when it gets to it
    while time.monotonic() < ends and not ended(int(ran.output)):
        time.sleep(0.05)
    assert ended(int(ran.output))


def ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_lines_of_text_are_drawn_alike_from_one_seed() -> None:
    one, same, other = (text.lines(2, seed=seed) for seed in (0, 0, 1))
    assert one.shape == (2, 3, 48, 320) and one.dtype == np.float32 and -1 <= one.min() < one.max() <= 1
    assert np.array_equal(one, same) and not np.array_equal(one, other)
