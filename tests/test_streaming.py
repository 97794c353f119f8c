"""Data larger than memory: the same student from a file as from memory, and memory that does not grow with the data."""

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from edgekd import network, pipeline, pixels, recipe
from edgekd.core.source import Resident, Streamed
from edgekd.data import load
from edgekd.decoded import Storage
from edgekd.rows import Rows

CPU = torch.device("cpu")


def pictures(folder: Path, count: int = 90) -> Path:
    generator = np.random.default_rng(0)
    for number in range(count):
        place = folder / "pictures" / f"c{number % 3}" / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (12, 10, 3), dtype=np.uint8)).save(place)
    return folder / "pictures"


def both(folder: Path) -> list[Any]:
    """The same data in memory and in a file."""
    source = str(pictures(folder))
    storages = (Storage(mode="memory"), Storage(mode="disk", folder=folder / "cache"))
    return [load(source, calibration_samples=6, storage=storage) for storage in storages]


def test_what_training_takes_is_the_same_from_a_file(tmp_path: Path) -> None:
    plain, filed = both(tmp_path)
    assert pixels.channel_statistics(plain) == pixels.channel_statistics(filed)
    sources = [pixels.place(one.train, CPU) for one in (plain, filed)]
    assert isinstance(sources[0], Resident) and isinstance(sources[1], Streamed)
    assert sources[0].size == sources[1].size
    indices = torch.split(torch.randperm(len(plain.train)), 7)
    for ours, theirs in zip(*(source.batches(indices) for source in sources), strict=True):
        assert torch.equal(ours, theirs)
    assert isinstance(filed.train.inputs, Rows)
    assert torch.equal(pixels.to_tensor(filed.test.inputs, CPU), pixels.to_tensor(plain.test.inputs, CPU))


def test_predictions_are_the_same_bits_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekd.core.forward.BATCH", 8)  # several chunks of several batches
    monkeypatch.setattr("edgekd.rows.CHUNK_BYTES", 8 * 360)
    plain, filed = both(tmp_path)
    mean, std = pixels.channel_statistics(plain)
    torch.manual_seed(0)
    card = network.Card(model="resnet8", classes=plain.classes, channels=3, options={"width": 4}, facts={})
    net = network.build(card, mean=mean, std=std)
    assert torch.equal(pixels.predict(net, plain.train.inputs, CPU), pixels.predict(net, filed.train.inputs, CPU))


def document(source: str, storage: str, **more: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": "streaming",
        "data": {"source": source, "storage": storage, "calibration_samples": 8},
        "student": {"model": "resnet8", "options": {"width": 4}},
        "distill": {"method": "ce", "epochs": 2, "batch_size": 16, "device": "cpu"},
        "export": {"input_layout": "nchw"},
        "quantize": {"variants": ["int8-u8s8"], "time_budget": 0.1},
        "validate": {"rounds": 1, "seconds": 0.01, "min_samples": 10},
    }
    for section, values in more.items():
        made[section] = made[section] | values
    return made


@pytest.mark.slow
def test_a_run_from_disk_ships_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKD_CACHE", str(tmp_path / "cache"))
    source, made = str(pictures(tmp_path)), {}
    for storage in ("memory", "disk"):
        asked = recipe.parse(document(source, storage), origin="test")
        outcome = pipeline.run(asked, folder=tmp_path / storage)
        assert outcome.report["data"]["storage"]["place"] == storage
        fp32 = next(variant for variant in outcome.report["variants"] if variant["name"] == "fp32")
        files = [(tmp_path / storage / name).read_bytes() for name in ("student.safetensors", "model.onnx")]
        made[storage] = [*files, outcome.report["data"]["content_hash"], fp32["accuracy"]["top1"]]
    assert made["memory"] == made["disk"]
    asked = recipe.parse(document(source, "disk", distill={"workers": 2}), origin="test")
    pipeline.run(asked, folder=tmp_path / "workers", until="distill")
    assert (tmp_path / "workers" / "student.safetensors").read_bytes() == made["disk"][0]
    plan = pipeline.plan(recipe.parse(document(source, "memory"), origin="test"), folder=tmp_path / "disk")
    cached = {step.name for step in plan if step.cached}
    assert cached >= {"distill", "export", "quantize", "validate"}, "where samples stay is no reason to train again"


CHILD = textwrap.dedent(
    """
    import sys
    import torch
    from edgekd import data, machine, pixels
    from edgekd.data.read_picture import Resize
    from edgekd.decoded import Storage
    source, cache, size, batch = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    storage = Storage(folder=__import__("pathlib").Path(cache), limit_bytes=50_000_000)
    resize = None if source.endswith("npz") else Resize(size, size)
    found = data.load(source, resize=resize, calibration_samples=2, storage=storage)
    pixels.channel_statistics(found)
    total = 0
    for part in pixels.place(found.train, torch.device("cpu")).batches(torch.randperm(len(found.train)).split(batch)):
        total += part.nbytes
    print(found.storage["place"], found.storage["size_bytes"], machine.peak_rss_bytes())
    """
)


def peak(source: Path, cache: Path, *, size: int, batch: int) -> tuple[str, int, int]:
    """Where the samples were, what they are decoded, and the most memory that a process had that went through them."""
    command = [sys.executable, "-c", CHILD, source, cache, size, batch]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True)
    place, decoded, most = done.stdout.split()
    return place, int(decoded), int(most)


def large_npz(path: Path, count: int, size: int) -> Path:
    np.savez(path, x=np.zeros((count, size, size, 3), dtype=np.uint8), y=np.arange(count) % 2)
    return path


def large_folder(folder: Path, count: int) -> Path:
    for number in range(count):
        (folder / f"c{number % 2}").mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"c{number % 2}" / f"{number}.png")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["npz", "pictures"])
def test_memory_does_not_grow_with_the_data(kind: str, tmp_path: Path) -> None:
    if kind == "pictures":
        size, batch = 2236, 2
        large, tiny = large_folder(tmp_path / "large", 40), large_folder(tmp_path / "tiny", 10)
        tiny_size = 32
    else:
        size = tiny_size = 224
        batch = 16
        large, tiny = large_npz(tmp_path / "large.npz", 4000, size), large_npz(tmp_path / "tiny.npz", 20, size)
    few, many = (
        peak(source, tmp_path / "cache", size=one, batch=batch) for source, one in ((tiny, tiny_size), (large, size))
    )
    assert few[0] == "memory" and many[0] == "disk"
    assert many[1] >= 590_000_000
    assert many[2] - few[2] < 250_000_000, f"{(many[2] - few[2]) / 1e6:.0f} MB more, for {many[1] / 1e6:.0f} MB of data"
    print(f"{kind}: {many[1] / 1e6:.0f} MB of samples, {(many[2] - few[2]) / 1e6:.0f} MB more memory")
