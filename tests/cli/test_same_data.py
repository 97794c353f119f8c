"""A file that edgekd exported is judged on the same samples as its run, of every kind of data, by a path alone."""

import csv
import json
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .conftest import Edgekd

pytestmark = pytest.mark.slow

RECIPE = """
name = "a"
data = {{ source = "{source}", calibration_samples = 9, {more} }}
student.model = "{model}"
distill = {{ method = "ce", epochs = 2, batch_size = 16 }}
"""
NAMES = ("low", "middle", "high")
GENERATOR = np.random.default_rng(0)
QUICK = ("--rounds", "1", "--seconds", "0.01", "--min-samples", "10")


def sound(folder: Path) -> Path:
    for part, count in (("train", 20), ("test", 6)):
        for k, name in enumerate(NAMES):
            for take in range(count):
                path = folder / "words" / part / name / f"{take}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                tone = np.sin(np.arange(800) * (k + 1) / 9 + GENERATOR.random()) * 9_000
                with wave.open(str(path), "wb") as file:
                    file.setparams((1, 2, 8_000, 800, "NONE", ""))
                    file.writeframes((tone + GENERATOR.normal(0, 300, 800)).astype("<i2").tobytes())
    return folder / "words"


def readings(folder: Path) -> Path:
    rows = [
        [
            part,
            label,
            f"{part} {who}",
            *(np.sin(row * (k + 1) / 3 + np.arange(2)) + GENERATOR.normal(0, 0.1, 2)).round(4),
        ]
        for part, people in (("train", 8), ("test", 3))
        for who in range(people)
        for k, label in enumerate(NAMES)
        for row in range(64)
    ]
    with (folder / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["split", "label", "group", "ax", "ay"], *rows])
    return folder / "a.csv"


def texts(folder: Path) -> Path:
    (folder / "texts").mkdir()
    for part, count in (("train", 90), ("test", 18)):
        rows = [[f"{NAMES[k % 3]} word {GENERATOR.integers(99)} of {part} {k}", NAMES[k % 3]] for k in range(count)]
        with (folder / "texts" / f"{part}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["text", "label"], *rows])
    return folder / "texts"


def pictures(folder: Path) -> Path:
    rows = [["path", "label", "split"]]
    for k in range(108):
        image = GENERATOR.integers(0, 60, (8, 8), dtype=np.uint8)
        image[2 * (k % 3) : 2 * (k % 3) + 3] += 150
        Image.fromarray(image).save(folder / f"{k}.png")
        rows.append([f"{k}.png", NAMES[k % 3], "train" if k < 90 else "test"])
    with (folder / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder / "a.csv"


@pytest.mark.parametrize(
    ("make", "more", "model"),
    [
        (sound, "audio = { window_ms = 10.0, hop_ms = 10.0, mels = 12 }", "ds_cnn"),
        (readings, "series = { window = 32 }", "ds_cnn_1d"),
        (texts, "text = { max_tokens = 9, vocabulary_size = 300 }", "text_mean"),
        (pictures, 'augment = "none"', "resnet8"),
    ],
)
def test_export_validate_and_quantize_read_what_the_run_read(
    make: Callable[[Path], Path], more: str, model: str, tmp_path: Path, edgekd: Edgekd
) -> None:
    source, run = make(tmp_path), tmp_path / "run"
    (tmp_path / "a.toml").write_text(RECIPE.format(source=source, more=more, model=model))
    student = json.loads(edgekd("distill", tmp_path / "a.toml", "--out", run, "--json").out)["student"]
    exported = edgekd("export", run / "student.safetensors", "--data", source, "--out", run / "model.onnx", "--json")
    assert exported.code == 0, exported.err
    validated = edgekd("validate", run / "model.onnx", "--data", source, "--json", *QUICK)
    found = json.loads(validated.out)
    assert found["data"]["evaluated"] == f"the 18 test samples of {source}"
    assert found["variants"][0]["accuracy"]["top1"] == pytest.approx(student["test_top1"])
    assert found["data"]["classes"] == sorted(NAMES)
    out = tmp_path / "quantized"
    quantized = edgekd("quantize", run / "model.onnx", "-d", source, "-o", out, "--time-budget", "0.1", *QUICK)
    assert quantized.code in (0, 1, 3), quantized.err
    assert f"evaluated on the 18 test samples of {source}" in quantized.err
    assert (out / "tokenizer.json").is_file() == (make is texts)
