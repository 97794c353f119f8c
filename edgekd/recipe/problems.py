"""Pydantic's errors as lines a person can act on: where, what was found, what was expected."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from edgekd.errors import nearest

UNION_BRANCHES = ("float", "int", "str", "literal[")
"""What pydantic puts behind a key to say which branch of a union it tried."""


def explain(problems: list[Any], sections: Mapping[str, type[BaseModel]]) -> list[str]:
    """Pydantic's errors as lines: where, found, expected, what to do. It reports each branch of a union apart.

    sections: name of each table of the recipe, "" for the whole, -> its schema.
    """
    lines: dict[tuple[str, ...], str] = {}
    for problem in problems:
        path = tuple(str(part) for part in problem["loc"])
        if problem["type"] != "extra_forbidden" and path and path[-1].startswith(UNION_BRANCHES):
            path = path[:-1]
        lines[path] = f"{lines[path]}, or {_expected(problem)}" if path in lines else _line(problem, path, sections)
    return list(lines.values())


def _line(problem: Any, path: tuple[str, ...], sections: Mapping[str, type[BaseModel]]) -> str:
    location = ".".join(path)
    if problem["type"] == "extra_forbidden":
        *parents, key = path
        section = ".".join(part for part in parents if not part.isdigit())  # a number is a table of an array
        known = [field.alias or name for name, field in sections[section].model_fields.items()]
        where = ".".join(parents) or "the recipe"
        return f"unknown key '{location}'{nearest(key, known)} (allowed in {where}: {', '.join(known)})"
    if problem["type"] == "missing":
        return f"{location} is missing; expected it in the recipe"
    if problem["type"] == "value_error":
        return f"{location}: {_expected(problem)}" if location else _expected(problem)
    return f"{location}: found {problem['input']!r}; {_expected(problem)}"


def _expected(problem: Any) -> str:
    message = str(problem["msg"])
    if problem["type"] == "value_error":
        return message.removeprefix("Value error, ")
    return message[0].lower() + message[1:]
