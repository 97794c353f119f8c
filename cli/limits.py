"""`--limit name=number`, as a report's gate takes it."""

import tomllib
from typing import Annotated, Any

import typer

from edgekd.errors import BadInputError

LimitOption = Annotated[
    list[str] | None,
    typer.Option("--limit", help="A limit of the gate, e.g. --limit max_p50_ms=2.5. Repeatable.", show_default=False),
]


def parse_limits(texts: list[str] | None) -> dict[str, float]:
    """`name=number` as limits of a report; a floor of one class is `class_floors.NAME=number`."""
    from edgekd.gate import FLOORS, flat

    limits: dict[str, Any] = {}
    for name, number in parse_numbers(texts).items():
        if name.startswith(f"{FLOORS}."):
            limits.setdefault(FLOORS, {})[name.removeprefix(f"{FLOORS}.")] = number
        else:
            limits[name] = number
    return flat(_checked(limits))


def parse_numbers(texts: list[str] | None) -> dict[str, Any]:
    """`name=number`, split at the last equals sign: the name of a class may hold some."""
    found = {}
    for text in texts or ():
        name, _, value = text.rpartition("=")
        try:
            found[name.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError as err:
            raise BadInputError(f"--limit {text}: expected name=number, for example max_p50_ms=2.5") from err
    return found


def _checked(limits: dict[str, Any]) -> dict[str, Any]:
    """The limits, held to the same rules as a recipe's [gate]."""
    from pydantic import ValidationError

    from edgekd.errors import nearest
    from edgekd.recipe import Gate

    known = list(Gate.model_fields)
    for name in limits:
        if name not in known:
            raise BadInputError(f"--limit {name}: unknown{nearest(name, known)} (known: {', '.join(known)})")
    try:
        return Gate.model_validate(limits).model_dump(exclude_none=True)
    except ValidationError as err:
        problem = err.errors()[0]
        name = ".".join(map(str, problem["loc"]))
        raise BadInputError(f"--limit {name}={problem['input']}: {problem['msg'].lower()}") from err
