"""What a user can get wrong: exit code 2, a message that names it, and nothing half-written."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto
from PIL import Image

from .conftest import RECIPE, Answer, Edgekd, Finished, command
from .onnx_files import external, linear

CE = """
name = "a"
data = {{ source = "{source}", calibration_samples = 12 }}
student.model = "resnet8"
distill.method = "ce"
"""


def refused(answer: Answer, *fragments: str) -> None:
    """Exit code 2, one `error:` without a traceback, and every fragment in it."""
    assert answer.code == 2, answer.err
    assert answer.err.count("error: ") == 1 and "Traceback" not in answer.err
    for fragment in fragments:
        assert fragment in answer.err, answer.err
    assert not answer.out


def whole(folder: Path) -> set[str]:
    """The files of a folder; none of them is half-written."""
    found = {path.name for path in folder.rglob("*") if path.is_file()}
    assert not {name for name in found if "tmp" in name or "building" in name or "edgekd-" in name}
    return found


@pytest.mark.parametrize(
    ("old", "new", "fragments"),
    [
        ("epochs = 2", "epochs = = 2", ("not valid TOML", "line 13")),
        ("epochs = 2", "epoch = 2", ("unknown key 'distill.epoch'; did you mean 'epochs'?", "allowed in distill: ")),
        ("epochs = 2", 'epochs = "two"', ("distill.epochs: found 'two'", "integer")),
        ("epochs = 2", 'epochs = 2\nmethod = "kdd"', ("distill.method: found 'kdd'", "'cist', 'kd', 'ce', 'entropy'")),
        ("epochs = 2", "epochs = 2\ntemperature = 4.0", ("temperature is set, but method = 'cist'", "remove it")),
        ('augment = "none"', 'augment = "none"\ncrop_padding = 2', ("crop_padding is set", "remove one of them")),
        ("[student]\nmodel", "[student]\nmodell", ("unknown key 'student.modell'", "student.model is missing")),
        ('"resnet8"\n[distill]', '"resnet9"\n[distill]', ("unknown model 'resnet9'", "did you mean 'resnet8'?")),
        ('"resnet8"\n[distill]', '"missing.py:build"\n[distill]', ("missing.py:build", "no such file")),
        ("rounds = 1", 'rounds = 1\ntarget = "x86-1"', ("unknown target 'x86-1'", "did you mean 'x86-1t'?", "known: ")),
        ("rounds = 1", 'rounds = 1\ntarget = "own.toml"', ("own.toml does not exist", "edgekd targets show")),
        ("bars.npz", "bar.npz", ("bar.npz' is neither a folder, nor an .npz file",)),
        ("teacher/student", "teacher/absent", ("absent.safetensors: no such file; expected a .safetensors file",)),
        ("teacher/student.safetensors", "builtin:nobody", ("'builtin:nobody' does not ship with edgekd; known: ",)),
        ("min_top1 = 0.2", "min_top1 = 93", ("gate.min_top1: found 93", "less than or equal to 1")),
        ("min_top1 = 0.2", "class_floors = { topp = 0.2 }", ("class_floors.topp: no class 'topp'", "mean 'top'?")),
        ("min_top1 = 0.2", "class_floors = { top = 2 }", ("gate.class_floors.top: found 2", "less than or equal to 1")),
    ],
)  # fmt: skip
def test_a_wrong_recipe_is_refused_before_anything_is_written(
    old: str, new: str, fragments: tuple[str, ...], finished: Finished, tmp_path: Path, edgekd: Edgekd
) -> None:
    assert RECIPE.count(old) == 1
    recipe = finished.recipe.parent / f"{tmp_path.name}.toml"  # beside the data that it names
    recipe.write_text(RECIPE.replace(old, new))
    answer = edgekd("run", recipe, "--out", tmp_path / "run")
    recipe.unlink()
    refused(answer, *fragments)
    assert not (tmp_path / "run").exists()


def test_a_missing_recipe_and_a_wrong_override_are_refused(finished: Finished, tmp_path: Path, edgekd: Edgekd) -> None:
    refused(edgekd("run", tmp_path / "no.toml"), "no.toml: no such file", "edgekd init")
    for override, fragment in (
        ("distill.epochs", "expected section.key=value"),
        ("distill.epoch=3", "did you mean 'epochs'?"),
        ("name.first=3", "'name' is a value, not a section"),
    ):
        refused(edgekd("run", finished.recipe, "--out", tmp_path / "run", "--set", override), fragment)
    assert not (tmp_path / "run").exists()


def test_an_empty_out_is_refused_and_nothing_is_written_here(
    finished: Finished, tmp_path: Path, edgekd: Edgekd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    weights, data = finished.folder / "student.safetensors", finished.recipe.parent / "test.npz"
    for line in (
        ("run", finished.recipe),
        ("distill", finished.recipe),
        ("export", weights, "--data", data),
        ("quantize", finished.folder / "model.onnx", "--data", data),
        ("bundle", finished.folder),
        ("init", data),
    ):
        refused(edgekd(*line, "--out", ""), "'--out' / '-o': is empty; expected a path")
    assert not list(tmp_path.iterdir())


def npz(path: Path, **arrays: object) -> bytes:
    np.savez(path, **arrays)
    return path.read_bytes()


BROKEN_NPZ: dict[str, tuple[Callable[[Path, bytes], object], str]] = {
    "empty": (lambda path, raw: path.write_bytes(b""), "empty, truncated or not an .npz file"),
    "truncated": (lambda path, raw: path.write_bytes(raw[: len(raw) // 2]), "truncated"),
    "text": (lambda path, raw: path.write_text("hello"), "not an .npz file"),
    "objects": (
        lambda path, raw: npz(path, x=np.array([{}, None], dtype=object), y=np.zeros(2, int)),
        "holds Python objects (pickles), which are never loaded",
    ),
    "floats": (
        lambda path, raw: npz(path, x=np.zeros((30, 8, 8, 1)), y=np.arange(30) % 3),
        "'x' is float64 of shape (30, 8, 8, 1); expected raw uint8 pixels",
    ),
    "one class": (
        lambda path, raw: npz(path, x=np.zeros((30, 8, 8), np.uint8), y=np.zeros(30, int)),
        "found 1 class; expected at least 2",
    ),
}


@pytest.mark.parametrize("case", BROKEN_NPZ)
def test_a_broken_npz_is_refused_by_every_command_that_reads_one(
    case: str, npz_file: Path, tmp_path: Path, edgekd: Edgekd
) -> None:
    breaks, fragment = BROKEN_NPZ[case]
    breaks(npz_file, npz_file.read_bytes())
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(CE.format(source=npz_file))
    refused(edgekd("run", recipe, "--out", tmp_path / "run"), str(npz_file), fragment)
    refused(edgekd("init", npz_file, "--out", tmp_path / "new.toml"), str(npz_file), fragment)
    assert not (tmp_path / "run").exists() and not (tmp_path / "new.toml").exists()


@pytest.mark.parametrize("case", ["empty", "truncated", "text", "other"])
def test_a_broken_image_is_refused_by_name(case: str, image_folder: Path, tmp_path: Path, edgekd: Edgekd) -> None:
    picture = sorted(image_folder.rglob("*.png"))[3]
    raw = picture.read_bytes()
    if case == "other":
        Image.new("L", (9, 9)).save(picture)
    else:
        picture.write_bytes({"empty": b"", "truncated": raw[: len(raw) // 2], "text": b"hello"}[case])
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(CE.format(source=image_folder))
    fix = "set data.resize" if case == "other" else "replace or delete the file"
    refused(edgekd("run", recipe, "--out", tmp_path / "run"), str(picture), fix)
    assert not (tmp_path / "run").exists()


def weights(case: str, path: Path, sound: Path) -> str:
    """Write broken weights to `path`; returns what the message must say."""
    import torch
    from safetensors.torch import load_file, save_file

    raw, tensors = sound.read_bytes(), load_file(sound)
    if case == "empty":
        path.write_bytes(b"")
        return "not a whole safetensors file"
    if case == "truncated":
        path.write_bytes(raw[: len(raw) // 2])
        return "not a whole safetensors file"
    if case == "pickle":
        torch.save(Bomb(), path)
        return "found a pickle (torch.save), which could run code and is never loaded"
    if case == "NaN":
        tensors["body.conv1.weight" if "body.conv1.weight" in tensors else "std"].fill_(float("nan"))
        save_file(tensors, path)
        return "holds NaN or infinity; expected finite weights"
    heads = [name for name, value in tensors.items() if value.ndim in (1, 2) and len(value) == 3]
    save_file({n: torch.cat([v, v]) if n in heads else v for n, v in tensors.items()}, path)
    return "tells 6 classes apart, the data has 3"


class Bomb:
    """A pickle of it raises as soon as somebody loads it."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return (exec, ("raise SystemExit('unpickled')",))


