"""Recipe TOML and overrides -> a validated recipe with absolute paths; all errors at once."""

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from edgekd.data import BUILTIN
from edgekd.errors import BadInputError
from edgekd.recipe.problems import explain
from edgekd.recipe.schema import SECTIONS, Data, Recipe
from edgekd.recipe.section import Section
from edgekd.recipe.teacher import KEYS, Teacher, TeacherKeys

Schema = TypeVar("Schema", bound=BaseModel)


def load(path: Path, *, overrides: tuple[str, ...] = (), allow_download: bool = False) -> Recipe:
    """The recipe in a TOML file, with `section.key=value` overrides applied; relative paths made absolute.

    allow_download: sets `allow_download` of its teacher, and of each member of an ensemble, that has a hub.

    Raises:
        BadInputError: missing file, TOML syntax, unknown key, wrong type, contradiction; all errors in one message.
    """
    document = document_of(path, overrides=overrides, cure=f"`edgekd init DATA --out {path}` writes one")
    if allow_download:
        _allow_download(document, str(path))
    return _absolute(parse(document, origin=str(path)), path.resolve().parent)


def parse(document: dict[str, Any], *, origin: str) -> Recipe:
    """The recipe in a parsed document. `origin` names it in messages."""
    return validated(Recipe, document, origin=origin, sections=SECTIONS)


class _DataAlone(Section):
    data: Data


def data_of(source: str, overrides: tuple[str, ...]) -> Data:
    """The section [data] of a recipe that has nothing else. overrides: `data.key=value`.

    Raises:
        BadInputError: unknown key, wrong type, contradiction; all errors in one message.
    """
    document: dict[str, Any] = {"data": {"source": source}}
    for override in overrides:
        _override(document, override)
    sections: dict[str, type[BaseModel]] = {**SECTIONS, "": _DataAlone}
    return validated(_DataAlone, document, origin="from --set", sections=sections).data


def document_of(path: Path, *, overrides: tuple[str, ...], cure: str) -> dict[str, Any]:
    """The tables of a TOML file, with overrides applied. cure: what to do where there is no such file.

    Raises:
        BadInputError: missing file, TOML syntax, or an override that is none.
    """
    if not path.is_file():
        raise BadInputError(f"recipe {path}: no such file; {cure}")
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise BadInputError(f"recipe {path}: not valid TOML: {err}") from err
    for override in overrides:
        _override(document, override)
    return document


def validated(
    schema: type[Schema], document: dict[str, Any], *, origin: str, sections: Mapping[str, type[BaseModel]]
) -> Schema:
    """The document as `schema` has it. sections: name of each table, "" for the whole, -> its schema.

    Raises:
        BadInputError: unknown key, wrong type, contradiction; all errors in one message.
    """
    try:
        return schema.model_validate(_arrays_as_tuples(document))
    except ValidationError as err:
        lines = explain(err.errors(), sections)
        raise BadInputError(
            f"recipe {origin}: {len(lines)} problem(s)\n" + "\n".join(f"  {line}" for line in lines)
        ) from err


def _arrays_as_tuples(value: Any) -> Any:
    """TOML knows arrays only; pydantic in strict mode wants tuples where the recipe is frozen."""
    if isinstance(value, dict):
        return {key: _arrays_as_tuples(item) for key, item in value.items()}
    return tuple(_arrays_as_tuples(item) for item in value) if isinstance(value, list) else value


def _allow_download(document: dict[str, Any], origin: str) -> None:
    """Set the key in the teachers' tables, as far as the document has any; the schema says what else is wrong."""
    teacher = document.get("teacher")
    members = teacher.get("members", []) if isinstance(teacher, dict) else []
    tables = [one for one in (teacher, *(members if isinstance(members, list) else ())) if isinstance(one, dict)]
    fetched = [one for one in tables if "allow_download" in KEYS.get(str(one.get("kind")), ())]
    if not fetched:
        raise BadInputError(
            f"recipe {origin}: --allow-download, and its teacher comes from no hub; expected kind timm or "
            "transformers. Remove the option"
        )
    for one in fetched:
        one["allow_download"] = True


def _override(document: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise BadInputError(f"--set {override}: expected section.key=value, for example distill.epochs=3")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word, as a shell user writes it; the schema checks it like any other
    *sections, last = key.strip().split(".")
    table = document
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise BadInputError(f"--set {override}: '{section}' is a value, not a section")
    table[last] = value


def _absolute(recipe: Recipe, folder: Path) -> Recipe:
    """Every path of the recipe made absolute from the recipe's own folder."""

    def anchor(text: str) -> str:
        return str(folder / text)

    updates: dict[str, Any] = {}
    data: dict[str, Any] = {}
    if recipe.data.source not in BUILTIN:
        data["source"] = anchor(recipe.data.source)
    if recipe.data.audio is not None and recipe.data.audio.group_file is not None:
        data["audio"] = recipe.data.audio.model_copy(update={"group_file": anchor(recipe.data.audio.group_file)})
    if recipe.data.text is not None and recipe.data.text.tokenizer is not None:
        data["text"] = recipe.data.text.model_copy(update={"tokenizer": anchor(recipe.data.text.tokenizer)})
    if data:
        updates["data"] = recipe.data.model_copy(update=data)
    for name in ("teacher", "student"):
        section = getattr(recipe, name)
        changes: dict[str, Any] = {}
        if isinstance(section, Teacher):
            changes = _teacher_paths(section, anchor)
        elif section is not None and ".py:" in section.model:
            changes["model"] = anchor(section.model)
        if changes:
            updates[name] = section.model_copy(update=changes)
    if recipe.distill.cache_folder is not None:
        updates["distill"] = recipe.distill.model_copy(update={"cache_folder": anchor(recipe.distill.cache_folder)})
    if recipe.validate_.target.endswith(".toml"):
        updates["validate_"] = recipe.validate_.model_copy(update={"target": anchor(recipe.validate_.target)})
    return recipe.model_copy(update=updates)


def _teacher_paths(teacher: TeacherKeys, anchor: Callable[[str], str]) -> dict[str, Any]:
    """The keys of a teacher that name files, made absolute; also its members'."""
    changes: dict[str, Any] = {}
    if teacher.model is not None and ".py:" in teacher.model:
        changes["model"] = anchor(teacher.model)
    if teacher.weights is not None and not teacher.weights.startswith("builtin:"):
        changes["weights"] = anchor(teacher.weights)
    if teacher.path is not None:
        changes["path"] = anchor(teacher.path)
    if teacher.endpoint is not None and teacher.endpoint.cache_folder is not None:
        kept = {"cache_folder": anchor(teacher.endpoint.cache_folder)}
        changes["endpoint"] = teacher.endpoint.model_copy(update=kept)
    if isinstance(teacher, Teacher) and teacher.members is not None:
        changes["members"] = tuple(one.model_copy(update=_teacher_paths(one, anchor)) for one in teacher.members)
    return changes
