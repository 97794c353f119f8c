"""What a recipe says reaches the stages, and each key changes with what its result depends on and nothing else."""

import math
from pathlib import Path
from typing import Any

import pytest

from edgekd import keys as hashes
from edgekd import settings
from edgekd.core import methods
from edgekd.core.augment import Augmentation
from edgekd.data import Dataset
from edgekd.errors import BadInputError
from edgekd.quantize import Wanted
from edgekd.recipe import Recipe, parse
from edgekd.recipe.distill import KNOBS

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def document(npz_file: Path) -> dict[str, Any]:
    weights = npz_file.parent / "teacher.safetensors"
    weights.write_bytes(b"weights")
    return {
        "name": "small",
        "data": {"source": str(npz_file), "calibration_samples": 12},
        "student": {"model": "resnet8"},
        "teacher": {"model": "resnet8", "weights": str(weights)},
    }


def changed(document: dict[str, Any], section: str, **values: object) -> Recipe:
    return parse(document | {section: document.get(section, {}) | values}, origin="test")


def keys(recipe: Recipe) -> tuple[str, str]:
    data = settings.load_data(recipe)
    return hashes.teacher_key(recipe, data), hashes.weights_key(recipe, data)


@pytest.mark.parametrize(
    ("section", "values", "measured_again"),
    [
        ("distill", {"epochs": 1}, False),
        ("distill", {"learning_rate": 0.5}, False),
        ("data", {"augment": "none"}, False),
        ("student", {"model": "resnet20"}, False),
        ("distill", {"rho": 1.5}, False),
        ("distill", {"seed": 7}, False),
        ("distill", {"method": "dkd"}, False),
        ("data", {"train_samples": 30}, True),
        ("teacher", {"model": "resnet20"}, True),
    ],
)
def test_the_student_is_trained_again_and_the_teacher_measured_again_where_it_depends_on_it(
    section: str, values: dict[str, object], measured_again: bool, document: dict[str, Any]
) -> None:
    teacher, weights = keys(parse(document, origin="test"))
    teacher_after, weights_after = keys(changed(document, section, **values))
    assert weights_after != weights
    assert (teacher_after != teacher) == measured_again


def test_moved_files_are_the_same_and_other_bytes_are_not(document: dict[str, Any], tmp_path: Path) -> None:
    before = keys(parse(document, origin="test"))
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(b"weights")
    assert keys(changed(document, "teacher", weights=str(moved))) == before
    moved.write_bytes(b"weightz")
    after = keys(changed(document, "teacher", weights=str(moved)))
    assert after[0] != before[0] and after[1] != before[1]


def test_a_method_without_a_weight_gets_its_own(document: dict[str, Any]) -> None:
    cist = settings.method(parse(document, origin="test"), classes=3)
    rho = settings.rho(parse(document, origin="test"), classes=3)
    assert (cist.name, cist.knobs) == ("cist", {"rho": rho, "kd_weight": 8.0})
    kd = settings.method(changed(document, "distill", method="kd"), classes=3)
    assert (kd.name, kd.knobs) == ("kd", {"temperature": 4.0, "kd_weight": 0.9, "ce_weight": 0.1})
    given = settings.method(changed(document, "distill", method="kd", kd_weight=0.5, temperature=2.0), classes=3)
    assert given.knobs == {"temperature": 2.0, "kd_weight": 0.5, "ce_weight": 0.1}
    dkd = settings.method(changed(document, "distill", method="dkd", kd_warmup_epochs=3.0), classes=3)
    assert dkd.knobs["warmup_epochs"] == 3.0


