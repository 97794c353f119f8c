"""A recipe -> the TOML that `load` reads back equal."""

import json
from typing import Any

from edgekd.recipe.section import Section


def dump(recipe: Section) -> str:
    """The recipe as TOML that `load` reads back equal; what it left at a default stands there as a comment."""
    lines = _assignments(recipe)
    for name, field in type(recipe).model_fields.items():
        section = getattr(recipe, name)
        if isinstance(section, Section):
            lines += ["", f"[{field.alias or name}]", *_assignments(section)]
            for below in type(section).model_fields:
                table = getattr(section, below)
                if isinstance(table, Section):
                    unset = "" if below in section.model_fields_set else "# "
                    lines += ["", f"{unset}[{field.alias or name}.{below}]", *_assignments(table)]
    return "\n".join(lines) + "\n"


def _assignments(section: Section) -> list[str]:
    """One `key = value` a field; a default as a comment, because a key that is set can contradict another."""
    values = {name: getattr(section, name) for name in type(section).model_fields}
    return [
        f"{'' if name in section.model_fields_set else '# '}{name} = {_literal(value)}"
        for name, value in values.items()
        if value is not None and not isinstance(value, Section)
    ]


def _literal(value: Any) -> str:
    if isinstance(value, Section):
        set_here = {name: getattr(value, name) for name in type(value).model_fields if name in value.model_fields_set}
        return _literal({name: one for name, one in set_here.items() if one is not None})
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_literal(key)} = {_literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_literal, value)) + "]"
    if isinstance(value, str | bool):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON leaves DEL bare, TOML forbids it
    return repr(value)
