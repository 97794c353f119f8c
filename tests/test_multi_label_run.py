"""Multi-label recipes from their source to the verdict and the bundle: images taught by a network, texts by a table."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd import bundle, gate, pipeline, report
from edgekd.errors import BadInputError
from edgekd.recipe import parse

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

CORNERS = ("nw", "ne", "sw", "se")


def write_images(path: Path, count: int = 320) -> Path:
    """Pictures with up to four bright corners, which are their labels; every tenth has none known."""
    generator = np.random.default_rng(0)
    labels = (generator.random((count, 4)) < [0.6, 0.5, 0.4, 0.3]).astype(np.int8)
    images = generator.integers(0, 60, (count, 12, 12), dtype=np.uint8)
    for k in range(4):
        row, column = divmod(k, 2)
        images[labels[:, k] == 1, row * 6 + 1 : row * 6 + 5, column * 6 + 1 : column * 6 + 5] += 150
    labels[::10] = -1
    np.savez(path, x=images, y=labels, classes=np.array(CORNERS))
    return path


def document(source: Path, **distill: object) -> dict[str, Any]:
    own = {"epochs": 4, "batch_size": 16, "optimizer": "adamw", "learning_rate": 0.01}
    return {
        "name": "several",
        "data": {"source": str(source), "calibration_samples": 24, "augment": "none"},
        "student": {"model": "resnet8", "options": {"width": 0.5}},
        "distill": own | distill,
        "quantize": {"variants": ["int8-u8s8"], "time_budget": 0.1},
        "validate": {"rounds": 1, "seconds": 0.01, "min_samples": 10},
        "gate": {"min_micro_f1": 0.5, "max_micro_f1_drop": 0.3, "min_map": 0.5, "max_size_bytes": 1_000_000},
    }


def test_images_with_several_labels_reach_their_verdict_taught_by_a_network(tmp_path: Path) -> None:
    source = write_images(tmp_path / "d.npz")
    pipeline.run(parse(document(source, method="ce"), origin="t"), folder=tmp_path / "teacher", until="distill")
    taught = document(
        source, method="cist", teacher_cache="fp16", cache_folder=str(tmp_path / "cache"), class_weights="balanced"
    )
    taught["teacher"] = {"model": "resnet8", "options": {"width": 0.5}}
    taught["teacher"] |= {"weights": str(tmp_path / "teacher" / "student.safetensors")}
    taught["gate"]["min_agreement"] = 0.2
    outcome = pipeline.run(parse(taught, origin="s"), folder=tmp_path / "run")
    full = outcome.report
    verdicts = {check["name"]: check["verdict"] for check in full["gate"]["checks"]}
    assert {verdicts[name] for name in ("min_micro_f1", "min_map", "min_agreement")} == {"pass"}
    assert full["data"]["task"] == "multi-label" and full["data"]["unlabelled"]["train"] > 10
    assert full["teacher"]["test_top1"] is None and full["teacher"]["test_map"] > 0.8
    assert full["student"]["test_micro_f1"] > 0.6 and full["student"]["history"][-1]["validation_map"] > 0.6
    assert full["student"]["method"]["multi_label"] is True
    stored = report.read(tmp_path / "run" / "report.json")
    assert gate.rejudge(stored).verdict == full["gate"]["verdict"]
    for name in ("report.md", "report.html"):
        text = (tmp_path / "run" / name).read_text(encoding="utf-8")
        assert "Micro F1" in text and "Top-1" not in text
    assert "min_micro_f1" in (tmp_path / "run" / "junit.xml").read_text(encoding="utf-8")
    check_bundle(tmp_path / "run" / "bundle")
    foreign = json.loads(json.dumps(taught))
    foreign["gate"] = {"min_top1": 0.5}
    with pytest.raises(BadInputError, match=r"min_top1 .*does not fit the data, which is multi-label"):
        pipeline.run(parse(foreign, origin="s"), folder=tmp_path / "foreign")
    with pytest.raises(BadInputError, match=r"distill\.method: .*take one of: ce, kd, cist, entropy"):
        pipeline.run(parse(taught | {"distill": {"method": "dkd"}}, origin="s"), folder=tmp_path / "foreign")


def check_bundle(folder: Path) -> None:
    """Its manifest names the task, `verify` compares label sets, and infer.py names the labels of a picture."""
    assert json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["task"] == "multi-label"
    found = bundle.verify(folder)
    assert found.passed and "label sets" in [check.name for check in found.checks]
    image = np.full((12, 12, 1), 30, dtype=np.uint8)
    image[1:5, 1:5] += 150
    np.save(folder.parent / "one.npy", image)
    for arguments in ([], [str(folder.parent / "one.npy")]):
        said = subprocess.run(
            [sys.executable, str(folder / "infer.py"), *arguments], capture_output=True, text=True, check=True
        ).stdout.splitlines()
    labels = {line["label"]: line["probability"] for line in map(json.loads, said) if line.get("label")}
    assert set(labels) <= set(CORNERS) and all(p > 0.5 for p in labels.values())


def test_texts_with_several_labels_learn_from_a_table_of_probabilities(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    words = {"sport": "goal match team", "money": "bank share price", "sky": "cloud rain storm"}
    generator, lines, scores = np.random.default_rng(0), [], []
    for k in range(200):
        has = [name for name in words if generator.random() < 0.45]
        text = " ".join(generator.permutation([*" ".join(words[name] for name in has).split(), "on", "day", f"{k}"]))
        lines.append(json.dumps({"text": text, "label": has if k % 8 else None, "id": f"t{k}"}))
        scores.append([0.95 if name in has else 0.04 for name in words])
    (tmp_path / "t.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    np.savez(
        tmp_path / "s.npz",
        ids=np.array([f"t{k}" for k in range(200)]),
        scores=np.array(scores, dtype=np.float32),
        classes=np.array(list(words)),
    )
    taught = document(tmp_path / "t.jsonl", method="kd", epochs=8, batch_size=8)
    taught["data"] |= {"task": "multi-label", "text": {"max_tokens": 16, "vocabulary_size": 320}}
    taught["student"] = {"model": "text_cnn", "options": {"width": 16, "filters": 8}}
    taught["teacher"] = {"kind": "scores", "path": str(tmp_path / "s.npz")}
    outcome = pipeline.run(parse(taught, origin="s"), folder=tmp_path / "run")
    full = outcome.report
    assert full["teacher"]["outputs"] == "probabilities" and full["teacher"]["test_micro_f1"] == 1.0
    assert full["student"]["test_micro_f1"] > 0.7
    assert bundle.verify(tmp_path / "run" / "bundle").passed
    said = subprocess.run(
        [sys.executable, str(tmp_path / "run" / "bundle" / "infer.py"), "goal match team bank share price"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert {json.loads(line)["label"] for line in said} == {"money", "sport"}
