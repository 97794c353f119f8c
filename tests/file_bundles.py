"""Bundles of networks that take files: a small source of each kind, a linear network on it, and its bundle."""

import json
import re
import shutil
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from edgekd import bundle
from edgekd.data import Dataset, load
from edgekd.data.read_picture import Resize
from edgekd.data.series_csv import Windows
from edgekd.data.text_source import TextSettings
from edgekd.data.tokens import train_tokenizer
from edgekd.session import SessionOptions

from .bundles import rehash

TYPES = {"image": TensorProto.UINT8, "audio": TensorProto.INT16, "series": TensorProto.FLOAT, "text": TensorProto.INT32}
CLASSES = ("a", "b")


def pictures(root: Path, *, suffix: str = ".png", count: int = 8) -> Dataset:
    """Colourful pictures of 20 x 26 pixels, brought to 8 x 8 by a bicubic crop."""
    draw = np.random.default_rng(0)
    for name in CLASSES:
        (root / name).mkdir(parents=True)
        for k in range(count):
            Image.fromarray(draw.integers(0, 256, (20, 26, 3), dtype=np.uint8)).save(root / name / f"{k}{suffix}")
    return load(str(root), resize=Resize(8, 8, "bicubic", "crop"), calibration_samples=2)


def sounds(root: Path, *, count: int = 8) -> Dataset:
    """Noise of 60 to 140 samples; the longest is as long as a clip."""
    draw = np.random.default_rng(0)
    for name in CLASSES:
        (root / name).mkdir(parents=True)
        for k in range(count):
            with wave.open(str(root / name / f"{k}.wav"), "wb") as file:
                file.setparams((1, 2, 4_000, 0, "NONE", ""))
                file.writeframes(draw.integers(-9_000, 9_000, 60 + 10 * k).astype("<i2").tobytes())
    from edgekd.data.wav_folder import Clips

    return load(str(root), audio=Clips(seconds=0.025, window_ms=8, hop_ms=4, mels=6, fmin=100), calibration_samples=2)


def readings(root: Path, *, count: int = 8) -> Dataset:
    """Windows of 4 readings of two channels."""
    draw = np.random.default_rng(0)
    root.mkdir(parents=True)
    rows = [f"{x:.4f},{name},{y:.4f}" for name in CLASSES * count for x, y in draw.normal(0, 1, (4, 2))]
    (root / "motion.csv").write_text("\n".join(["ax,label,ay", *rows, ""]))
    return load(str(root / "motion.csv"), series=Windows(window=4), calibration_samples=2)


def texts(root: Path, *, count: int = 8) -> Dataset:
    """Texts with capitals and accents, of 3 to 10 words; 6 tokens cut the longest."""
    root.mkdir(parents=True)
    rows = [
        {
            "text": " ".join(["Größe", "Élan", "NAÏVE", "plain", name][: 3 + k % 3] * (1 + k % 2)) + f" {k}",
            "label": name,
        }
        for name in CLASSES
        for k in range(count)
    ]
    (root / "texts.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    tokenizer = root / "given.json"
    tokenizer.write_text(train_tokenizer([row["text"] for row in rows], vocabulary_size=280, lowercase=False))
    return load(str(root / "texts.jsonl"), text=TextSettings(max_tokens=6, tokenizer=tokenizer), calibration_samples=2)


SOURCES: dict[str, Callable[[Path], Dataset]] = {
    "image": pictures,
    "audio": sounds,
    "series": readings,
    "text": texts,
}


def facts_of(data: Dataset) -> dict[str, Any]:
    """The kind's part of `preprocessing`, as the front writes it into the file."""
    from edgekd import front

    channels = 6 if data.kind == "audio" else data.channels
    numbers = () if data.kind == "text" else (0.0,) * channels
    ones = () if data.kind == "text" else (1.0,) * channels
    said = front.build(data.kind, data.front, mean=numbers, std=ones).describe()
    return {data.kind: said[data.kind]}


def linear(path: Path, data: Dataset, *, layout: str = "nhwc") -> Path:
    """(x - mean) / std, flattened, times random weights."""
    draw = np.random.default_rng(1)
    shape = data.input_shape if layout == "nhwc" else (data.input_shape[2], *data.input_shape[:2])
    size = int(np.prod(shape))
    mean, std = float(np.mean(data.train.inputs)), float(np.std(data.train.inputs))
    numbers = {"mean": np.float32(mean), "std": np.float32(std)}
    weights = {**numbers, "dense": draw.normal(0, size**-0.5, (size, 2)).astype(np.float32)}
    nodes = [
        helper.make_node("Cast", ["x"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["floats", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["scaled"]),
        helper.make_node("Flatten", ["scaled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "dense"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", TYPES[data.kind], ["batch", *shape])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    said = {"inside_graph": True, "mean": [mean], "std": [std], **facts_of(data)}
    card = {"classes": CLASSES, "preprocessing": said, "input_layout": layout if data.kind == "image" else "n"}
    helper.set_model_props(model, {"edgekd": json.dumps(card)})
    onnx.save(model, str(path))
    return path


def originals(data: Dataset) -> dict[int, Any]:
    """Row of the test split -> the file behind it."""
    assert data.original is not None and data.test.ids is not None
    return {row: data.original(str(name)) for row, name in enumerate(data.test.ids)}


def make(folder: Path, data: Dataset, *, model: Path | None = None, layout: str = "nhwc") -> Path:
    """The bundle in `folder/bundle`."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = folder / "tokenizer.json"
    if data.kind == "text":
        tokenizer.write_text(data.front["tokenizer"], encoding="utf-8")
    inputs: npt.NDArray[Any] = np.asarray(data.test.inputs)
    bundle.write(
        folder / "bundle",
        model=model or linear(folder / "model.onnx", data, layout=layout),
        variant="fp32",
        options=SessionOptions(threads=1),
        classes=CLASSES,
        target_toml="",
        reports=[],
        inputs=np.ascontiguousarray(inputs.transpose(0, 3, 1, 2)) if layout == "nchw" else inputs,
        isa="avx2",
        tokenizer=tokenizer if data.kind == "text" else None,
        files=originals(data) if data.original is not None else None,
    )
    return folder / "bundle"


def tampered(whole: Path, to: Path, name: str, old: str, new: str) -> Path:
    """A copy of a bundle in which one file says `new` instead of `old`, with a manifest that agrees."""
    folder = shutil.copytree(whole, to)
    text = (folder / name).read_text(encoding="utf-8")
    assert len(re.findall(re.escape(old), text)) >= 1, f"{name} has no {old}"
    (folder / name).write_text(text.replace(old, new), encoding="utf-8")
    if name != "manifest.json":
        rehash(folder, name)
    return folder
