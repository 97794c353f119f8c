"""Writes the two recipe documents, docs/cli.md and the JSON schemas of recipes from the code: `make docs`."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from typer.main import get_command

from edgekd import recipe
from edgekd.cli.app import app
from edgekd.errors import BadInputError
from edgekd.language import recipe as language

ROOT = Path(__file__).resolve().parent.parent

MINIMAL: dict[str, Any] = {
    "name": "example",
    "data": {"source": "fashion-mnist"},
    "teacher": {"model": "wrn_16_2", "weights": "builtin:fashion-mnist-wrn_16_2"},
    "student": {"model": "resnet8"},
}

CONTRADICTIONS: tuple[dict[str, Any], ...] = (
    {"data": {"augment": "flip", "crop_padding": 2}},
    {"data": {"resize": [0, 32]}},
    {"distill": {"method": "kd", "rho": 1.5}},
    {"distill": {"method": "cist", "temperature": 4.0}},
    {"distill": {"method": "cist", "ce_weight": 0.1}},
    {"distill": {"method": "ce", "kd_weight": 0.9}},
    {"distill": {"method": "entropy", "entropy": 0.5, "match_fixed": 4.0}},
    {"distill": {"method": "dkd", "cutmix": 1.0}},
    {"distill": {"batch_size": 6, "accumulate": 4}},
    {"distill": {"teacher_cache": "fp16"}},
    {"distill": {"teacher_cache": "top-k", "n_views": 4}},
    {"distill": {"rho": 1.5, "rho_entropy": 0.9}},
    {"distill": {"rho": -1.0}},
    {"distill": {"optimizer": "adamw", "momentum": 0.9}},
    {"distill": {"schedule": "cosine", "milestones": [15, 25]}},
    {"distill": {"schedule": "step"}},
    {"teacher": None},
    {"teacher": {"path": "teacher.onnx"}},
)
"""Sections that replace those of MINIMAL and are refused; None leaves a section out."""

RECIPE_HEAD = """# The recipe

<!-- Written by `make docs` from edgekd/recipe/schema.py; a test keeps it current. -->

A recipe is one TOML file and the only input of `edgekd run`. Paths in it start at its own folder. An unknown key, a
wrong type or a contradiction is an error that names the key, what is allowed and the nearest spelling; all errors come
at once. `edgekd init DATA --out recipe.toml` writes one for your data, and `--set section.key=value` overrides a key
for one run, visibly in the report.

Editors check and complete recipes with the JSON schema `edgekd/recipe.schema.json`. For Taplo and Even Better TOML, put
`#:schema PATH/TO/recipe.schema.json` on the recipe's first line.
"""

LANGUAGE_HEAD = """# The recipe of a language distillation

<!-- Written by `make docs` from edgekd/language/recipe.py; a test keeps it current. -->

One TOML file, the only input of `edgekd language`; [language.md](language.md) says what is done with it. Paths start at
its own folder, unknown keys are errors, all errors come at once, and `--set section.key=value` overrides a key for one
run, visibly in the report. The JSON schema for editors is `edgekd/language-recipe.schema.json`.
"""

CLI_HEAD = """# The command line

<!-- Written by `make docs` from the commands in cli/; a test keeps it current. -->

Results go to stdout, as tables for people or with `--json` for programs; messages and progress go to stderr.
"""


def recipe_schema() -> str:
    """The JSON schema of a recipe, for editors."""
    schema = recipe.Recipe.model_json_schema(by_alias=True)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "edgekd recipe"}
    return json.dumps(head | {key: value for key, value in schema.items() if key != "title"}, indent=2) + "\n"


def language_schema() -> str:
    """The JSON schema of a language recipe, for editors."""
    schema = language.Recipe.model_json_schema(by_alias=True)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "edgekd language recipe"}
    return json.dumps(head | {key: value for key, value in schema.items() if key != "title"}, indent=2) + "\n"


def language_markdown() -> str:
    """docs/language-recipe.md: every key with its type, default and meaning, and an example."""
    schema = json.loads(language_schema())
    example = (ROOT / "recipes" / "language-quick.toml").read_text(encoding="utf-8")
    parts = [LANGUAGE_HEAD, *_sections(schema), "## [teacher.train]\n", _key_table(schema["$defs"]["Training"])]
    parts += ["## A complete example\n", "`recipes/language-quick.toml`:\n", f"```toml\n{example}```\n"]
    return "\n".join(parts)


def recipe_markdown() -> str:
    """docs/recipe.md: every key with its type, default and meaning, an example, and what contradicts."""
    schema = json.loads(recipe_schema())
    parts = [RECIPE_HEAD, *_sections(schema)]
    example = (ROOT / "recipes" / "quickstart.toml").read_text(encoding="utf-8")
    parts += [
        "## A complete example\n",
        "`recipes/quickstart.toml`, which `make demo` runs:\n",
        f"```toml\n{example}```\n",
    ]
    parts += ["## What contradicts\n", "Each of these is refused, with this message:\n", *_contradictions()]
    return "\n".join(parts) + "\n"


def _sections(schema: Mapping[str, Any]) -> list[str]:
    """The keys of the top level, then those of each section."""
    parts = ["## Top level\n", _key_table(schema, keys=_plain_keys(schema))]
    for name, value in schema["properties"].items():
        if name not in _plain_keys(schema):
            section = schema["$defs"][_reference(value)]
            optional = "" if name in schema["required"] else " Optional."
            parts += [f"## [{name}]\n", f"{section['description']}{optional}\n", _key_table(section)]
    return parts


def _plain_keys(schema: Mapping[str, Any]) -> list[str]:
    """The keys of a schema that are values, not sections."""
    return [name for name, value in schema["properties"].items() if _reference(value) is None]


def _reference(value: Mapping[str, Any]) -> str | None:
    """The section's name in $defs, also where the section may be left out."""
    found = [option["$ref"] for option in (value, *value.get("anyOf", ())) if "$ref" in option]
    return found[0].removeprefix("#/$defs/") if found else None


