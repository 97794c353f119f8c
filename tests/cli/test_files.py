"""`gate`, `bundle`, `verify`, `export`, `quantize`, `validate`: what works on plain files."""

import json
import shutil
from pathlib import Path

import pytest

from .conftest import Edgekd, Finished, without_torch


@pytest.mark.parametrize(
    ("limits", "code", "verdict"),
    [
        ([], 0, "PASS"),
        (["max_p50_ms=0.000001"], 1, "FAIL"),
        (["min_top1=MEASURED"], 3, "INCONCLUSIVE"),
        (["max_p99_ms=1000"], 3, "INCONCLUSIVE"),
        (["min_top1=0.999", "max_size_bytes=1"], 1, "FAIL"),
    ],
)
def test_the_gate_judges_a_report_again_under_other_limits(
    limits: list[str], code: int, verdict: str, finished: Finished, edgekd: Edgekd
) -> None:
    report = finished.folder / "report.json"
    variants = json.loads(report.read_text())["variants"]
    measured = next(str(variant["accuracy"]["top1"]) for variant in variants if variant["selected"])
    options = [part for limit in limits for part in ("--limit", limit.replace("MEASURED", measured))]
    answer = edgekd("gate", report, *options)
    assert (answer.code, answer.err) == (code, "")
    assert answer.out.splitlines()[-1].startswith(verdict)
    judged = json.loads(edgekd("gate", report, *options, "--json").out)
    assert judged["verdict"] == verdict.lower()
    assert {check["name"] for check in judged["checks"]} >= {limit.partition("=")[0] for limit in limits}


def test_the_gate_and_the_check_of_a_bundle_need_no_torch(finished: Finished) -> None:
    assert without_torch("gate", finished.folder / "report.json").code == 0
    answer = without_torch("verify", finished.folder / "bundle")
    assert answer.code == 0, answer.out + answer.err
    assert "PASS" in answer.out


def test_a_bundle_that_was_tampered_with_fails(finished: Finished, tmp_path: Path, edgekd: Edgekd) -> None:
    folder = Path(shutil.copytree(finished.folder / "bundle", tmp_path / "bundle"))
    raw = bytearray((folder / "model.onnx").read_bytes())
    raw[len(raw) // 2] ^= 1
    (folder / "model.onnx").write_bytes(raw)
    answer = edgekd("verify", folder)
    assert answer.code == 1
    assert "model.onnx" in answer.out and f"FAIL {folder}" in answer.out
    checks = json.loads(edgekd("verify", folder, "--json").out)
    assert checks["passed"] is False


def test_a_folder_that_is_no_bundle_is_bad_input(finished: Finished, tmp_path: Path, edgekd: Edgekd) -> None:
    for folder, fragment in ((tmp_path / "none", "no such folder"), (finished.folder, "has no manifest.json")):
        answer = edgekd("verify", folder)
        assert answer.code == 2 and not answer.out
        assert str(folder) in answer.err and fragment in answer.err


def test_another_variant_can_be_bundled(finished: Finished, tmp_path: Path, edgekd: Edgekd) -> None:
    for variant, file in (("int8-u8s8", "variants/int8-u8s8.onnx"), ("fp32", "model.onnx")):
        answer = edgekd("bundle", finished.folder, "--out", tmp_path / variant, "--variant", variant)
        assert answer.code == 0, answer.err
        assert answer.out == f"bundle  {tmp_path / variant} ({variant})\n"
        assert (tmp_path / variant / "model.onnx").read_bytes() == (finished.folder / file).read_bytes()
        assert edgekd("verify", tmp_path / variant).code == 0
    answer = edgekd("bundle", finished.folder, "--out", tmp_path / "again")
    winner = json.loads((finished.folder / "report.json").read_text())["gate"]["variant"]
    assert answer.out == f"bundle  {tmp_path / 'again'} ({winner})\n"


def test_a_bundle_is_not_made_of_what_was_not_measured(finished: Finished, tmp_path: Path, edgekd: Edgekd) -> None:
    folder = finished.copy(tmp_path / "run")
    (folder / "variants" / "int8-u8s8.onnx").write_bytes((folder / "model.onnx").read_bytes())
    refused = {
        "int8-u8s8": "int8-u8s8.onnx: is missing, or not the file that the report measured",
        "int8-x": "has no variant 'int8-x'; it has: fp32, int8-u8s8",
    }
    for variant, fragment in refused.items():
        answer = edgekd("bundle", folder, "--out", tmp_path / "bundle", "--variant", variant)
        assert answer.code == 2 and fragment in answer.err, answer.err
    (folder / "model.onnx").unlink()
    answer = edgekd("bundle", folder, "--out", tmp_path / "bundle", "--variant", "fp32")
    assert answer.code == 2 and "model.onnx" in answer.err, answer.err
    answer = edgekd("bundle", tmp_path / "none", "--out", tmp_path / "bundle")
    assert answer.code == 2 and "no such file" in answer.err
    assert not (tmp_path / "bundle").exists()


def test_a_bundle_does_not_replace_a_folder_of_something_else(
    finished: Finished, tmp_path: Path, edgekd: Edgekd
) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "mine.txt").write_text("dear")
    answer = edgekd("bundle", finished.folder, "--out", tmp_path / "letters")
    assert answer.code == 2 and "mine.txt" in answer.err
    assert [path.name for path in (tmp_path / "letters").iterdir()] == ["mine.txt"]


