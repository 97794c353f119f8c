"""A small world of each kind of data: a source, a trained network, and that network in every form of a teacher."""

import json
import warnings
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from edgekd import front, pipeline
from edgekd.data import Dataset
from edgekd.network import load_student
from edgekd.recipe import parse
from edgekd.settings import load_data

CLASSES = ("high", "low", "middle")
RATE, WINDOW = 2_000, 16

NETWORKS = """
import torch
from torch import nn

def image(num_classes, in_channels):
    return nn.Sequential(nn.Conv2d(in_channels, 6, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(54, num_classes))

def series(num_classes, in_channels):
    return nn.Sequential(nn.Conv1d(in_channels, 8, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(),
                         nn.Linear(8, num_classes))

def audio(num_classes, in_channels):
    return nn.Sequential(nn.Conv2d(in_channels, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d((12, 1)), nn.Flatten(),
                         nn.Linear(48, num_classes))

class Words(nn.Module):
    def __init__(self, num_classes, vocabulary):
        super().__init__()
        self.embedding, self.head = nn.Embedding(vocabulary, 8, padding_idx=0), nn.Linear(8, num_classes)

    def forward(self, tokens):
        return self.head(self.embedding(tokens).mean(dim=1))

def text(num_classes, in_channels):
    return Words(num_classes, in_channels)
"""
"""Networks of a few hundred weights, so that a cell of the matrix takes a fraction of a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """kind: of its data. data: its section of a recipe. network: `file.py:callable`, of teacher and student alike.

    weights: of the trained network, as `edgekd run` writes them. top1: how right it is on the test samples.
    """

    kind: str
    folder: Path
    data: dict[str, Any]
    dataset: Dataset
    network: str
    weights: Path
    top1: float

    def answer(self, inputs: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """The network's logits (n, 3) of samples as `Samples.inputs` has them."""
        net, _ = load_student(self.weights)
        with torch.no_grad():
            logits: npt.NDArray[np.float32] = net(self.tensor(inputs)).numpy()
        return logits

    def tensor(self, inputs: npt.NDArray[Any]) -> torch.Tensor:
        """Samples as the network takes them."""
        return front.of(self.kind).to_tensor(np.array(inputs), torch.device("cpu"))

    def document(self, teacher: dict[str, Any] | None, **data: Any) -> dict[str, Any]:
        """A recipe of one epoch, learned from `teacher`; from labels where there is none. data: more of its section."""
        learn = {"method": "ce"} if teacher is None else {"method": "kd"}
        return {
            "name": self.kind,
            "data": self.data | data,
            "student": {"model": self.network},
            "distill": learn | {"epochs": 1, "batch_size": 8, "learning_rate": 0.1},
            "gate": {"max_size_bytes": 1_000_000},
        } | ({} if teacher is None else {"teacher": teacher})


def make(kind: str, folder: Path) -> World:
    """The world of a kind of data, its network trained until it is far from chance."""
    (folder / "networks.py").write_text(NETWORKS)
    data = {"source": str(SOURCES[kind](folder)), "calibration_samples": 8, "augment": "none", **MORE[kind]}
    network = f"{folder / 'networks.py'}:{kind}"
    recipe = parse(
        {
            "name": "teacher",
            "data": data,
            "student": {"model": network},
            "distill": {
                "method": "ce", "epochs": 12, "batch_size": 8, "optimizer": "adamw", "learning_rate": 0.03,
            },
        },
        origin=kind,
    )  # fmt: skip
    made = pipeline.run(recipe, folder=folder / "teacher", until="distill")
    return World(
        kind=kind,
        folder=folder,
        data=data,
        dataset=load_data(recipe),
        network=network,
        weights=folder / "teacher" / "student.safetensors",
        top1=made.report["student"]["test_top1"],
    )


def write_onnx(world: World, path: Path) -> Path:
    """Its network as torch's older exporter writes it: quickly, and without a word on classes or kind."""
    net, _ = load_student(world.weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net,
            (world.tensor(world.dataset.train.inputs[:2]),),
            str(path),
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}},
            opset_version=18,
            dynamo=False,
        )
    return path


def write_torchscript(world: World, path: Path) -> Path:
    """Its network, traced."""
    net, _ = load_student(world.weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(net, world.tensor(world.dataset.train.inputs[:2])), str(path))
    return path


def write_program(world: World, path: Path) -> Path:
    """Its network as a torch.export program with a dynamic batch."""
    net, _ = load_student(world.weights)
    example = world.tensor(world.dataset.train.inputs[:2])
    batch = torch.export.Dim("batch", min=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(net, (example,), dynamic_shapes=({0: batch},)), str(path))
    return path


