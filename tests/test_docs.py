"""The generated documents are current, and the recipe's schema fits the recipes."""

import importlib.util
import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
RECIPES = [path for path in sorted((ROOT / "recipes").glob("*.toml")) if not path.stem.startswith("language")]
LANGUAGE_RECIPES = sorted((ROOT / "recipes").glob("language*.toml"))
SCHEMA = ROOT / "edgekd" / "recipe.schema.json"
LANGUAGE_SCHEMA = ROOT / "edgekd" / "language-recipe.schema.json"
TYPES: dict[str, Any] = {
    "string": str,
    "integer": int,
    "number": int | float,
    "boolean": bool,
    "array": list,
    "object": dict,
}


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def problems(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], where: str = "recipe") -> Iterator[str]:
    """What a JSON schema has against a value: types, choices, required and unknown keys."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    if "anyOf" in schema:
        if all(list(problems(value, option, root, where)) for option in schema["anyOf"]):
            yield f"{where}: no branch fits {value!r}"
        return
    if value not in schema.get("enum", [value]) or value != schema.get("const", value):
        yield f"{where}: {value!r} is no choice"
    is_bool_for_number = isinstance(value, bool) and schema.get("type") != "boolean"
    if schema.get("type") == "null" or is_bool_for_number or not isinstance(value, TYPES[schema["type"]]):
        yield f"{where}: {value!r} is not {schema['type']}"
    elif "properties" in schema:
        yield from (f"{where}.{key} is missing" for key in schema.get("required", ()) if key not in value)
        for key, item in value.items():
            if key in schema["properties"]:
                yield from problems(item, schema["properties"][key], root, f"{where}.{key}")
            elif schema["additionalProperties"] is False:
                yield f"{where}.{key} is unknown"


@pytest.mark.parametrize(
    "path",
    [
        "docs/recipe.md",
        "docs/language-recipe.md",
        "docs/cli.md",
        "edgekd/recipe.schema.json",
        "edgekd/language-recipe.schema.json",
    ],
)
def test_a_generated_file_is_what_the_code_says_now(path: str, generate: ModuleType) -> None:
    assert set(generate.GENERATED) >= {path}
    assert (ROOT / path).read_text(encoding="utf-8") == generate.GENERATED[path](), f"{path} is stale: run `make docs`"


@pytest.mark.parametrize("path", [*RECIPES, *LANGUAGE_RECIPES], ids=lambda path: path.name)
def test_a_recipe_fits_the_shipped_schema(path: Path) -> None:
    schema = json.loads((LANGUAGE_SCHEMA if path in LANGUAGE_RECIPES else SCHEMA).read_text(encoding="utf-8"))
    assert list(problems(tomllib.loads(path.read_text(encoding="utf-8")), schema, schema)) == []


def test_the_shipped_schema_refuses_what_the_recipe_refuses() -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    broken = {"name": "x", "data": {"source": 3, "sorce": "y"}, "distill": {"method": "cits", "rho": "many"}}
    assert sorted(problems(broken, schema, schema)) == [
        "recipe.data.sorce is unknown",
        "recipe.data.source: 3 is not string",
        "recipe.distill.method: 'cits' is no choice",
        "recipe.distill.rho: no branch fits 'many'",
        "recipe.student is missing",
    ]


def test_every_key_of_a_recipe_has_a_meaning() -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    sections = {name: section["properties"] for name, section in schema["$defs"].items()}
    silent = [
        f"{name}.{key}" for name, keys in sections.items() for key, value in keys.items() if "description" not in value
    ]
    assert schema["$schema"] and schema["title"] == "edgekd recipe"
    assert silent == []