@pytest.mark.parametrize("case", ["empty", "truncated", "pickle", "NaN", "classes"])
def test_broken_teacher_weights_are_refused_and_no_student_is_made(
    case: str, finished: Finished, tmp_path: Path, edgekd: Edgekd
) -> None:
    sound = finished.recipe.parent / "teacher" / "student.safetensors"
    fragment = weights(case, tmp_path / "bad.safetensors", sound)
    override = f"teacher.weights={tmp_path / 'bad.safetensors'}"
    answer = edgekd("run", finished.recipe, "--out", tmp_path / "run", "--set", override)
    answer = Answer(code=answer.code, out=answer.out, err=answer.err.replace("teacher     0%\n", ""))
    refused(answer, str(tmp_path / "bad.safetensors"), fragment)
    assert whole(tmp_path / "run") <= {".lock", "recipe.lock.toml"}


def broken_onnx(case: str, path: Path) -> str:
    """Write a broken network to `path`; returns what the message must say."""
    sound = linear(path).read_bytes()
    if case == "missing":
        path.unlink()
        return "no such file; expected an .onnx file"
    if case == "empty":
        path.write_bytes(b"")
        return "is empty; expected an .onnx file"
    if case in ("truncated", "text"):
        path.write_bytes(sound[: len(sound) // 2] if case == "truncated" else b"hello" * 9)
        return "not a whole ONNX file"
    if case == "two inputs":
        linear(path, inputs=2)
        return "has 2 inputs (x0, x1); expected a network with one"
    if case == "int64":
        linear(path, dtype=TensorProto.INT64)
        return "input 'x0' is tensor(int64); expected tensor(uint8), tensor(float)"
    outside = path.parent.parent / "outside.bin"
    outside.write_bytes(np.zeros(12, np.float32).tobytes())
    external(path, "../outside.bin" if case == "data outside" else str(outside))
    return "points to data outside the model's folder"


@pytest.mark.parametrize(
    "case", ["missing", "empty", "truncated", "text", "two inputs", "int64", "data outside", "data at a root path"]
)
def test_a_broken_network_is_refused_before_anything_is_written(case: str, tmp_path: Path, edgekd: Edgekd) -> None:
    (tmp_path / "model").mkdir()
    model, data = tmp_path / "model" / "model.onnx", tmp_path / "data.npz"
    np.savez(data, x=np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32))
    fragment = broken_onnx(case, model)
    refused(edgekd("validate", model, "--data", data), f"model {model}", fragment)
    refused(edgekd("quantize", model, "--data", data, "--out", tmp_path / "out"), f"model {model}", fragment)
    assert not (tmp_path / "out").exists()


def test_a_network_of_nan_weights_is_refused_and_leaves_no_verdict(tmp_path: Path) -> None:
    model, data = linear(tmp_path / "model.onnx", weight=float("nan")), tmp_path / "data.npz"
    np.savez(data, x=np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32))
    answer = command("quantize", model, "--data", data, "--out", tmp_path / "out")
    refused(answer, f"error: model {model}: ", "NaN")
    assert "Warning" not in answer.err, "none of numpy's"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("x", "fragment"),
    [
        (np.zeros((20, 5), np.float32), "expects float32 of (4)"),
        (np.zeros((20, 4), np.uint8), "data is uint8 of shape (4,) a sample"),
        (np.full((20, 4), np.nan, np.float32), "data holds NaN or infinity"),
        (np.zeros((0, 4), np.float32), "'x' is empty"),
    ],
)
def test_samples_that_do_not_fit_the_network_are_refused(
    x: np.ndarray, fragment: str, tmp_path: Path, edgekd: Edgekd
) -> None:
    model, data = linear(tmp_path / "model.onnx"), tmp_path / "data.npz"
    np.savez(data, x=x)
    refused(edgekd("validate", model, "--data", data), fragment)