@pytest.mark.slow
def test_the_export_of_a_student_is_the_file_that_the_run_made(
    finished: Finished, tmp_path: Path, edgekd: Edgekd
) -> None:
    import onnx

    weights, data = finished.folder / "student.safetensors", finished.recipe.parent / "test.npz"
    out = tmp_path / "new" / "own.onnx"
    answer = edgekd("export", weights, "--data", data, "--out", out, "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["n"] == 60
    run, own = (onnx.load(str(path)).graph for path in (finished.folder / "model.onnx", out))
    assert own.SerializeToString(deterministic=True) == run.SerializeToString(deterministic=True)
    assert [path.name for path in out.parent.iterdir()] == ["own.onnx"]


@pytest.mark.parametrize(
    ("options", "fragment"),
    [
        (["--layout", "nhcw"], "--layout is 'nhcw'; expected nhwc or nchw"),
        (["--opset", "9"], "--opset is 9; expected"),
        (["--out", "."], "file '.' is a directory"),
    ],
)
def test_an_export_that_cannot_be_is_refused(
    options: list[str],
    fragment: str,
    finished: Finished,
    tmp_path: Path,
    edgekd: Edgekd,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    weights, data = finished.folder / "student.safetensors", finished.recipe.parent / "test.npz"
    answer = edgekd("export", weights, "--data", data, *options)
    assert answer.code == 2, answer.err
    assert fragment in answer.err and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_network_is_validated_and_quantized_without_torch(finished: Finished, tmp_path: Path) -> None:
    target = tmp_path / "own.toml"
    shown = without_torch("targets", "show", "x86-1t").out
    target.write_text("\n".join(line for line in shown.splitlines() if not line.startswith("precisions")))
    place, model = finished.recipe.parent, finished.folder / "model.onnx"
    answer = without_torch("validate", model, "--data", place / "test.npz", "--limit", "min_top1=0.2", "--json")
    report = json.loads(answer.out)
    assert answer.code == 0, answer.err
    assert report["gate"]["verdict"] == "pass" and report["variants"][0]["accuracy"]["n"] == 60
    assert "latency   100%" in answer.err
    out = tmp_path / "out"
    answer = without_torch("quantize", model, "--data", place / "test.npz", "--out", out, "--limit", "max_top1_drop=1")
    assert answer.code == 0, answer.out + answer.err
    assert f"report  {out / 'report.html'}" in answer.out
    assert (out / "bundle" / "model.onnx").is_file() and without_torch("verify", out / "bundle").code == 0
    assert not [path for path in out.rglob("*") if "tmp" in path.name or "building" in path.name]
    assert without_torch("gate", out / "report.json").code == 0
