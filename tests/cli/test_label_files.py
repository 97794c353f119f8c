"""Several labels a sample in `validate`, `quantize`, `compare`, `gate` and `verify`: edgekd's own, others'."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from .conftest import Edgekd

pytestmark = pytest.mark.slow

NAMES = ("nw", "ne", "sw", "se")
QUICK = ("--rounds", "1", "--seconds", "0.01", "--min-samples", "10")
RECIPE = """
name = "a"
data = {{ source = "{source}", calibration_samples = 20, augment = "none" }}
student = {{ model = "resnet8", options = {{ width = 0.5 }} }}
distill = {{ method = "ce", epochs = 5, batch_size = 16, optimizer = "adamw", learning_rate = 0.01 }}
"""


def corners(count: int = 240) -> tuple[np.ndarray, np.ndarray]:
    """Pictures with up to four bright corners, which are their labels."""
    generator = np.random.default_rng(0)
    labels = (generator.random((count, 4)) < 0.45).astype(np.int8)
    images = generator.integers(0, 60, (count, 12, 12), dtype=np.uint8)
    for k in range(4):
        row, column = divmod(k, 2)
        images[labels[:, k] == 1, row * 6 + 1 : row * 6 + 5, column * 6 + 1 : column * 6 + 5] += 150
    return images, labels


def elsewhere(path: Path, *, last: str) -> Path:
    """A network of someone else: the mean brightness of each corner, less 1/3, as a logit or a probability."""
    weights = np.zeros((12, 12, 4), dtype=np.float32)
    for k in range(4):
        row, column = divmod(k, 2)
        weights[row * 6 + 1 : row * 6 + 5, column * 6 + 1 : column * 6 + 5, k] = 3 / 16
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["x"], ["flat"]),
            helper.make_node("Gemm", ["flat", "w", "b"], ["h"]),
            helper.make_node(last, ["h"], ["scores"]),
        ],
        "corners",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1, 12, 12])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 4])],
        [
            numpy_helper.from_array(weights.reshape(144, 4), "w"),
            numpy_helper.from_array(np.full(4, -1.0, np.float32), "b"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with d.npz, d.csv of pictures, one.npz with a class each, and run/model.onnx."""
    from edgekd import pipeline, recipe

    folder = tmp_path_factory.mktemp("own")
    images, labels = corners()
    np.savez(folder / "d.npz", x=images, y=labels, classes=np.array(NAMES))
    np.savez(folder / "wrong.npz", x=images, y=1 - labels)
    np.savez(folder / "one.npz", x=images[:60], y=np.arange(60) % 4, classes=np.array(NAMES))
    (folder / "images").mkdir()
    rows = [["path", "label"]]
    for k in range(60):
        Image.fromarray(images[k]).save(folder / "images" / f"{k}.png")
        rows.append([f"images/{k}.png", ";".join(name for name, has in zip(NAMES, labels[k], strict=True) if has)])
    with (folder / "d.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    (folder / "a.toml").write_text(RECIPE.format(source=folder / "d.npz"))
    pipeline.run(recipe.load(folder / "a.toml"), folder=folder / "run", until="export")
    return folder


def test_an_exported_file_says_that_it_is_multi_label_and_is_scored_by_f1(own: Path, edgekd: Edgekd) -> None:
    model = own / "run" / "model.onnx"
    entries = {entry.key: entry.value for entry in onnx.load(str(model)).metadata_props}
    assert json.loads(entries["edgekd"])["task"] == "multi-label"
    scores = []
    for data in ("d.npz", "d.csv"):
        answer = edgekd(
            "validate", model, "--data", own / data, *QUICK, "--limit", "min_micro_f1=0.5", "--limit", "min_map=0.5",
            "--json",
        )  # fmt: skip
        assert answer.code == 0, answer.err
        report = json.loads(answer.out)
        scores.append(report["variants"][0]["accuracy"])
        assert report["data"]["task"] == "multi-label"
        assert scores[-1]["top1"] is None and scores[-1]["map"] > 0.8 and scores[-1]["micro_f1_drop"] is None
    assert [score["n"] for score in scores] == [240, 60]
    answer = edgekd("validate", model, "--data", own / "wrong.npz", *QUICK, "--limit", "min_micro_f1=0.9")
    assert answer.code == 1 and "micro F1" in answer.out


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ("d.npz", ("--limit", "min_top1=0.5"), "min_top1 (set by the command line) does not fit the data"),
        ("one.npz", (), "is multi-label, and"),
        ("d.npz", ("--set", "data.task=classes"), "data.task=classes, and model"),
    ],
)
def test_what_has_no_meaning_is_bad_input(
    own: Path, edgekd: Edgekd, data: str, options: tuple[str, ...], message: str
) -> None:
    answer = edgekd("validate", own / "run" / "model.onnx", "--data", own / data, *QUICK, *options)
    assert answer.code == 2 and message in " ".join(answer.err.split()), answer.err