@pytest.mark.parametrize(
    ("limit", "fragment"),
    [
        ("max_p50_ms", "expected name=number"),
        ("max_p50_ms=fast", "expected name=number"),
        ("max_p50_ms=true", "--limit max_p50_ms=True: input should be a valid number"),
        ("max_p50=1", "--limit max_p50: unknown; did you mean 'max_p50_ms'? (known: max_p50_ms,"),
        ("zzz=1", "--limit zzz: unknown (known: max_p50_ms,"),
        ("min_top1=93", "less than or equal to 1"),
        ("max_p50_ms=nan", "finite number"),
    ],
)
def test_a_wrong_limit_is_refused(limit: str, fragment: str, finished: Finished, edgekd: Edgekd) -> None:
    refused(edgekd("gate", finished.folder / "report.json", "--limit", limit), fragment)


def edited(report: dict, case: str) -> None:
    """Break a report in one place."""
    shipped = next(variant for variant in report["variants"] if variant["selected"])
    if case == "p50":
        shipped["latency"]["p50_ms"] /= 2
    elif case == "top-1":
        shipped["accuracy"]["top1"] = 1.0 if shipped["accuracy"]["top1"] < 1 else 0.9
    elif case == "two winners":
        for variant in report["variants"]:
            variant["selected"] = True
    elif case == "version":
        report["schema_version"] = 2
    else:
        del report["gate"]["variant"]


@pytest.mark.parametrize(
    ("case", "fragment"),
    [
        ("p50", "the report says p50_ms"),
        ("top-1", "the summary was edited; measure again"),
        ("two winners", "2 selected variants"),
        ("version", "schema_version is 2; this edgekd reads 4"),
        ("no name", "gate.variant"),
    ],
)
def test_a_report_that_was_edited_is_refused(
    case: str, fragment: str, finished: Finished, tmp_path: Path, edgekd: Edgekd
) -> None:
    report = json.loads((finished.folder / "report.json").read_text())
    edited(report, case)
    (tmp_path / "report.json").write_text(json.dumps(report))
    refused(edgekd("gate", tmp_path / "report.json"), fragment)


@pytest.mark.parametrize(
    ("text", "fragment"),
    [(None, "no such file"), ("", "is empty"), ('{"a": ', "not whole JSON"), ("[]", "a JSON list")],
)
def test_a_file_that_is_no_report_is_refused(text: str | None, fragment: str, tmp_path: Path, edgekd: Edgekd) -> None:
    if text is not None:
        (tmp_path / "report.json").write_text(text)
    refused(edgekd("gate", tmp_path / "report.json"), str(tmp_path / "report.json"), fragment)
