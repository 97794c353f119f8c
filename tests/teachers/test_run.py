"""`edgekd run` with each kind of teacher: the same network gives the same student, and each file its facts."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from edgekd import pipeline
from edgekd.data import Dataset
from edgekd.errors import BadInputError
from edgekd.network import load_student
from edgekd.recipe import parse

from ..conftest import Draw  # noqa: TID252  tests are no package
from .nets import CLASSES, write_onnx, write_torchscript

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def bars(draw: Draw, tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples, path = draw(90), tmp_path_factory.mktemp("data") / "bars.npz"
    np.savez(path, x=samples.inputs, y=samples.labels)
    return path


@pytest.fixture(scope="module")
def files(bars: Path, teacher_file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The trained teacher of the bars as safetensors, ONNX and TorchScript, and what it says as a table: to read."""
    from edgekd import data, deploy
    from edgekd.pixels import to_tensor

    folder = tmp_path_factory.mktemp("files")
    onnx = folder / "t.onnx"
    deploy.export_weights(teacher_file, source=bars, path=onnx, opset=18, input_layout="nchw")
    network, _ = load_student(teacher_file)
    script = folder / "t.pt"
    example = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    write_torchscript(script, network, example)
    loaded = data.load(str(bars), calibration_samples=12)
    ids, scores = [], []
    with torch.no_grad():
        for part in (loaded.train, loaded.calibration, loaded.validation, loaded.test):
            assert part.ids is not None
            ids += part.ids.tolist()
            scores.append(network(to_tensor(part.inputs, torch.device("cpu"))).numpy())
    table = folder / "scores.npz"
    np.savez(table, ids=np.array(ids), scores=np.concatenate(scores))
    return {"network": teacher_file, "onnx": onnx, "torchscript": script, "scores": table}


def document(source: Path, teacher: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "name": "small",
        "data": {"source": str(source), "classes": [*CLASSES], "calibration_samples": 12, "augment": "none"},
        "teacher": teacher,
        "student": {"model": "resnet8"},
        "distill": {"method": "cist", "epochs": 3, "batch_size": 16, "learning_rate": 0.02, **changes},
        "quantize": {"variants": ["int8-u8s8"], "time_budget": 1.0},
        "validate": {"rounds": 1, "seconds": 0.01, "min_samples": 10},
        "gate": {"max_size_bytes": 1_000_000},
    }


def teacher_of(kind: str, path: Path) -> dict[str, Any]:
    if kind == "network":
        return {"model": "resnet8", "weights": str(path)}
    return {"kind": kind, "path": str(path)} | ({"dtype": "uint8"} if kind == "torchscript" else {})