def write_scores(world: World, path: Path) -> Path:
    """What its network says of every sample of the source, in the table that the suffix says."""
    dataset = world.dataset
    parts = (dataset.train, dataset.calibration, dataset.validation, dataset.test)
    found: dict[str, Any] = {}
    for part in parts:
        assert part.ids is not None
        found |= dict(zip(part.ids.tolist(), world.answer(np.asarray(part.inputs)), strict=True))
    assert dataset.source_ids is not None
    ids = dataset.source_ids.tolist()
    scores = np.stack([found.get(one, np.zeros(len(CLASSES), np.float32)) for one in ids])
    if path.suffix == ".npy":
        np.save(path, scores)
    elif path.suffix == ".npz":
        np.savez(path, ids=np.array(ids), scores=scores, classes=np.array(dataset.classes))
    elif path.suffix == ".csv":
        lines = [f"{one},{','.join(map(repr, map(float, row)))}" for one, row in zip(ids, scores, strict=True)]
        path.write_text("\n".join([f"id,{','.join(dataset.classes)}", *lines, ""]), encoding="utf-8")
    else:
        import pyarrow
        from pyarrow import parquet

        columns = {"id": ids} | {name: scores[:, place] for place, name in enumerate(dataset.classes)}
        parquet.write_table(pyarrow.table(columns), path)
    return path


def _image(folder: Path) -> Path:
    draw = np.random.default_rng(0)
    labels = np.arange(90) % 3
    images = draw.integers(0, 100, (90, 8, 8, 1), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[label * 8 // 3 : (label + 1) * 8 // 3] += 120
    np.savez(folder / "bars.npz", x=images, y=labels, classes=np.array(CLASSES))
    return folder / "bars.npz"


def _series(folder: Path) -> Path:
    draw = np.random.default_rng(0)
    rows = ["ax,ay,label,group"]
    for subject in range(8):
        time = np.arange(WINDOW * 4) / WINDOW * draw.uniform(0.9, 1.1)
        for number, name in enumerate(CLASSES):
            swing = (1 + number) * np.stack([np.sin(2 * np.pi * (1 + 2 * number) * time + p) for p in (0, 1)], axis=1)
            noisy = 9.81 + swing + draw.normal(0, 0.3, swing.shape)
            rows += [f"{a:.4f},{b:.4f},{name},s{subject}" for a, b in noisy]
    (folder / "motion.csv").write_text("\n".join([*rows, ""]), encoding="utf-8")
    return folder / "motion.csv"


def _audio(folder: Path) -> Path:
    draw = np.random.default_rng(0)
    time = np.arange(RATE // 8) / RATE
    for name, pitch in zip(CLASSES, (800.0, 150.0, 400.0), strict=True):
        for speaker in range(8):
            for take in range(4):
                place = folder / "tones" / name / f"s{speaker}_{take}.wav"
                place.parent.mkdir(parents=True, exist_ok=True)
                tone = np.sin(2 * np.pi * pitch * (1 + 0.02 * speaker) * time) + 0.3 * draw.standard_normal(len(time))
                with wave.open(str(place), "wb") as file:
                    file.setnchannels(1)
                    file.setsampwidth(2)
                    file.setframerate(RATE)
                    file.writeframes((8_000 * tone).astype("<i2").tobytes())
    return folder / "tones"


def _text(folder: Path) -> Path:
    draw = np.random.default_rng(0)
    words = dict(zip(CLASSES, ("goal match team", "bank share price", "cloud rain storm"), strict=True))
    lines = []
    for number in range(90):
        label = CLASSES[number % 3]
        text = " ".join([*draw.permutation(words[label].split()), f"on day {number}"])
        lines.append(json.dumps({"text": text, "label": label, "id": f"t{number}"}))
    (folder / "texts.jsonl").write_text("\n".join([*lines, ""]), encoding="utf-8")
    return folder / "texts.jsonl"


SOURCES = {"image": _image, "series": _series, "audio": _audio, "text": _text}
MORE: dict[str, dict[str, Any]] = {
    "image": {},
    "series": {"series": {"window": WINDOW}},
    "audio": {
        "audio": {"group_pattern": "(s[0-9]+)_", "window_ms": 32.0, "hop_ms": 16.0, "mels": 12, "fmin": 60.0},
    },
    "text": {"text": {"max_tokens": 12, "vocabulary_size": 320}},
}
"""Kind of data -> what its section of a recipe says beside the source."""
