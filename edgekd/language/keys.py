"""The key of each stage: the hash of all that its result depends on. It follows from keys, never from a result."""

from collections.abc import Mapping
from pathlib import Path

from edgekd import __version__
from edgekd.files import sha256
from edgekd.language.corpus import Corpus
from edgekd.language.recipe import Recipe, Training
from edgekd.session import SessionOptions
from edgekd.store import key_of


def all_keys(recipe: Recipe, corpus: Corpus, *, options: SessionOptions, machine: str) -> dict[str, str]:
    """Stage -> key, in the order in which they run. machine: its fingerprint; files are scored and timed there."""
    keys: dict[str, str] = {}
    if recipe.has_teacher:
        keys["teacher"] = _teacher(recipe, corpus)
    for method in recipe.methods:
        keys[f"student-{method}"] = _student(recipe, corpus, method, keys.get("teacher"))
    validate = recipe.validate_
    keys["export"] = key_of("export", keys[f"student-{recipe.distill.method}"], recipe.export.model_dump())
    keys["files"] = key_of("files", keys["export"], validate.variants, options.as_dict(), machine)
    keys["speed"] = key_of("speed", keys["files"], validate.rounds, validate.seconds)
    return keys


def data_key(recipe: Recipe, corpus: Corpus) -> str:
    """Of the text, its tokens, and how it is cut into parts."""
    data = recipe.data
    return key_of(
        __version__, corpus.sha256, corpus.vocabulary.sha256, data.context, data.block_characters,
        data.validation_fraction, data.test_fraction, recipe.seed,
    )  # fmt: skip


def knobs_of(recipe: Recipe, method: str) -> Mapping[str, float]:
    """The recipe's own knobs where it is the recipe's method, else none: the defaults."""
    return recipe.distill.knobs() if method == recipe.distill.method else {}


def _teacher(recipe: Recipe, corpus: Corpus) -> str:
    teacher, data = recipe.teacher, data_key(recipe, corpus)
    if teacher.weights is None:
        return key_of("teacher", data, teacher.model_dump())
    path = Path(teacher.weights)
    return key_of("brought", data, sha256(path) if path.is_file() else "missing")


def _student(recipe: Recipe, corpus: Corpus, method: str, teacher: str | None) -> str:
    distill = recipe.distill
    told = None if method == "ce" else teacher
    training = {name: getattr(distill, name) for name in (*Training.model_fields, "ce_weight", "n_views", "device")}
    cache = (distill.teacher_cache, distill.cache_top_k) if told else None
    return key_of(
        "student", data_key(recipe, corpus), recipe.student.model_dump(), method, knobs_of(recipe, method), training,
        told, recipe.own_seed, cache,
    )  # fmt: skip