def test_the_same_network_as_any_kind_of_teacher_gives_the_same_student_within_float_noise(
    npz_file: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    students, facts = {}, {}
    for kind, path in files.items():
        recipe = parse(document(npz_file, teacher_of(kind, path)), origin="test")
        made = pipeline.run(recipe, folder=tmp_path / kind, until="distill")
        students[kind] = load_file(tmp_path / kind / "student.safetensors")
        facts[kind] = made.report["teacher"]
    for kind in ("onnx", "torchscript", "scores"):
        assert facts[kind]["test_predictions"] == facts["network"]["test_predictions"]
        for name, value in students["network"].items():
            # Targets are rounded to fp16, so a last bit of float32 moves few of them, each by 2**-11 of itself; 18
            # steps of training let such a difference grow, which is why this is no bound to the bit.
            torch.testing.assert_close(students[kind][name], value, rtol=5e-3, atol=5e-3, msg=f"{kind}: {name}")
    assert facts["onnx"]["class_order"] == "by name" and facts["scores"]["class_order"] == "assumed"
    assert facts["scores"]["parameters"] is None and facts["torchscript"]["parameters"] > 0


@pytest.mark.slow
def test_a_run_with_an_onnx_teacher_goes_to_its_verdict_and_is_kept(
    npz_file: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    path = Path(shutil.copyfile(files["onnx"], tmp_path / "t.onnx"))
    recipe = parse(document(npz_file, teacher_of("onnx", path)), origin="test")
    first = pipeline.run(recipe, folder=tmp_path / "run")
    assert first.report["teacher"]["kind"] == "onnx" and first.report["gate"]["verdict"]
    assert all(step.cached for step in pipeline.plan(recipe, folder=tmp_path / "run")[:2])
    write_onnx(path)  # other bytes under the same name
    other = parse(document(npz_file, teacher_of("onnx", path) | {"scale": 1 / 255}), origin="test")
    assert not any(step.cached for step in pipeline.plan(other, folder=tmp_path / "run"))


@pytest.mark.slow
def test_an_unknown_size_goes_through_the_report_and_the_logits_through_the_cache(
    npz_file: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    kept = {"teacher_cache": "fp16", "cache_folder": str(tmp_path / "cache")}
    for fixed in (False, True):
        made = document(npz_file, teacher_of("scores", files["scores"]) | {"fixed": fixed}, **kept)
        made["data"]["augment"] = "flip" if fixed else "none"
        outcome = pipeline.run(parse(made, origin="test"), folder=tmp_path / f"run-{fixed}")
        assert outcome.report["teacher"]["parameters"] is None
        assert "parameters unknown" in (outcome.folder / "report.html").read_text()
    # One entry for both: what it says of a picture does not depend on how the student sees it.
    assert len([p for p in (tmp_path / "cache" / "teacher-logits").iterdir() if p.is_dir()]) == 1


@pytest.mark.slow
def test_an_ensemble_of_kinds_runs_and_counts_its_parameters(
    npz_file: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    members = [teacher_of("network", files["network"]) | {"weight": 3.0}, teacher_of("onnx", files["onnx"])]
    recipe = parse(document(npz_file, {"kind": "ensemble", "members": members}), origin="test")
    made = pipeline.run(recipe, folder=tmp_path / "run", until="distill")
    alone = pipeline.run(
        parse(document(npz_file, teacher_of("network", files["network"])), origin="test"),
        folder=tmp_path / "alone",
        until="distill",
    )
    assert made.report["teacher"]["model"] == "0.75 resnet8 + 0.25 t.onnx"
    assert made.report["teacher"]["parameters"] > alone.report["teacher"]["parameters"]
    assert made.report["teacher"]["test_predictions"] == alone.report["teacher"]["test_predictions"]


def test_scores_for_augmented_pictures_must_be_meant(npz_file: Path) -> None:
    made = document(npz_file, teacher_of("scores", Path("scores.npz")))
    made["data"]["augment"] = "flip"
    with pytest.raises(
        BadInputError, match=r"data.augment = 'flip' changes it; set augment = 'none', or teacher.fixed"
    ):
        parse(made, origin="test")
    made["teacher"]["fixed"], made["distill"]["mixup"] = True, 0.3
    with pytest.raises(BadInputError, match=r"has no answer to mixed samples; remove distill.mixup"):
        parse(made, origin="test")


def test_classes_in_another_order_are_refused_at_chance_with_the_order_that_fits(
    npz_file: Path, tmp_path: Path
) -> None:
    path = write_onnx(tmp_path / "t.onnx", order=(2, 0, 1))
    teacher = teacher_of("onnx", path) | {"scale": 1 / 255}
    wrong = parse(document(npz_file, teacher), origin="test")
    with pytest.raises(
        BadInputError, match=r'which is chance for 3 classes.*in the order \["bottom", "top", "middle"\]'
    ):
        pipeline.run(wrong, folder=tmp_path / "wrong", until="distill")
    named = parse(document(npz_file, teacher | {"classes": ["bottom", "top", "middle"]}), origin="test")
    made = pipeline.run(named, folder=tmp_path / "named", until="distill")
    assert made.report["teacher"]["test_top1"] > 0.9


def test_a_dataset_names_its_samples_by_the_rows_of_the_file(dataset: Dataset) -> None:
    assert dataset.source_ids is not None and len(dataset.source_ids) == 168
    assert dataset.source_ids[0] == "train/0" and dataset.source_ids[-1] == "test/23"
    assert dataset.train.ids is not None and set(dataset.train.ids.tolist()) <= set(dataset.source_ids.tolist())
