"""A file and data of any user become a report and a bundle, or a message that names what does not fit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd import bundle, report
from edgekd.compete import Timing
from edgekd.data.for_model import samples_for_model
from edgekd.data.takes import Takes
from edgekd.errors import BadInputError, ExitCode
from edgekd.gate import rejudge
from edgekd.prepare import quantize_file, validate_file
from edgekd.targets import dump, load
from edgekd.targets.target import Budgets

MakeNet = Callable[..., Path]
Prepared = tuple[dict[str, Any], ExitCode, Path]
QUICK = Timing(rounds=1, seconds=0.001, min_samples=40)
LIMITS = {"max_top1_drop": 0.9}


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> str:
    """x86-1t with two variants, to be quick, and without budgets: a busy machine must not decide on these tests."""
    changed = {"name": "quick", "precisions": ("fp32", "int8-u8s8"), "budgets": Budgets()}
    path = tmp_path_factory.mktemp("targets") / "quick.toml"
    path.write_text(dump(load("x86-1t").model_copy(update=changed)))
    return str(path)


@pytest.fixture(scope="session")
def labelled(draw: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    drawn = draw(90)
    path = tmp_path_factory.mktemp("data") / "bars.npz"
    np.savez(path, x=drawn.inputs, y=drawn.labels)
    return path


def prepare(model: Path, source: Path, target: str, folder: Path, **limits: float) -> Prepared:
    full, code = quantize_file(model, source=source, target=target, folder=folder, limits=limits, timing=QUICK)
    return full, code, folder


@pytest.fixture(scope="module")
def prepared(pixel_net: Path, labelled: Path, target: str, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(pixel_net, labelled, target, tmp_path_factory.mktemp("out"), **LIMITS)


def test_the_report_in_all_its_forms_and_the_bundle_are_there(prepared: Prepared) -> None:
    full, code, folder = prepared
    names = {path.name for path in folder.iterdir()} - {".lock"}
    assert names == {"fp32.onnx", "int8-u8s8.onnx", "report.json", "report.md", "report.html", "junit.xml", "bundle"}
    assert code == ExitCode.PASS == full["gate"]["exit_code"]
    assert report.read(folder / "report.json") == json.loads(json.dumps(full))


def test_calibration_and_evaluation_share_no_sample(prepared: Prepared) -> None:
    full, *_ = prepared
    assert full["data"]["counts"] == {"calibration": 45, "test": 45}
    assert full["variants"][0]["accuracy"]["n"] == 45


def test_every_variant_of_the_recipe_has_a_fate(prepared: Prepared) -> None:
    full, *_ = prepared
    by_name = {variant["name"]: variant for variant in full["variants"]}
    assert {"fp32", "int8-u8s8", "fp16", "int8-dynamic"} <= by_name.keys()
    assert all(variant["reason"] for variant in by_name.values())
    assert "not built: target quick does not run it" in by_name["fp16"]["reason"]
    assert by_name["int8-u8s8"]["accuracy"]["top1"] > 0.9
    assert by_name[full["gate"]["variant"]]["selected"]


def test_the_bundle_is_of_what_shipped_and_verifies(prepared: Prepared) -> None:
    full, _, folder = prepared
    verified = bundle.verify(folder / "bundle")
    assert verified.passed
    assert verified.variant == full["gate"]["variant"]


def test_without_labels_agreement_with_fp32_is_judged(
    pixel_net: Path, labelled: Path, target: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "blind.npz", x=np.load(labelled)["x"])
    full, _, _ = prepare(pixel_net, tmp_path / "blind.npz", target, tmp_path / "out")
    fp32 = full["variants"][0]
    limits = {check["name"]: check["limit"] for check in fp32["gate"]["checks"]}
    assert limits["min_agreement"] == 0.97
    assert "max_top1_drop" not in limits
    assert fp32["accuracy"]["top1"] is None
    assert fp32["accuracy"]["agreement_fp32"] == 1.0


@pytest.mark.slow
def test_a_limit_that_the_user_set_is_never_dropped(
    pixel_net: Path, labelled: Path, target: str, tmp_path: Path
) -> None:
    """Accuracy without labels cannot be judged: the answer is inconclusive, not pass."""
    np.savez(tmp_path / "blind.npz", x=np.load(labelled)["x"])
    full, code, _ = prepare(pixel_net, tmp_path / "blind.npz", target, tmp_path / "out", min_top1=0.5)
    assert code == ExitCode.INCONCLUSIVE
    assert full["gate"]["verdict"] == "inconclusive"
    assert "needs labels" in next(c["note"] for c in full["gate"]["checks"] if c["name"] == "min_top1")


def test_a_floor_for_a_class_that_does_not_exist_is_refused_before_anything_is_done(
    pixel_net: Path, labelled: Path, target: str, tmp_path: Path
) -> None:
    limits = {"class_floors.bottomm": 0.5}
    with pytest.raises(BadInputError, match=r"no class 'bottomm'; did you mean 'bottom'\?; .*: top, middle, bottom"):
        prepare(pixel_net, labelled, target, tmp_path / "out", **limits)
    with pytest.raises(BadInputError, match="did you mean 'bottom'"):
        validate_file(pixel_net, source=labelled, target=target, limits=limits, timing=QUICK)
    assert not (tmp_path / "out").exists()


def test_floors_of_classes_are_judged_and_the_counts_of_the_drop_are_kept(
    pixel_net: Path, labelled: Path, target: str, tmp_path: Path
) -> None:
    full, code = validate_file(
        pixel_net,
        source=labelled,
        target=target,
        limits={"min_class_top1": 0.3, "class_floors.top": 0.3, "max_top1_drop": 0.5},
        baseline=pixel_net,
        timing=QUICK,
    )
    assert code == ExitCode.PASS
    assert [check["name"] for check in full["gate"]["checks"]] == [
        "min_class_top1",
        "max_top1_drop",
        "class_floors.top",
    ]
    paired = full["variants"][1]["accuracy"]["paired"]
    assert sum(paired.values()) == 90 and paired["only_fp32"] == paired["only_model"] == 0
    assert full["variants"][1]["accuracy"]["mcnemar_p"] == 1
    assert rejudge(json.loads(json.dumps(full))) == rejudge(full)


def test_a_folder_of_images_does_for_a_network_on_raw_pixels(
    pixel_net: Path, image_folder: Path, target: str, tmp_path: Path
) -> None:
    full, _, _ = prepare(pixel_net, image_folder, target, tmp_path / "out", **LIMITS)
    assert full["data"]["classes"] == ["top", "middle", "bottom"]
    assert full["variants"][0]["accuracy"]["top1"] > 0.9


def test_a_folder_does_not_do_for_a_network_on_floats(
    float_net: Path, image_folder: Path, target: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInputError, match=r"how to scale pixels for it is unknown\. Bring an \.npz"):
        prepare(float_net, image_folder, target, tmp_path / "out")


@pytest.mark.slow
def test_double_precision_data_of_a_float_network_is_measured_and_bundled_in_its_own_type(
    float_net: Path, labelled: Path, target: str, tmp_path: Path
) -> None:
    with np.load(labelled) as data:
        np.savez(tmp_path / "floats.npz", x=data["x"][..., 0] / 255, y=data["y"])  # (n, 8, 8) float64
    full, _, folder = prepare(float_net, tmp_path / "floats.npz", target, tmp_path / "out", **LIMITS)
    assert [variant["accuracy"]["top1"] > 0.9 for variant in full["variants"][:2]] == [True, True]
    assert bundle.verify(folder / "bundle").passed


@pytest.mark.slow
def test_a_network_of_a_fixed_batch_is_prepared(make_net: MakeNet, labelled: Path, target: str, tmp_path: Path) -> None:
    full, code, _ = prepare(make_net(tmp_path / "one.onnx", batch=1), labelled, target, tmp_path / "out", **LIMITS)
    assert code == ExitCode.PASS
    assert full["variants"][1]["accuracy"]["n"] == 45


@pytest.mark.parametrize("count", [1, 2, 3])
def test_too_few_samples_for_two_halves_are_refused(count: int, pixel_net: Path, target: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "few.npz", x=np.zeros((count, 8, 8, 1), dtype=np.uint8))
    with pytest.raises(BadInputError, match=f"found {count} samples; expected at least 4"):
        prepare(pixel_net, tmp_path / "few.npz", target, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_data_of_another_shape_is_refused_before_anything_is_written(
    pixel_net: Path, target: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "large.npz", x=np.zeros((20, 28, 28, 1), dtype=np.uint8))
    with pytest.raises(BadInputError, match=r"expects uint8 of \(8, 8, 1\)"):
        prepare(pixel_net, tmp_path / "large.npz", target, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_labels_that_the_network_does_not_know_are_refused(
    pixel_net: Path, labelled: Path, target: str, tmp_path: Path
) -> None:
    with np.load(labelled) as data:
        np.savez(tmp_path / "more.npz", x=data["x"], y=data["y"] + 1)
    with pytest.raises(BadInputError, match="labels hold 3"):
        prepare(pixel_net, tmp_path / "more.npz", target, tmp_path / "out")


def test_one_file_alone_is_judged_without_comparing_it_with_itself(
    pixel_net: Path, labelled: Path, target: str
) -> None:
    full, code = validate_file(pixel_net, source=labelled, target=target, limits={"min_top1": 0.5}, timing=QUICK)
    (variant,) = full["variants"]
    assert code == ExitCode.PASS
    assert variant["accuracy"]["n"] == 90
    assert variant["accuracy"]["agreement_fp32"] is variant["accuracy"]["top1_drop"] is None
    assert variant.keys() == {
        *("name", "precision", "path", "size_bytes", "sha256", "accuracy", "latency", "gate", "selected", "reason"),
        *("description", "saturates", "pair_sums", "kernels", "portability", "raw_sha256"),
    }
    assert variant["portability"] is None and variant["kernels"]["int8_time_share"] == 0


def test_one_file_is_compared_with_the_baseline_that_is_named(
    pixel_net: Path, float_net: Path, prepared: Prepared, labelled: Path, target: str
) -> None:
    model = prepared[2] / "int8-u8s8.onnx"
    full, _ = validate_file(model, source=labelled, target=target, limits=LIMITS, timing=QUICK, baseline=pixel_net)
    assert [v["name"] for v in full["variants"]] == ["fp32", "model"]
    accuracy = full["variants"][1]["accuracy"]
    assert accuracy["agreement_fp32"] > 0.9
    assert accuracy["top1_drop_low"] < accuracy["top1_drop_high"]
    with pytest.raises(BadInputError, match="expects float32"):
        validate_file(model, source=labelled, target=target, limits=LIMITS, timing=QUICK, baseline=float_net)


def test_a_file_whose_outputs_are_not_finite_is_refused_beside_a_baseline_too(
    make_net: MakeNet, pixel_net: Path, labelled: Path, target: str, tmp_path: Path
) -> None:
    broken = make_net(tmp_path / "nan.onnx", gain=float("nan"))
    for baseline in (None, pixel_net):
        with pytest.raises(BadInputError, match="NaN or infinite"):
            validate_file(broken, source=labelled, target=target, limits={}, timing=QUICK, baseline=baseline)


def test_grey_pictures_without_an_axis_for_it_fit_either_layout(tmp_path: Path) -> None:
    np.savez(tmp_path / "grey.npz", x=np.zeros((5, 6, 7), dtype=np.uint8))
    for shape in ((None, 6, 7, 1), (None, 1, 6, 7)):
        found = samples_for_model(tmp_path / "grey.npz", Takes(shape=shape, dtype="uint8"))
        assert found.inputs.shape == (5, *shape[1:])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": np.zeros(5, dtype=np.int64)}, "array 'x' is missing"),
        ({"x": np.zeros((0, 6, 7, 1), dtype=np.uint8)}, "'x' is empty"),
        ({"x": np.zeros((5, 6, 7, 1)), "y": np.zeros(4, dtype=np.int64)}, "expected 5 integers"),
        ({"x": np.zeros((5, 6, 7, 1)), "y": np.zeros(5)}, "'y' is float64"),
    ],
)
def test_arrays_that_are_no_samples_are_named(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(BadInputError, match=message):
        samples_for_model(tmp_path / "data.npz", Takes(shape=(None, 6, 7, 1), dtype="float32"))


def test_a_folder_with_train_and_test_is_read_from_test_with_its_classes(image_folder: Path, tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / "split").mkdir(exist_ok=True)
        (tmp_path / "split" / part).symlink_to(image_folder)
    (image_folder / ".thumbnails").mkdir()
    shape, classes = (None, 8, 8, 1), ("bottom", "middle", "top")
    found = samples_for_model(tmp_path / "split", Takes(shape=shape, dtype="uint8"))
    assert found.classes == classes
    assert len(found.inputs) == 36
    plain = samples_for_model(image_folder, Takes(shape=shape, dtype="uint8"))
    assert plain.classes == classes


def test_pictures_are_resized_and_turned_for_a_network_with_channels_first(image_folder: Path) -> None:
    found = samples_for_model(image_folder, Takes(shape=(None, 3, 5, 4), dtype="uint8"))
    assert found.inputs.shape == (36, 3, 5, 4)
    assert found.inputs.flags.c_contiguous
