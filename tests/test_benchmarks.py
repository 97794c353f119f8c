"""The speed benchmarks run, compare the same nets and the same loss, and say what became of a goal."""

import importlib.util
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
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
    np.savez(tmp_path / "bars.npz", x=samples.images, y=samples.labels)
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
