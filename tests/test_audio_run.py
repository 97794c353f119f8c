"""Keyword spotting end to end: a folder of WAV files becomes a bundle that takes a WAV file."""

import json
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch

from edgekd import bundle, data, pipeline, starter
from edgekd.errors import BadInputError
from edgekd.network import load_student
from edgekd.recipe import load, parse
from edgekd.settings import load_data

RATE = 4_000
AUDIO = {"group_pattern": "(s[0-9]+)_", "window_ms": 32.0, "hop_ms": 16.0, "mels": 12, "fmin": 60.0, "shift_ms": 10.0}


def write_wav(path: Path, samples: npt.NDArray[Any], *, rate: int = RATE, channels: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def tone(hertz: float, *, seed: int, seconds: float = 0.25) -> npt.NDArray[np.int16]:
    draw = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    loud = draw.uniform(300, 15_000)
    return np.asarray(loud * (np.sin(2 * np.pi * hertz * time) + 0.3 * draw.standard_normal(len(time))) / 2, np.int16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tones by 10 speakers, whose pitch differs a little, 4 takes each."""
    root = tmp_path_factory.mktemp("tones")
    for label, (word, pitch) in enumerate((("high", 1_500.0), ("low", 250.0), ("middle", 700.0))):
        for speaker in range(10):
            for take in range(4):
                samples = tone(pitch * (1 + 0.02 * speaker), seed=100 * label + 10 * speaker + take)
                write_wav(root / word / f"s{speaker}_{take}.wav", samples)
    return root


def document(folder: Path) -> dict[str, Any]:
    return {
        "name": "tones",
        "data": {"source": str(folder), "calibration_samples": 12, "audio": AUDIO},
        "student": {"model": "ds_cnn", "options": {"width": 0.125}},
        "distill": {"method": "ce", "epochs": 16, "batch_size": 8, "learning_rate": 0.05, "device": "cpu"},
        "quantize": {"variants": ["int8-u8s8"], "time_budget": 0.1},
        "validate": {"rounds": 1, "seconds": 0.01, "min_samples": 10},
        "gate": {"min_top1": 0.5, "max_size_bytes": 1_000_000},
    }


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> pipeline.Outcome:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return pipeline.run(parse(document(folder), origin="test"), folder=tmp_path_factory.mktemp("run"))
    finally:
        torch.set_num_threads(threads)


def infer(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(folder / "infer.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_folder_of_wav_files_becomes_a_student_that_tells_tones_of_new_speakers_apart(run: pipeline.Outcome) -> None:
    assert run.report["student"]["test_top1"] > 0.8
    variants = {one["name"]: one for one in run.report["variants"]}
    assert variants["int8-u8s8"]["accuracy"]["top1"] > 0.8
    metadata = {e.key: e.value for e in onnx.load(str(run.folder / "model.onnx")).metadata_props}
    said = json.loads(metadata["edgekd"])["preprocessing"]
    assert said["audio"].items() >= {"sample_rate": RATE, "mono": "refuse", "samples": RATE // 4}.items()
    assert (said["log_mel"]["window"], said["log_mel"]["hop"], said["log_mel"]["fmax"]) == (128, 64, 2_000.0)


@pytest.mark.slow
def test_int8_files_keep_the_front_end_in_float(run: pipeline.Outcome) -> None:
    model = onnx.load(str(run.folder / "variants" / "int8-u8s8.onnx"))
    makers = {output: node for node in model.graph.node for output in node.output}
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    assert makers[first.input[0]].op_type not in ("QuantizeLinear", "DequantizeLinear")
    assert any(node.op_type == "QuantizeLinear" for node in model.graph.node)


@pytest.mark.slow
def test_one_file_gives_the_same_numbers_in_training_in_onnx_and_in_the_bundle(
    run: pipeline.Outcome, folder: Path, tmp_path: Path
) -> None:
    part = load_data(parse(document(folder), origin="test")).test
    assert part.ids is not None
    path, samples = folder / str(part.ids[0]), part.inputs[:1]
    done = infer(run.folder / "bundle", path, tmp_path / "out.npz")
    assert done.returncode == 0, done.stderr
    (ours,) = np.load(tmp_path / "out.npz").values()
    session = bundle.verify(run.folder / "bundle")
    assert session.passed is True
    np.save(tmp_path / "sample.npy", samples[0])
    assert infer(run.folder / "bundle", tmp_path / "sample.npy", tmp_path / "raw.npz").returncode == 0
    (raw,) = np.load(tmp_path / "raw.npz").values()
    assert np.array_equal(ours, raw)
    network, _ = load_student(run.folder / "student.safetensors")
    with torch.no_grad():
        torch_logits = network(torch.from_numpy(samples))[0].numpy()
    assert ours.argmax() == torch_logits.argmax() == part.labels[0]
    assert json.loads(done.stdout.splitlines()[0])["label"] == ("high", "low", "middle")[part.labels[0]]


@pytest.mark.slow
def test_the_bundle_refuses_another_rate_and_stereo_by_the_files_name(run: pipeline.Outcome, tmp_path: Path) -> None:
    fast = write_wav(tmp_path / "fast.wav", tone(500, seed=1), rate=8_000)
    done = infer(run.folder / "bundle", fast)
    assert done.returncode != 0 and f"{fast}: 8000 samples a second; expected 4000" in done.stderr
    both = write_wav(tmp_path / "both.wav", tone(500, seed=1), channels=2)
    done = infer(run.folder / "bundle", both)
    assert done.returncode != 0 and f"{both}: has 2 channels" in done.stderr
    short = write_wav(tmp_path / "short.wav", tone(500, seed=1, seconds=0.1))
    assert infer(run.folder / "bundle", short).returncode == 0


@pytest.mark.slow
def test_a_bundle_without_its_reader_of_wav_files_does_not_pass(run: pipeline.Outcome, tmp_path: Path) -> None:
    copy = tmp_path / "bundle"
    copy.mkdir()
    for path in (run.folder / "bundle").iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    (copy / "read_wav.py").write_text((copy / "read_wav.py").read_text().replace("int16) - 128", "int16) - 127"))
    assert bundle.verify(copy).passed is False
    (copy / "read_wav.py").unlink()
    assert bundle.verify(copy).passed is False


def test_init_writes_a_recipe_of_the_folder_that_loads(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.toml"
    out.write_text(starter.starter_recipe(str(folder), out=out, target="x86-1t", resize=None))
    recipe = load(out)
    assert recipe.data.audio is not None and recipe.data.audio.seconds == 0.25
    assert load_data(recipe).front["sample_rate"] == RATE


def test_networks_and_augmentation_of_other_data_are_refused(folder: Path, tmp_path: Path) -> None:
    other = document(folder)
    other["student"] = {"model": "resnet_1d"}
    with pytest.raises(BadInputError, match=r"model 'resnet_1d' takes data of kind series.* kind audio.*ds_cnn"):
        pipeline.run(parse(other, origin="test"), folder=tmp_path)
    flipped = document(folder)
    flipped["data"]["augment"] = "flip"
    with pytest.raises(BadInputError, match=r"data.augment = 'flip' is for images"):
        pipeline.run(parse(flipped, origin="test"), folder=tmp_path)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"fmax": 10.0, "fmin": 20.0}, "expected fmin < fmax"),
        ({"group_pattern": "(a)", "group_file": "x.csv"}, "both name the speakers"),
        ({"melz": 3}, "unknown key 'data.audio.melz'; did you mean 'mels'"),
        ({"seconds": 0.0}, "data.audio.seconds"),
    ],
)
def test_contradictions_in_the_section_are_named(folder: Path, keys: dict[str, Any], words: str) -> None:
    wrong = document(folder)
    wrong["data"]["audio"] = keys
    with pytest.raises(BadInputError) as caught:
        parse(wrong, origin="test")
    assert words in str(caught.value)


@pytest.mark.slow
def test_the_locked_recipe_reads_back_equal(run: pipeline.Outcome, folder: Path) -> None:
    assert load(run.folder / "recipe.lock.toml") == parse(document(folder), origin="test")


def test_a_group_file_is_found_beside_the_recipe(folder: Path, tmp_path: Path) -> None:
    rows = [f"{path.relative_to(folder).as_posix()},{path.stem[:2]}" for path in sorted(folder.rglob("*.wav"))]
    (tmp_path / "who.csv").write_text("path,group\n" + "\n".join(rows) + "\n")
    (tmp_path / "recipe.toml").write_text(
        f'name = "tones"\n[data]\nsource = "{folder}"\ncalibration_samples = 12\n[data.audio]\ngroup_file = "who.csv"\n'
        '[student]\nmodel = "ds_cnn"\n[distill]\nmethod = "ce"\n'
    )
    part = load_data(load(tmp_path / "recipe.toml"))
    assert isinstance(part, data.Dataset) and part.test.groups is not None
    assert not set(part.test.groups.tolist()) & set(part.train.groups.tolist() if part.train.groups is not None else ())
