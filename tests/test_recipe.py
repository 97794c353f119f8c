"""Recipes: what loads, and every mistake named with its place and its cure."""

import tomllib
from pathlib import Path

import pytest

from edgekd import recipe
from edgekd.errors import BadInputError

RECIPES = [
    path
    for path in sorted((Path(__file__).parents[1] / "recipes").glob("*.toml"))
    if not path.stem.startswith("language")  # these have a schema of their own: tests/language
]
SMALL = """
name = "small"
[data]
source = "fashion-mnist"
[teacher]
model = "wrn_16_2"
weights = "teacher.safetensors"
[student]
model = "resnet8"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(BadInputError) as caught:
        recipe.load(write(folder, text), overrides=overrides)
    return str(caught.value)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_of_the_repository_loads_and_is_called_as_its_file(path: Path) -> None:
    assert recipe.load(path).name == path.stem


def test_there_are_recipes_to_load() -> None:
    assert {"quickstart", "teacher-fashion-mnist"} <= {path.stem for path in RECIPES}


def test_a_small_recipe_gets_the_documented_defaults(tmp_path: Path) -> None:
    made = recipe.load(write(tmp_path, SMALL))
    assert (made.seed, made.distill.method, made.distill.rho, made.distill.epochs) == (0, "cist", "auto", 30)
    assert (made.export.opset, made.validate_.target, made.gate.min_top1) == (18, "x86-1t", None)


def test_a_recipe_cannot_be_changed_after_it_was_checked(tmp_path: Path) -> None:
    made = recipe.load(write(tmp_path, SMALL))
    with pytest.raises(ValueError, match="frozen"):
        made.distill.epochs = 3


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"recipe .*gone\.toml: no such file; `edgekd init DATA --out"):
        recipe.load(tmp_path / "gone.toml")


def test_a_syntax_error_names_the_line(tmp_path: Path) -> None:
    assert "not valid TOML" in (message := refused(tmp_path, 'name = "a"\n[data]\nsource = fashion\n'))
    assert "line 3" in message


def test_bytes_that_are_no_text_are_no_toml(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes(b'name = "\xff\xfe"')
    with pytest.raises(BadInputError, match="not valid TOML"):
        recipe.load(path)


def test_an_unknown_key_names_the_nearest_and_the_allowed_ones(tmp_path: Path) -> None:
    message = refused(tmp_path, SMALL + "[distill]\nepochz = 3\n")
    assert "unknown key 'distill.epochz'; did you mean 'epochs'? (allowed in distill: method, rho," in message


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("qqq = 1", "unknown key 'qqq' (allowed in the recipe: name, seed, data, teacher, student, distill, export, "),
        ('"foo.bar" = 1', "unknown key 'foo.bar' (allowed in the recipe: "),
        ("[validte]\nrounds = 1", "unknown key 'validte'; did you mean 'validate'? (allowed in the recipe: "),
        ("[validate_]\nrounds = 1", "unknown key 'validate_'; did you mean 'validate'?"),
        (
            "[validate]\nround = 1",
            "unknown key 'validate.round'; did you mean 'rounds'? (allowed in validate: target, ",
        ),
    ],
)
def test_an_unknown_key_or_section_at_the_top_is_told_its_place(tmp_path: Path, line: str, expected: str) -> None:
    text = f"{line}\n{SMALL}" if not line.startswith("[") else SMALL + line
    assert expected in refused(tmp_path, text)


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("[distill]\nepochs = '3'", "distill.epochs: found '3'; input should be a valid integer"),
        ("[distill]\nepochs = 3.0", "distill.epochs: found 3.0; input should be a valid integer"),
        ("[distill]\nepochs = true", "distill.epochs: found True; input should be a valid integer"),
        ("[distill]\nepochs = 0", "distill.epochs: found 0; input should be greater than or equal to 1"),
        (
            "[distill]\nrho = 'big'",
            "distill.rho: found 'big'; input should be a valid number, or input should be 'auto'",
        ),
        ("[distill]\nlearning_rate = inf", "distill.learning_rate: found inf; input should be a finite number"),
        ("[distill]\nlearning_rate = nan", "distill.learning_rate: found nan"),
        (
            "[distill]\nmethod = 'hinton'",
            "distill.method: found 'hinton'; input should be 'cist', 'kd', 'ce', 'entropy'",
        ),
        ("[gate]\nmin_top1 = 80", "gate.min_top1: found 80; input should be less than or equal to 1"),
        ("[quantize]\nvariants = ['int4']", "quantize.variants.0: found 'int4'; input should be 'fp16', 'int8-u8s8'"),
        ("[student.options]\nwidth = true", "student.options.width: found True; input should be a valid number"),
        ("[gate]\nmax_p50_ms = inf", "gate.max_p50_ms: found inf"),
    ],
)
def test_a_wrong_value_names_key_found_and_expected_in_one_line(tmp_path: Path, section: str, expected: str) -> None:
    message = refused(tmp_path, SMALL + section)
    assert "1 problem(s)" in message
    assert expected in message


def test_a_whole_number_does_for_a_fraction(tmp_path: Path) -> None:
    assert recipe.load(write(tmp_path, SMALL + "[distill]\nlearning_rate = 1\nrho = 3\n")).distill.rho == 3.0


def test_a_missing_section_and_a_missing_key_are_named(tmp_path: Path) -> None:
    message = refused(tmp_path, "[data]\nresize = [8, 8]\n")
    for what in ("name", "data.source", "student"):
        assert f"  {what} is missing; expected it in the recipe" in message


def test_all_mistakes_come_at_once(tmp_path: Path) -> None:
    message = refused(tmp_path, SMALL + "[distill]\nepochs = 0\nbatchsize = 3\n[export]\nopset = 3\n[gates]\n")
    assert "4 problem(s)" in message
    for part in ("distill.epochs", "distill.batchsize'; did you mean 'batch_size'", "export.opset", "'gates'; did you"):
        assert part in message


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        (
            "[distill]\nmethod = 'kd'\nrho = 3.0",
            "rho is set, but method = 'kd' does not take it; remove it (it takes: temperature, kd_weight, ce_weight)",
        ),
        ("[distill]\ntemperature = 3.0", "temperature is set, but method = 'cist' does not take it"),
        ("[distill]\nce_weight = 3.0", "ce_weight is set, but method = 'cist' does not take it"),
        (
            "[distill]\nmethod = 'ce'\nkd_weight = 1.0",
            "kd_weight is set, but method = 'ce' does not take it; remove it (it takes: none)",
        ),
        ("[distill]\nmethod = 'entropy'\nentropy = 0.5\nmatch_fixed = 4.0", "entropy and match_fixed are set"),
        ("[distill]\nmethod = 'dkd'\nmixup = 0.2", "mixup and cutmix mix labels, and method = 'dkd' needs one true"),
        ("[distill]\nbatch_size = 6\naccumulate = 4", "accumulate = 4 does not divide batch_size = 6"),
        ("[distill]\nteacher_cache = 'top-k'", "teacher_cache = 'top-k' and cache_top_k belong together"),
        ("[distill]\ncache_limit_gb = 1.0", "cache_limit_gb is set, but teacher_cache = 'off'"),
        ("[distill]\nmethod = 'ce'\nteacher_cache = 'fp16'", "teacher_cache is set, but method = 'ce' has no teacher"),
        ("[distill]\nrho = 2.0\nrho_entropy = 0.9", "rho_entropy is set, but rho = 2.0"),
        ("[distill]\nrho = 0.0", "rho is 0.0; expected a positive number or 'auto'"),
        ("[distill]\noptimizer = 'adamw'\nmomentum = 0.8", "momentum is set, but belongs to optimizer = 'sgd'"),
        ("[distill]\nmilestones = [3]", "milestones is set, but belongs to schedule = 'step'"),
        ("[distill]\nschedule = 'step'", "schedule = 'step' needs milestones"),
        ("[distill]\nschedule = 'step'\nepochs = 5\nmilestones = [3, 5]", "milestone 5 is outside 1..4"),
        ("[distill]\nepochs = 3\nwarmup_epochs = 3.0", "warmup_epochs = 3.0 leaves nothing of epochs = 3"),
    ],
)
def test_keys_that_contradict_each_other_are_refused(tmp_path: Path, section: str, expected: str) -> None:
    assert f"distill: {expected}" in refused(tmp_path, SMALL + section)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("qat_epochs = 2", "quantize: qat_epochs is set, and qat = false"),
        ("portable = false\nsaturation = '7bit'", "quantize: saturation = '7bit' is what makes a file portable"),
        ("saturation = 'never'", "quantize.saturation: found 'never'"),
        ("time_budget = 0", "quantize.time_budget: found 0"),
        ("max_memory_bytes = 0", "quantize.max_memory_bytes: found 0"),
        ("calibration_method = 'median'", "quantize.calibration_method: found 'median'"),
    ],
)
def test_contradictions_of_the_search_are_refused(tmp_path: Path, lines: str, expected: str) -> None:
    assert expected in refused(tmp_path, f"{SMALL}[quantize]\n{lines}")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('augment = "flip"\ncrop_padding = 2', "data: crop_padding is set, but augment = 'flip' does not crop"),
        ('resize_filter = "box"', "data: resize_filter is set without resize; set resize = [height, width]"),
        ('resize_mode = "pad"', "data: resize_mode is set without resize"),
        ("resize = [0, 8]", "data: resize is [0, 8]; expected [height, width] in pixels, both positive"),
        ("resize = [8]", "data.resize.1 is missing"),
    ],
)
def test_contradictions_of_the_data_are_refused(tmp_path: Path, line: str, expected: str) -> None:
    assert expected in refused(tmp_path, SMALL.replace("[teacher]", f"{line}\n[teacher]"))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("mean = [0.5]", "teacher: mean and std belong together"),
        ("mean = [0.5]\nstd = [0.0]", "teacher: std is [0.0]; expected positive numbers"),
    ],
)
def test_contradictions_of_the_teacher_are_refused(tmp_path: Path, line: str, expected: str) -> None:
    assert expected in refused(tmp_path, SMALL.replace("[student]", f"{line}\n[student]"))


def test_several_contradictions_of_a_section_come_together(tmp_path: Path) -> None:
    message = refused(tmp_path, SMALL + "[distill]\ntemperature = 2.0\nmilestones = [3]\n")
    assert "temperature is set" in message
    assert "milestones is set" in message


def test_distilling_without_a_teacher_is_refused_and_labels_alone_need_none(tmp_path: Path) -> None:
    bare = 'name = "a"\n[data]\nsource = "fashion-mnist"\n[student]\nmodel = "resnet8"\n'
    assert "distill.method = 'cist' needs a [teacher] section, or set method = 'ce'" in refused(tmp_path, bare)
    assert recipe.load(write(tmp_path, bare + "[distill]\nmethod = 'ce'\n")).teacher is None


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b"])
def test_a_name_that_is_no_folder_name_is_refused(tmp_path: Path, name: str) -> None:
    assert "name: found" in refused(tmp_path, SMALL.replace('"small"', f'"{name}"'))


@pytest.mark.parametrize("seed", ["-1", "4294967296"])
def test_a_seed_that_torch_or_numpy_would_not_take_is_refused(tmp_path: Path, seed: str) -> None:
    assert f"seed: found {seed}" in refused(tmp_path, f"seed = {seed}\n{SMALL}")


def test_overrides_take_toml_values_and_bare_words(tmp_path: Path) -> None:
    overrides = ("distill.epochs=3", "student.model=resnet20", "data.resize=[16, 16]", "gate.min_top1 = 0.5", "seed=7")
    made = recipe.load(write(tmp_path, SMALL), overrides=(*overrides, "validate.rounds=1"))
    assert (made.distill.epochs, made.student.model, made.data.resize) == (3, "resnet20", (16, 16))
    assert (made.gate.min_top1, made.seed, made.validate_.rounds) == (0.5, 7, 1)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("distill.epochs", "--set distill.epochs: expected section.key=value, for example distill.epochs=3"),
        ("=3", "--set =3: expected section.key=value"),
        ("distill.epochz=3", "unknown key 'distill.epochz'; did you mean 'epochs'?"),
        ("distill.epochs=many", "distill.epochs: found 'many'; input should be a valid integer"),
        ("name.first=3", "'name' is a value, not a section"),
        ("distill=3", "distill: found 3"),
        ("distill..epochs=3", "unknown key 'distill.'"),
    ],
)
def test_an_override_is_checked_like_the_file(tmp_path: Path, override: str, expected: str) -> None:
    assert expected in refused(tmp_path, SMALL, override)


def test_paths_are_relative_to_the_recipe_and_built_in_names_stay(tmp_path: Path) -> None:
    text = SMALL.replace('"fashion-mnist"', '"data/my pictures"').replace('"resnet8"', '"nets/own.py:build"')
    made = recipe.load(write(tmp_path, text + '[validate]\ntarget = "boards/mine.toml"\n'))
    assert made.teacher is not None
    assert made.data.source == str(tmp_path / "data/my pictures")
    assert made.student.model == str(tmp_path / "nets/own.py:build")
    assert made.teacher.weights == str(tmp_path / "teacher.safetensors")
    assert made.validate_.target == str(tmp_path / "boards/mine.toml")
    built_in = recipe.load(write(tmp_path, SMALL.replace('"teacher.safetensors"', '"builtin:some"')))
    assert built_in.teacher is not None
    assert (built_in.data.source, built_in.teacher.weights) == ("fashion-mnist", "builtin:some")
    assert (built_in.student.model, built_in.validate_.target) == ("resnet8", "x86-1t")


def test_an_absolute_path_stays(tmp_path: Path) -> None:
    text = SMALL.replace('"fashion-mnist"', '"/somewhere/else.npz"')
    assert recipe.load(write(tmp_path, text)).data.source == "/somewhere/else.npz"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_dumped_recipe_loads_back_equal(path: Path, tmp_path: Path) -> None:
    made = recipe.load(path, overrides=("seed=7",))
    assert recipe.load(write(tmp_path, recipe.dump(made))) == made


def test_a_dump_keeps_odd_strings_options_and_arrays(tmp_path: Path) -> None:
    text = SMALL.replace(
        '"fashion-mnist"', r'"a \"b\" \\ é\u007f.npz"' + '\nclasses = ["<script>", "a b"]\nresize = [4, 5]'
    )
    made = recipe.load(
        write(tmp_path, text + "options = { width = 0.5, kind = 'x y', n = 2 }\n[distill]\nclip_norm = 1e-5\n")
    )
    dumped = recipe.dump(made)
    again = recipe.load(write(tmp_path, dumped))
    assert again == made
    assert again.student.options == {"width": 0.5, "kind": "x y", "n": 2}
    assert tomllib.loads(dumped)["distill"] == {"clip_norm": 1e-5}
    assert "# epochs = 30" in dumped
