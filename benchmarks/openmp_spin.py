"""What OpenMP's spinning costs training on a CPU that is shared: `python -m benchmarks.openmp_spin`.

Images a second of the quickstart teacher's forward pass and of the student's training step, in a fresh process a
setting, on an idle machine and beside as many busy processes as there are cores; settings take turns.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

SETTINGS = {"default": {}, "GOMP_SPINCOUNT=1000": {"GOMP_SPINCOUNT": "1000"}, "passive": {"OMP_WAIT_POLICY": "PASSIVE"}}
ROUNDS = 3
BATCH, STEPS = 128, 6


def main() -> None:
    """Print a Markdown table: medians over the rounds."""
    if sys.argv[1:] == ["child"]:
        print(*measure())
        return
    print("| machine | setting | teacher forward, images/s | student step, images/s |\n|---|---|---|---|")
    for machine, count in (("idle", 0), ("busy", os.cpu_count() or 1)):
        hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
        try:
            for name, rates in compare().items():
                middle = [statistics.median(column) for column in zip(*rates, strict=True)]
                print(f"| {machine} | {name} | {middle[0]:,.0f} | {middle[1]:,.0f} |", flush=True)
        finally:
            for hog in hogs:
                hog.kill()


def compare() -> dict[str, list[tuple[float, ...]]]:
    """Rates of each setting, one tuple a round."""
    rates: dict[str, list[tuple[float, ...]]] = {name: [] for name in SETTINGS}
    clean = {key: value for key, value in os.environ.items() if key not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    for _ in range(ROUNDS):
        for name, setting in SETTINGS.items():
            command = [sys.executable, "-m", "benchmarks.openmp_spin", "child"]
            done = subprocess.run(command, env=clean | setting, capture_output=True, text=True, check=True)
            rates[name].append(tuple(float(rate) for rate in done.stdout.split()))
    return rates


def measure() -> tuple[float, float]:
    """Images a second: the teacher's forward pass, the student's training step."""
    import torch

    from edgekd import models

    images = torch.rand(BATCH, 1, 28, 28).contiguous(memory_format=torch.channels_last)
    teacher = models.build("wrn_16_2", num_classes=10, in_channels=1).eval()
    student = models.build("resnet8", num_classes=10, in_channels=1)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)

    def step() -> None:
        optimizer.zero_grad()
        student(images).logsumexp(-1).mean().backward()
        optimizer.step()

    with torch.no_grad():
        forward = rate(lambda: teacher(images))
    return forward, rate(step)


def rate(work: Callable[[], object]) -> float:
    """Images a second of `work` on a batch, after one call to warm up."""
    work()
    started = time.perf_counter()
    for _ in range(STEPS):
        work()
    return BATCH * STEPS / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
