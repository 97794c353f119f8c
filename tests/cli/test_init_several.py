"""`edgekd init` for data with several labels a sample: the recipe says so, and its limits are those of label sets."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekd import recipe as recipes
from edgekd.recipe import Recipe
from edgekd.starter_gate import has_several

from .conftest import Edgekd

NAMES = ("cat", "dog", "fox")
SETS = [[NAMES[k] for k in range(3) if number >> k & 1] for number in range(8)] * 10
GENERATOR = np.random.default_rng(0)


def texts(folder: Path) -> Path:
    pytest.importorskip("tokenizers")
    lines = [
        json.dumps({"text": f"{' and '.join(labels)} number {k}", "label": labels}) for k, labels in enumerate(SETS)
    ]
    (folder / "a.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "a.jsonl"


def pictures(folder: Path) -> Path:
    rows = ["path,label"]
    for k, labels in enumerate(SETS):
        Image.fromarray(GENERATOR.integers(0, 255, (8, 8), dtype=np.uint8)).save(folder / f"{k}.png")
        rows.append(f"{k}.png,{';'.join(labels)}")
    (folder / "a.csv").write_text("\n".join(rows) + "\n")
    return folder / "a.csv"


def sets() -> np.ndarray:
    return np.array([[name in labels for name in NAMES] for labels in SETS]).astype(np.int8)


def arrays(folder: Path) -> Path:
    np.savez(folder / "a.npz", x=GENERATOR.integers(0, 255, (80, 8, 8), dtype=np.uint8), y=sets())
    return folder / "a.npz"


def readings(folder: Path) -> Path:
    np.savez(folder / "a.npz", x=GENERATOR.normal(size=(80, 64, 2)).astype(np.float32), y=sets())
    return folder / "a.npz"


@pytest.mark.parametrize("make", [texts, pictures, arrays, readings])
def test_a_recipe_for_several_labels_has_limits_of_label_sets(make, tmp_path: Path, edgekd: Edgekd) -> None:  # type: ignore[no-untyped-def]
    source, out = make(tmp_path), tmp_path / "r.toml"
    answer = edgekd("init", source, "--out", out)
    assert answer.code == 0, answer.err
    loaded: Recipe = recipes.load(out)
    assert loaded.data.task == ("auto" if source.suffix == ".npz" else "multi-label")
    limits = loaded.gate.model_dump(exclude_none=True)
    assert set(limits) == {"min_micro_f1", "max_micro_f1_drop"} and limits["max_micro_f1_drop"] == 0.03
    assert "3 classes" in out.read_text()


def test_one_name_a_cell_or_an_unreadable_table_is_no_sign_of_several(tmp_path: Path) -> None:
    pictures(tmp_path)
    lines = (tmp_path / "a.csv").read_text().splitlines()
    (tmp_path / "one.csv").write_text("\n".join(line.partition(";")[0] for line in lines))
    (tmp_path / "bad.csv").write_text("path,label\na.png,[cat\n")
    assert has_several(str(tmp_path / "a.csv"))
    assert not has_several(str(tmp_path / "one.csv")) and not has_several(str(tmp_path / "bad.csv"))
    assert not has_several("fashion_mnist") and not has_several(str(tmp_path))
