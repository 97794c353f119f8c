"""Memory and speed of samples in memory and on disk: `python -m benchmarks.streaming`.

A folder of PNG pictures, resized so that they are `--megabytes` decoded, is loaded, its channel statistics are taken,
and one epoch of it is handed out in random order, in batches; each in a process of its own. Peak memory is VmHWM, less
that of the same process on twenty pictures. The file is in the page cache when it is read: the time of a disk that is
slower than memory comes on top.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SIZE, BATCH = 96, 128
WAYS = {"memory": ("memory", 0), "disk": ("disk", 0), "disk, 2 workers": ("disk", 2)}


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--megabytes", type=int, default=1000, help="of decoded pictures")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(*arguments.child)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        count = arguments.megabytes * 1_000_000 // (SIZE * SIZE * 3)
        large, tiny = write(Path(folder) / "large", count), write(Path(folder) / "tiny", 20)
        print(f"{count:,} pictures of {SIZE}x{SIZE}, {arguments.megabytes:,} MB decoded, batches of {BATCH}\n")
        print("| samples | load, s | load again, s | pictures/s | peak memory beyond that of 20 pictures |")
        print("|---|---|---|---|---|")
        for name in WAYS:
            base = child(tiny, folder, name)
            first, again = child(large, folder, name), child(large, folder, name)
            more = (max(first["peak"], again["peak"]) - base["peak"]) / 1e6
            speeds = f"{first['load']:.1f} | {again['load']:.1f} | {again['speed']:,.0f}"
            print(f"| {name} | {speeds} | {more:,.0f} MB |", flush=True)
    return 0


def write(folder: Path, count: int) -> Path:
    """A folder of small pictures of noise in two classes."""
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
    for number, pixels in enumerate(noise):
        place = folder / f"class-{number % 2}" / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place, compress_level=1)
    return folder


def child(source: Path, folder: str, name: str) -> dict[str, float]:
    """What a process of its own measures."""
    cache = f"{folder}/cache-{name}"  # one for each way, so that the first one decodes
    command = [sys.executable, "-m", "benchmarks.streaming", "--child", str(source), cache, name]
    found: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    return found


def measure(source: str, cache: str, name: str) -> dict[str, float]:
    """Seconds to load, pictures a second, and peak memory in bytes."""
    import torch

    from edgekd import data, machine, pixels
    from edgekd.data.read_picture import Resize
    from edgekd.decoded import Storage

    mode, workers = WAYS[name]
    start = time.perf_counter()
    storage = Storage(mode="disk" if mode == "disk" else "memory", folder=Path(cache))
    found = data.load(source, resize=Resize(SIZE, SIZE), calibration_samples=2, storage=storage)
    pixels.channel_statistics(found)
    loaded = time.perf_counter()
    place = pixels.place(found.train, torch.device("cpu"), workers=workers)
    order = torch.randperm(len(found.train), generator=torch.Generator().manual_seed(0)).split(BATCH)
    seen = sum(len(batch) for batch in place.batches(order))
    speed = seen / (time.perf_counter() - loaded)
    return {"load": loaded - start, "speed": speed, "peak": float(machine.peak_rss_bytes())}


if __name__ == "__main__":
    sys.exit(main())
