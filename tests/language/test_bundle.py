"""The bundle of a language model: `verify` reproduces what it answers, and nothing that was changed in it passes."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgekd import bundle
from edgekd.bundle import language as bundles
from edgekd.errors import BadInputError
from edgekd.files import sha256
from edgekd.language.corpus import Corpus, Windows
from edgekd.quantize.convert import CONVERTED
from edgekd.session import SessionOptions

Make = Callable[..., Path]


@pytest.fixture
def make(words: Corpus, shipped: Path, tmp_path: Path) -> Make:
    """Writes a bundle of the file, or of a variant of it."""

    def write(variant: str = "fp32") -> Path:
        model = tmp_path / f"{variant}.onnx"
        if variant == "fp32":
            shutil.copyfile(shipped, model)
        else:
            CONVERTED[variant][0](shipped, model, {}, ())
        tokens, following, mask = Windows(words.test, context=16).batch(np.arange(8))
        bundles.write(
            tmp_path / "bundle",
            model=model,
            variant=variant,
            options=SessionOptions(threads=1),
            vocabulary=words.vocabulary,
            tokens=np.concatenate([tokens, following[:, -1:]], axis=1)[mask.all(axis=1)],
            target_toml="",
            reports=[],
            isa="avx2",
        )
        return tmp_path / "bundle"

    return write


def failed(folder: Path) -> list[str]:
    return [check.name for check in bundle.verify(folder).checks if check.passed is False]


def rehash(folder: Path, name: str) -> None:
    """Make the manifest agree with a file that was changed."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = {"sha256": sha256(folder / name), "size_bytes": (folder / name).stat().st_size}
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "variant",
    [
        "int8-weight-only",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("fp32", "int4-weight-only", "int8-dynamic")),
    ],
)
def test_a_bundle_passes_with_its_vocabulary_logits_next_tokens_and_perplexity(variant: str, make: Make) -> None:
    found = bundle.verify(make(variant))
    assert found.passed is True
    names = [check.name for check in found.checks]
    assert names == [
        "manifest", "files", "hashes", "vocabulary", "tokens", "outputs", "next tokens", "perplexity", "past",
    ]  # fmt: skip


def test_a_changed_file_fails_and_nothing_is_run(make: Make) -> None:
    folder = make()
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes() + b"x")
    found = bundle.verify(folder)
    assert [(check.name, check.passed) for check in found.checks[2:]] == [("hashes", False), ("outputs", None)]


@pytest.mark.slow
def test_two_characters_that_changed_places_are_caught_though_the_hash_was_made_anew(make: Make) -> None:
    folder = make()
    path = folder / "vocabulary.json"
    words = json.loads(path.read_text())
    words["definition"] = words["definition"][1] + words["definition"][0] + words["definition"][2:]
    path.write_text(json.dumps(words))
    rehash(folder, "vocabulary.json")
    assert "vocabulary" in failed(folder)


@pytest.mark.slow
def test_other_weights_are_caught_though_the_hash_was_made_anew(make: Make) -> None:
    folder = make()
    model = onnx.load(str(folder / "model.onnx"))
    largest = max(model.graph.initializer, key=lambda tensor: int(np.prod(tensor.dims)))
    largest.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(largest), largest.name))
    onnx.save(model, str(folder / "model.onnx"))
    rehash(folder, "model.onnx")
    assert {"outputs", "next tokens"} <= set(failed(folder))


def test_a_manifest_of_another_schema_or_with_a_lie_is_refused(make: Make) -> None:
    path = make() / "manifest.json"
    manifest = json.loads(path.read_text())
    for change, message in (({"schema_version": 99}, "schema_version 99"), ({"perplexity": -1.0}, "perplexity")):
        path.write_text(json.dumps(manifest | change))
        with pytest.raises(BadInputError, match=message):
            bundle.verify(path.parent)


@pytest.mark.slow
def test_the_program_inside_goes_on_with_a_text(make: Make) -> None:
    line = [sys.executable, str(make() / "generate.py"), "the cat ", "--tokens", "30", "--temperature", "0"]
    wrote = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    assert wrote.startswith("the cat ") and len(wrote) > 30