def test_an_exported_file_is_quantized_within_its_f1_and_compared(own: Path, tmp_path: Path, edgekd: Edgekd) -> None:
    model, out = own / "run" / "model.onnx", tmp_path / "out"
    answer = edgekd(
        "quantize", model, "--data", own / "d.npz", "--out", out, "--time-budget", "2", *QUICK,
        "--limit", "max_micro_f1_drop=0.3", "--json",
    )  # fmt: skip
    assert answer.code in (0, 1), answer.err  # the target's budgets of time may be missed here
    report = json.loads(answer.out)
    checks = {check["name"]: check["verdict"] for check in report["gate"]["checks"]}
    assert checks["max_micro_f1_drop"] == "pass"
    assert edgekd("gate", out / "report.json").code == answer.code
    assert "Micro F1" in (out / "report.md").read_text()
    assert edgekd("verify", out / "bundle").code == 0
    variant = next(path for path in out.glob("int8*.onnx"))
    answer = edgekd(
        "compare", variant, model, "--data", own / "d.npz", "--max-regression", "99%", "--max-seconds", "20",
        "--limit", "max_micro_f1_drop=0.3", "--limit", "min_map=0.5", "--json",
    )  # fmt: skip
    result = json.loads(answer.out)
    assert {c["name"]: c["verdict"] for c in result["gate"]["checks"]}["min_map"] == "pass", answer.err
    assert result["measured"]["micro_f1"] > 0.5 and "top1" not in result["measured"]
    refused = edgekd("compare", variant, model, "--data", own / "d.npz", "--limit", "max_top1_drop=0.3")
    assert refused.code == 2 and "is multi-label" in refused.err


def test_a_network_of_texts_is_judged_on_a_table_by_a_path_alone(tmp_path: Path, edgekd: Edgekd) -> None:
    from edgekd import pipeline, recipe

    pytest.importorskip("tokenizers")
    words = {"sport": "goal match team", "money": "bank share price", "sky": "cloud rain storm"}
    generator, rows = np.random.default_rng(0), [["text", "label"]]
    for k in range(160):
        has = [name for name in words if generator.random() < 0.45]
        rows.append([" ".join([*(words[name] for name in has), f"day {k}"]), ";".join(has) if k % 10 else "?"])
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    (tmp_path / "a.toml").write_text(
        f"""
name = "a"
data = {{ source = "{tmp_path / "t.csv"}", task = "multi-label", calibration_samples = 20, text.vocabulary_size = 320 }}
student = {{ model = "text_cnn", options = {{ width = 16, filters = 8 }} }}
distill = {{ method = "ce", epochs = 8, batch_size = 8, optimizer = "adamw", learning_rate = 0.01 }}
"""
    )
    pipeline.run(recipe.load(tmp_path / "a.toml"), folder=tmp_path / "run", until="export")
    answer = edgekd("validate", tmp_path / "run" / "model.onnx", "--data", tmp_path / "t.csv", *QUICK, "--json")
    report = json.loads(answer.out)
    accuracy = report["variants"][0]["accuracy"]
    assert accuracy["n"] == 144 and accuracy["micro_f1"] > 0.7 and accuracy["task"] == "multi-label"
    assert "16 without a label are left out" in report["data"]["evaluated"]


@pytest.mark.parametrize("last", ["Identity", "Sigmoid"])
def test_a_network_from_elsewhere_is_judged_by_its_label_sets(tmp_path: Path, edgekd: Edgekd, last: str) -> None:
    images, labels = corners()
    np.savez(tmp_path / "d.npz", x=images[:, None].astype(np.float32) / 255, y=labels)
    model = elsewhere(tmp_path / "a.onnx", last=last)
    answer = edgekd("validate", model, "--data", tmp_path / "d.npz", *QUICK, "--limit", "min_micro_f1=0.9", "--json")
    assert answer.code == 0, answer.err
    accuracy = json.loads(answer.out)["variants"][0]["accuracy"]
    assert accuracy["micro_f1"] == 1.0 == accuracy["map"]
    assert (accuracy["outputs"], accuracy["threshold"]) == {
        "Identity": ("logits", 0),
        "Sigmoid": ("probabilities", 0.5),
    }[last]
    out = tmp_path / "out"
    answer = edgekd(
        "quantize", model, "--data", tmp_path / "d.npz", "--out", out, "--time-budget", "1", *QUICK, "--json"
    )
    report = json.loads(answer.out)
    assert [c["name"] for c in report["gate"]["checks"]].count("max_micro_f1_drop") == 1, answer.err
    assert edgekd("verify", out / "bundle").code == 0
    np.save(tmp_path / "one.npy", (images[0][None] / 255).astype(np.float32))
    line = [sys.executable, str(out / "bundle" / "infer.py")]
    assert subprocess.run(line, capture_output=True, check=False).returncode == 0
    said = subprocess.run([*line, str(tmp_path / "one.npy")], capture_output=True, text=True, check=True).stdout
    named = {row["label"]: row["probability"] for row in map(json.loads, said.splitlines()) if "label" in row}
    assert set(named) == {str(k) for k in np.flatnonzero(labels[0])} and all(0.5 < p <= 1 for p in named.values())
    again = edgekd("validate", out / "fp32.onnx", "--data", tmp_path / "d.npz", *QUICK, "--json")
    assert json.loads(again.out)["variants"][0]["accuracy"]["micro_f1"] == 1.0
