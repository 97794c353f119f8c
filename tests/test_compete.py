"""Files compete on small real networks: a faulty one loses with its reason, a faulty baseline ends the race."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgekd import compete
from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.quantize import Built, describe_file
from edgekd.session import SessionOptions

MakeNet = Callable[..., Path]
QUICK = compete.Timing(rounds=1, seconds=0.001, min_samples=10)
CLASSES = ("top", "middle", "bottom")
LIMITS = {"max_top1_drop": 0.5, "max_size_bytes": 100_000.0}
SOURCES = dict.fromkeys(LIMITS, "recipe")


@pytest.fixture(scope="module")
def samples(draw: Callable[..., Any]) -> compete.Samples:
    drawn = draw(70)
    drawn.inputs[69, 0, 0, 0] = 255
    return compete.Samples(inputs=drawn.inputs, labels=drawn.labels, classes=CLASSES)


def race(folder: Path, files: dict[str, Path], samples: compete.Samples) -> tuple[list[Built], dict[str, Any]]:
    built = [describe_file(name, path) for name, path in files.items()]
    return built, compete.measure(built, samples, SessionOptions(), folder=folder, timing=QUICK, isa="avx2")


def verdict(built: list[Built], measured: dict[str, Any], **changed: Any) -> tuple[tuple[compete.Variant, ...], Any]:
    given = {"limits": LIMITS, "sources": SOURCES, "left_out": {}} | changed
    return compete.judge(built, measured, **given)


@pytest.fixture(scope="module")
def finished(
    make_net: MakeNet, samples: compete.Samples, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[Built], dict[str, Any]]:
    """fp32, a copy of it, one whose outputs are NaN from the first sample on, one that is NaN later, one cut short."""
    folder = tmp_path_factory.mktemp("race")
    files = {name: make_net(folder / f"{name}.onnx") for name in ("fp32", "copy", "late", "cut")}
    files["nan"] = make_net(folder / "nan.onnx", gain=float("nan"))
    files["cut"].write_bytes(files["cut"].read_bytes()[:300])
    late_nan(files["late"])
    return race(folder, files, samples)


def late_nan(path: Path) -> None:
    """Add 0 times the root of (254 - x): NaN for a batch with a pixel of 255."""
    model = onnx.load(str(path))
    helper = onnx.helper
    model.graph.node[-1].output[0] = "sound"
    nodes = [
        helper.make_node("Constant", [], ["limit"], value_float=254.0),
        helper.make_node("Constant", [], ["zero"], value_float=0.0),
        helper.make_node("Sub", ["limit", "floats"], ["left"]),
        helper.make_node("Sqrt", ["left"], ["root"]),
        helper.make_node("ReduceSum", ["root"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
        helper.make_node("Add", ["sound", "nothing"], ["logits"]),
    ]
    model.graph.node.extend(nodes)
    path.write_bytes(model.SerializeToString())


def test_every_sound_file_is_measured_in_full(finished: tuple[list[Built], dict[str, Any]]) -> None:
    _, measured = finished
    for name in ("fp32", "copy"):
        assert measured[name]["error"] is None
        assert measured[name]["accuracy"]["n"] == 70
        assert measured[name]["accuracy"]["top1"] > 0.9
        assert measured[name]["latency"]["n"] >= 10
    assert measured["fp32"]["accuracy"]["top1_drop_high"] == 0.0
    assert measured["copy"]["accuracy"]["agreement_fp32"] == 1.0


def test_faulty_files_have_an_error_and_the_race_goes_on(finished: tuple[list[Built], dict[str, Any]]) -> None:
    _, measured = finished
    assert "NaN or infinite" in measured["nan"]["error"]
    assert "sample 64 is NaN or infinite (6 of 70 samples)" in measured["late"]["error"]
    assert "not a whole ONNX file" in measured["cut"]["error"]


def test_exactly_one_ships_and_every_other_has_a_reason(finished: tuple[list[Built], dict[str, Any]]) -> None:
    variants, gate = verdict(*finished, left_out={"fp16": "not built: the target does not run it"})
    assert [v.name for v in variants] == ["fp32", "copy", "late", "cut", "nan", "fp16"]
    assert next(v.name for v in variants if v.selected) in ("fp32", "copy")
    assert sum(v.selected for v in variants) == 1
    assert all(v.reason for v in variants)
    assert gate.verdict == "pass"
    by_name = {v.name: v for v in variants}
    assert by_name["nan"].gate is by_name["nan"].accuracy is None
    assert "NaN or infinite" in by_name["nan"].reason
    assert by_name["fp16"].path is None


def test_a_file_that_could_not_be_built_keeps_its_reason(finished: tuple[list[Built], dict[str, Any]]) -> None:
    built, measured = finished
    lost = Built(name="int8", path=None, size_bytes=None, sha256=None, reason="could not be built: no such operator")
    variants, _ = verdict([*built, lost], measured)
    assert variants[-1].reason == lost.reason
    assert not variants[-1].selected


@pytest.mark.parametrize("gain", [float("nan"), float("inf")])
def test_a_baseline_without_finite_outputs_ends_the_race(
    gain: float, make_net: MakeNet, samples: compete.Samples, tmp_path: Path
) -> None:
    files = {"fp32": make_net(tmp_path / "fp32.onnx", gain=gain), "int8": make_net(tmp_path / "int8.onnx")}
    with pytest.raises(BadInputError, match="NaN or infinite"):
        race(tmp_path, files, samples)


def test_a_baseline_that_does_not_load_ends_the_race(samples: compete.Samples, tmp_path: Path) -> None:
    path = tmp_path / "fp32.onnx"
    path.write_bytes(b"garbage")
    with pytest.raises(BadInputError, match="not a whole ONNX file"):
        race(tmp_path, {"fp32": path}, samples)


def test_a_provider_that_is_not_there_ends_the_race(pixel_net: Path, samples: compete.Samples) -> None:
    built = [describe_file("fp32", pixel_net)]
    options = SessionOptions(provider="CUDAExecutionProvider")
    with pytest.raises(EnvironmentFault, match="CUDAExecutionProvider is not in this onnxruntime"):
        compete.measure(built, samples, options, folder=pixel_net.parent, timing=QUICK, isa="avx2")


def test_data_that_does_not_fit_ends_the_race(pixel_net: Path) -> None:
    wrong = compete.Samples(inputs=np.zeros((4, 28, 28, 1), dtype=np.uint8), labels=None, classes=CLASSES)
    with pytest.raises(BadInputError, match="expects uint8"):
        race(pixel_net.parent, {"fp32": pixel_net}, wrong)


def test_without_labels_only_agreement_is_measured(pixel_net: Path, samples: compete.Samples) -> None:
    blind = compete.Samples(inputs=samples.inputs, labels=None, classes=())
    built, measured = race(pixel_net.parent, {"fp32": pixel_net}, blind)
    assert measured["fp32"]["accuracy"]["top1"] is None
    assert not measured["fp32"]["accuracy"]["labelled"]
    _, gate = verdict(built, measured)
    assert gate.verdict == "inconclusive"


def test_the_teacher_s_classes_are_compared_with(pixel_net: Path, samples: compete.Samples) -> None:
    taught = compete.Samples(
        inputs=samples.inputs,
        labels=samples.labels,
        classes=CLASSES,
        teacher_predictions=np.roll(samples.labels, 1),  # of bars in turn: never the same
    )
    _, measured = race(pixel_net.parent, {"fp32": pixel_net}, taught)
    assert measured["fp32"]["accuracy"]["agreement_teacher"] < 0.1


def test_a_network_of_a_fixed_batch_competes(make_net: MakeNet, samples: compete.Samples, tmp_path: Path) -> None:
    _, measured = race(tmp_path, {"fp32": make_net(tmp_path / "fp32.onnx", batch=1)}, samples)
    assert measured["fp32"]["accuracy"]["n"] == 70


def test_what_the_target_does_not_run_is_left_out_with_a_reason() -> None:
    build, left_out = compete.allowed(("int8-u8s8", "fp16", "int8-dynamic"), ("fp32", "int8-u8s8"), "small-board")
    assert build == ("int8-u8s8",)
    assert list(left_out) == ["fp16", "int8-dynamic"]
    assert left_out["fp16"] == "not built: target small-board does not run it (it runs fp32, int8-u8s8)"


def test_on_avx2_what_can_saturate_competes_only_where_it_is_made_portable() -> None:
    wanted = ("int8-u8s8", "int8-s8s8", "int8-u8u8", "int8-u8s8-7bit")
    for isa, portable, left in (
        ("avx2", True, set()),
        (None, False, set()),
        ("avx512_vnni", False, set()),
        ("avx2", False, {"int8-u8s8", "int8-s8s8"}),
    ):
        build, left_out = compete.allowed(wanted, wanted, "board", isa=isa, portable=portable)
        assert set(left_out) == left and set(build) == set(wanted) - left


@pytest.mark.parametrize(
    ("limits", "drop"),
    [
        ({}, 0.01),
        ({"max_top1_drop": 0.02}, 0.02),
        ({"min_agreement": 0.97}, 0.03),
        ({"max_top1_drop": 0.02, "min_agreement": 0.99}, 0.01),
        ({"max_p50_ms": 5.0}, 0.01),
    ],
)
def test_what_the_search_may_lose_is_what_the_gate_lets_pass(limits: dict[str, float], drop: float) -> None:
    assert compete.tolerable_drop(limits) == pytest.approx(drop)


def test_the_session_key_is_set_only_where_files_are_portable_by_it() -> None:
    own = SessionOptions(session_config={"session.disable_prepacking": "1"})
    for portable, saturation in ((True, "safe"), (False, "session-key")):
        assert compete.with_session_key(own, portable=portable, saturation=saturation) == own
    changed = compete.with_session_key(own, portable=True, saturation="session-key")
    assert changed.session_config == {"session.disable_prepacking": "1", "session.x64quantprecision": "1"}


def test_what_ran_is_measured_of_every_file_and_how_it_was_made_is_kept(
    finished: tuple[list[Built], dict[str, Any]],
) -> None:
    built, measured = finished
    for name in ("fp32", "copy"):
        ran = measured[name]["kernels"]
        assert ran["sentence"] == "0 % of the time in int8 kernels" and "nodes" not in ran
        assert ran["nodes_per_provider"]["CPUExecutionProvider"] > 3
    made = [*built[:1], replace(built[1], description="as it is", saturates=("conv",))]
    variants, _ = verdict(made, {name: measured[name] for name in ("fp32", "copy")})
    assert (variants[1].description, variants[1].saturates) == ("as it is", ("conv",))
    assert variants[1].kernels == measured["copy"]["kernels"]
