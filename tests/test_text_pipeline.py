"""Texts from their file to the bundle: trained, taught, exported, quantized, judged, and answered by infer.py."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from edgekd import bundle, pipeline
from edgekd.data.tokens import encode, train_tokenizer
from edgekd.errors import BadInputError, ExitCode
from edgekd.network import read_card
from edgekd.rebundle import rebundle
from edgekd.recipe import Recipe, dump, load, parse
from edgekd.settings import check_models, load_data

pytest.importorskip("tokenizers")

WORDS = {"sport": "goal match team", "money": "bank share price", "sky": "cloud rain storm"}


def write_texts(path: Path, count: int = 150) -> Path:
    """A JSON Lines file of three classes, told apart by three words each."""
    generator = np.random.default_rng(0)
    lines = []
    for k in range(count):
        label = list(WORDS)[k % 3]
        text = " ".join([*generator.permutation(WORDS[label].split()), f"on day {k} of the year"])
        lines.append(json.dumps({"text": text, "label": label, "id": f"t{k}"}))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def document(source: Path, *, model: str, **options: int) -> dict[str, Any]:
    return {
        "name": "texts",
        "data": {
            "source": str(source),
            "calibration_samples": 12,
            "text": {"max_tokens": 16, "vocabulary_size": 320},
        },
        "student": {"model": model, "options": options},
        "distill": {
            "method": "ce", "epochs": 8, "batch_size": 8, "optimizer": "adamw", "learning_rate": 0.01,
        },
        "quantize": {"variants": ["int8-u8s8", "int8-dynamic", "int8-weight-only"], "time_budget": 20.0},
        "validate": {"rounds": 1, "seconds": 0.01, "min_samples": 10},
        "gate": {"min_top1": 0.5, "max_size_bytes": 1_000_000},
    }  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, pipeline.Outcome]:
    """A finished run of a small convolution, taught by a transformer that its own recipe trained on the same texts."""
    import torch

    folder, before = tmp_path_factory.mktemp("texts"), torch.get_num_threads()
    torch.set_num_threads(1)  # as `one_thread` has it for each test: the hash of a stage knows their number
    source = write_texts(folder / "texts.jsonl")
    larger = parse(document(source, model="text_transformer", width=32, depth=1), origin="teacher")
    pipeline.run(larger, folder=folder / "teacher", until="distill")
    taught = document(source, model="text_cnn", width=16, filters=8)
    taught["teacher"] = {"model": "text_transformer", "weights": str(folder / "teacher" / "student.safetensors")}
    taught["distill"] |= {"method": "cist", "teacher_cache": "fp16", "cache_folder": str(folder / "cache")}
    taught["data"] |= {"augment": "none"}
    recipe = parse(taught, origin="student")
    outcome = pipeline.run(recipe, folder=folder / "run")
    torch.set_num_threads(before)
    return recipe, outcome


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


def test_a_student_of_texts_reaches_its_verdict(run: tuple[Recipe, pipeline.Outcome]) -> None:
    recipe, outcome = run
    assert outcome.exit_code == ExitCode.PASS
    full = outcome.report
    assert full["teacher"]["test_top1"] > 0.9 and full["student"]["test_top1"] > 0.9
    assert full["data"]["input_shape"] == [16]
    built = {v["name"]: v for v in full["variants"]}
    for name in ("fp32", "int8-u8s8", "int8-dynamic"):
        assert built[name]["accuracy"]["top1"] > 0.9
    if "fp32:" not in built["int8-u8s8"]["description"]:  # a search that timed nodes may have kept some in fp32
        # The embedding is int8 too: it is most of the file.
        assert built["int8-u8s8"]["size_bytes"] < 0.7 * built["fp32"]["size_bytes"]
    assert load(outcome.folder / "recipe.lock.toml") == recipe


def test_the_tokenizer_is_in_the_run_folder_the_card_and_the_bundle(run: tuple[Recipe, pipeline.Outcome]) -> None:
    recipe, outcome = run
    text = (outcome.folder / "tokenizer.json").read_text(encoding="utf-8")
    assert text == (outcome.folder / "bundle" / "tokenizer.json").read_text(encoding="utf-8")
    card = read_card(outcome.folder / "student.safetensors")
    assert (card.kind, card.front["tokenizer"]) == ("text", text)
    assert load_data(recipe).front["tokenizer"] == text


def test_a_run_again_does_nothing_again(run: tuple[Recipe, pipeline.Outcome]) -> None:
    recipe, outcome = run
    assert pipeline.run(recipe, folder=outcome.folder).cached == (
        "teacher",
        "distill",
        "export",
        "quantize",
        "validate",
    )


def answer(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, str(folder / "infer.py"), *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_infer_takes_a_text_and_gives_it_the_tokens_of_training(
    run: tuple[Recipe, pipeline.Outcome], tmp_path: Path
) -> None:
    _, outcome = run
    folder, text = outcome.folder / "bundle", "A GOAL  for the team of the match"
    done = answer(folder, text, str(tmp_path / "out.npz"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[0])["label"] == "sport"
    tokens = encode((folder / "tokenizer.json").read_text(encoding="utf-8"), [text], max_tokens=16)
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    expected = session.run(None, {"tokens": tokens})[0]
    assert (np.load(tmp_path / "out.npz")["logits"] == expected[0]).all()
    np.save(tmp_path / "text.npy", tokens[0])
    assert answer(folder, str(tmp_path / "text.npy")).stdout == done.stdout
    assert answer(folder).returncode == 0


def test_infer_without_the_package_tokenizers_says_what_to_install(
    run: tuple[Recipe, pipeline.Outcome], tmp_path: Path
) -> None:
    _, outcome = run
    folder = shutil.copytree(outcome.folder / "bundle", tmp_path / "bundle")
    (folder / "tokenizers.py").write_text("raise ImportError\n")  # found first: it lies beside infer.py
    done = answer(folder, "a goal")
    assert done.returncode == 3
    assert "pip install tokenizers" in done.stderr and "Traceback" not in done.stderr
    assert answer(folder).returncode == 0, "its samples are token numbers and need none"


def test_a_bundle_is_verified_and_one_with_another_tokenizer_is_not(
    run: tuple[Recipe, pipeline.Outcome], tmp_path: Path
) -> None:
    _, outcome = run
    checks = {check.name: check.passed for check in bundle.verify(outcome.folder / "bundle").checks}
    assert checks["tokenizer"] and all(checks.values())
    folder = shutil.copytree(outcome.folder / "bundle", tmp_path / "bundle")
    other = train_tokenizer(["other words altogether"], vocabulary_size=300)
    (folder / "tokenizer.json").write_text(other, encoding="utf-8")
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    (folder / "manifest.json").unlink()
    from edgekd.bundle.manifest import SampleEntry, Tolerance, seal

    seal(folder, variant="x", samples=manifest["samples"], isa=manifest["isa"],
         tolerance=Tolerance.model_validate(manifest["tolerance"]), preprocessing=manifest["preprocessing"],
         sample_files=[SampleEntry.model_validate(entry) for entry in manifest["sample_files"]])  # fmt: skip
    failed = [check for check in bundle.verify(folder).checks if check.passed is False]
    assert [check.name for check in failed] == ["tokenizer", "sample files", "infer.py"]
    assert "not the one that model.onnx was trained with" in failed[0].detail


def test_bundling_again_takes_the_tokenizer_along_and_refuses_another(
    run: tuple[Recipe, pipeline.Outcome], tmp_path: Path
) -> None:
    _, outcome = run
    folder = shutil.copytree(outcome.folder, tmp_path / "run")
    assert "tokenizer.json" in rebundle(folder, out=tmp_path / "new", variant="fp32").files
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(BadInputError, match=r"is not the one that .* was trained with"):
        rebundle(folder, out=tmp_path / "newer", variant="fp32")


def test_a_teacher_of_another_tokenizer_is_refused_with_the_way_out(
    run: tuple[Recipe, pipeline.Outcome], tmp_path: Path
) -> None:
    recipe, outcome = run
    values = recipe.model_dump(by_alias=True, exclude_unset=True)
    values["data"]["text"]["vocabulary_size"] = 300
    with pytest.raises(BadInputError, match=r"trained with another tokenizer .*set data\.text\.tokenizer"):
        pipeline.run(parse(values, origin="x"), folder=tmp_path / "a", until="distill")
    del values["data"]["text"]["vocabulary_size"]
    values["data"]["text"]["tokenizer"] = str(outcome.folder.parent / "teacher" / "tokenizer.json")
    values["distill"]["epochs"] = 1
    made = pipeline.run(parse(values, origin="x"), folder=tmp_path / "b", until="distill")
    assert made.report["teacher"]["test_top1"] > 0.9


def test_a_recipe_with_a_section_of_texts_comes_back_from_its_lock_file(
    run: tuple[Recipe, pipeline.Outcome], tmp_path: Path
) -> None:
    recipe, _ = run
    (tmp_path / "again.toml").write_text(dump(recipe), encoding="utf-8")
    assert load(tmp_path / "again.toml") == recipe


def test_a_network_of_images_is_refused_for_texts_with_those_that_fit(tmp_path: Path) -> None:
    recipe = parse(document(write_texts(tmp_path / "texts.jsonl"), model="resnet8"), origin="x")
    check_models(recipe)
    with pytest.raises(BadInputError, match=r"resnet8.*kind text.*text_mean, text_cnn, text_transformer"):
        pipeline.run(recipe, folder=tmp_path / "run")


def test_training_with_dropped_tokens_is_the_same_twice(tmp_path: Path) -> None:
    values = document(write_texts(tmp_path / "texts.jsonl"), model="text_mean", width=8)
    values["data"]["text"]["token_dropout"] = 0.3
    values["distill"]["epochs"] = 2
    recipe = parse(values, origin="x")
    one, two = (pipeline.run(recipe, folder=tmp_path / name, until="distill").report for name in ("a", "b"))
    assert one["student"]["sha256"] == two["student"]["sha256"]
    values["data"]["text"]["token_dropout"] = 0.0
    other = pipeline.run(parse(values, origin="x"), folder=tmp_path / "c", until="distill").report
    assert other["student"]["sha256"] != one["student"]["sha256"]