@pytest.mark.parametrize("name", KNOBS)
def test_the_recipe_knows_the_knobs_of_every_method_and_its_defaults_make_an_objective(
    name: str, document: dict[str, Any]
) -> None:
    own = {*methods.defaults(name), *({"target_nats"} if name == "entropy" else ())}
    as_keys = {settings.KEY_OF_KNOB.get(knob, knob) for knob in own}
    besides = {"rho": {"rho_entropy"}, "target_nats": {"entropy", "entropy_nats", "match_fixed"}}
    for knob, more in besides.items():
        as_keys = as_keys | more if knob in as_keys else as_keys
    assert set(KNOBS[name]) == as_keys - {"target_nats"}
    made = settings.method(changed(document, "distill", method=name), classes=3)
    assert made.objective(label_smoothing=0.1).name == name
    assert set(KNOBS) == set(methods.METHODS)


def test_the_entropy_of_soft_labels_is_a_share_of_all_or_nats_or_that_of_a_fixed_temperature(
    document: dict[str, Any],
) -> None:
    def knobs(**values: object) -> dict[str, float]:
        return settings.method(changed(document, "distill", method="entropy", **values), classes=3).knobs

    assert knobs(entropy=0.5) == {"kd_weight": 8.0, "student_floor": 1.0, "target_nats": 0.5 * math.log(3)}
    assert knobs(entropy_nats=1.0) == {"kd_weight": 8.0, "student_floor": 1.0, "target_nats": 1.0}
    assert knobs(match_fixed=4.0) == {"kd_weight": 8.0, "student_floor": 1.0, "match_fixed": 4.0}
    with pytest.raises(BadInputError, match=r"distill.entropy_nats is 1.2; 3 classes have at most ln 3 = 1.099 nats"):
        knobs(entropy_nats=1.2)


def test_where_a_cache_lies_changes_nothing_that_is_trained(document: dict[str, Any]) -> None:
    section = {"teacher_cache": "fp16", "n_views": 2}
    here, there = (changed(document, "distill", cache_folder=place, **section) for place in ("/a", "/b"))
    assert keys(here) == keys(there)
    assert settings.cache_folder(here) == Path("/a")


@pytest.mark.parametrize(("augment", "cropped", "flipped"), [("none", False, False), ("crop-flip", True, True)])
def test_augmentation_reaches_the_trainer(
    augment: str, cropped: bool, flipped: bool, document: dict[str, Any], dataset: Dataset
) -> None:
    recipe = changed(document, "data", augment=augment)
    made = settings.training(recipe, precision="fp32", augmentation=settings.augmentation(recipe, dataset))
    assert isinstance(made.augmentation, Augmentation)
    assert (made.augmentation.crop_padding > 0, made.augmentation.flip) == (cropped, flipped)


def test_missing_weights_are_refused_before_the_data_is_read(document: dict[str, Any]) -> None:
    for weights, message in (("gone.safetensors", "no such file"), ("builtin:nobody", "does not ship with edgekd")):
        with pytest.raises(BadInputError, match=message):
            settings.check_models(changed(document, "teacher", weights=weights))


def test_timing_is_the_recipes(document: dict[str, Any]) -> None:
    timing = settings.timing(changed(document, "validate", rounds=2, seconds=0.5, min_samples=40, batch_size=4))
    assert (timing.rounds, timing.seconds, timing.min_samples, timing.batch_size) == (2, 0.5, 40, 4)


def test_what_the_search_may_do_is_the_recipes(document: dict[str, Any]) -> None:
    limits = {"max_top1_drop": 0.02}
    usual = settings.wanted(parse(document, origin="test"), variants=("fp16",), limits=limits)
    assert usual == Wanted(variants=("fp16",), tolerable_drop=0.02)
    chosen = changed(
        document,
        "quantize",
        calibration_method="mse",
        per_channel=False,
        saturation="u8u8",
        time_budget=7.5,
        max_memory_bytes=10_000_000,
    )
    assert settings.wanted(chosen, variants=("int8-u8s8",), limits={}) == Wanted(
        variants=("int8-u8s8",),
        method="mse",
        per_channel=False,
        saturation="u8u8",
        budget_seconds=7.5,
        max_memory_bytes=10_000_000,
    )
    plain = changed(document, "quantize", portable=False)
    assert not settings.wanted(plain, variants=(), limits={}).portable