def _key_table(schema: Mapping[str, Any], *, keys: list[str] | None = None) -> str:
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name in keys or schema["properties"]:
        value = schema["properties"][name]
        default = "**required**" if name in schema.get("required", ()) else _default(value.get("default"))
        rows.append(_row(f"`{name}`", _type(value), default, value["description"]))
    return "\n".join(rows) + "\n"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(value: Any) -> str:
    return "none" if value is None else f"`{json.dumps(value)}`"


def _type(value: Mapping[str, Any]) -> str:
    """A JSON schema's type in words: `integer >= 1`, `one of "sgd", "adamw"`, `array of string`."""
    if "anyOf" in value:
        return " or ".join(_type(option) for option in value["anyOf"] if option.get("type") != "null")
    if "enum" in value:
        return "one of " + ", ".join(f"`{json.dumps(option)}`" for option in value["enum"])
    if "const" in value:
        return f"`{json.dumps(value['const'])}`"
    if "$ref" in value or value["type"] == "object":
        return "table" if "$ref" in value else f"table of {_type(value['additionalProperties'])}"
    if value["type"] == "array":
        return _array(value)
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {value[key]:,}" for key, sign in signs.items() if key in value]
    pattern = f" matching `{value['pattern']}`" if "pattern" in value else ""
    return f"{value['type']}{' ' * bool(bounds)}{', '.join(bounds)}{pattern}"


def _array(value: Mapping[str, Any]) -> str:
    if "prefixItems" in value:
        return "[" + ", ".join(_type(item) for item in value["prefixItems"]) + "]"
    return f"array of {_type(value['items'])}"


def _contradictions() -> Iterator[str]:
    """Each contradiction as TOML, and the message that the recipe's own checks give for it."""
    for change in CONTRADICTIONS:
        changed = {name: MINIMAL.get(name, {}) | values for name, values in change.items() if values is not None}
        document = {name: value for name, value in (MINIMAL | changed).items() if change.get(name, ()) is not None}
        yield f"- `{_as_toml(change)}`: {_refusal(document)}"


def _as_toml(change: Mapping[str, Any]) -> str:
    return " ".join(
        f"no [{section}]"
        if values is None
        else f"[{section}] " + ", ".join(f"{k} = {json.dumps(v)}" for k, v in values.items())
        for section, values in change.items()
    )


def _refusal(document: dict[str, Any]) -> str:
    try:
        recipe.parse(document, origin="example")
    except BadInputError as err:
        return str(err).partition("\n")[2].strip()
    raise AssertionError(f"{document} is listed as a contradiction, but the recipe takes it; mend CONTRADICTIONS")


def cli_markdown() -> str:
    """docs/cli.md: every command with its usage, arguments and options, as `--help` states them."""
    root = get_command(app)
    context = typer.Context(root, info_name="edgekd")
    return "\n".join([CLI_HEAD, *_command(root, context), f"{root.epilog}\n", *_commands(root, context)])


def _commands(group: Any, context: typer.Context) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command.hidden:
            continue
        inner = typer.Context(command, info_name=name, parent=context)
        yield f"## {inner.command_path}\n"
        yield from _command(command, inner)
        if hasattr(command, "list_commands"):
            yield from _commands(command, inner)


def _command(command: Any, context: typer.Context) -> Iterator[str]:
    records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    rows = [record for record in records if record is not None and record[0] != "--help"]
    if command.help:
        yield f"{command.help}\n"
    yield f"```\n{' '.join([context.command_path, *command.collect_usage_pieces(context)])}\n```\n"
    if rows:
        yield "| argument or option | meaning |\n|---|---|"
        for names, meaning in rows:
            # Typer puts two blanks before its own "[required]" and "[default: x]".
            yield _row(f"`{names}`", " ".join(meaning.split()))
        yield ""


GENERATED = {
    "docs/recipe.md": recipe_markdown,
    "docs/language-recipe.md": language_markdown,
    "docs/cli.md": cli_markdown,
    "edgekd/recipe.schema.json": recipe_schema,
    "edgekd/language-recipe.schema.json": language_schema,
}
"""File, relative to the repository -> what makes its text."""


def main() -> None:
    """Write every generated file."""
    for path, text in GENERATED.items():
        (ROOT / path).write_text(text(), encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
