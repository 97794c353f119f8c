"""Device profiles: the TOML files of this folder, and your own by path."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edgekd.errors import BadInputError, nearest
from edgekd.targets.problems import explain
from edgekd.targets.target import Budgets, Precision, Target

__all__ = ["Budgets", "Precision", "Target", "dump", "load", "names"]


def names() -> list[str]:
    """Names of the built-in targets, sorted."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.toml"))


def load(name_or_path: str) -> Target:
    """The target of a built-in name, or of a path that ends in `.toml`.

    Raises:
        BadInputError: unknown name, unreadable file, TOML syntax error, or values that do not fit the schema (all
            of them at once).
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = _built_in(name_or_path)
    return _validate(_parse(_read(path), path), path)


def dump(target: Target) -> str:
    """The target as TOML text that `load` reads back equal; what is at its default of "nothing" is left out."""
    values = target.model_dump(exclude_none=True)
    tables = {key: values.pop(key) for key in ("session_config", "provider_options", "budgets")}
    lines = [f"{key} = {_literal(value)}" for key, value in values.items()]
    for table, entries in tables.items():
        if entries:
            lines += ["", f"[{table}]", *(f"{_key(key)} = {_literal(value)}" for key, value in entries.items())]
    return "\n".join(lines) + "\n"


def _built_in(name: str) -> Path:
    known = names()
    if name not in known:
        raise BadInputError(
            f"unknown target '{name}'; known: {', '.join(known)}{nearest(name, known)} "
            "(write your own: `path/to/target.toml`)"
        )
    return Path(__file__).with_name(f"{name}.toml")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as err:
        built_in = f"; '{path.stem}' without .toml is built in" if path.stem in names() else ""
        raise BadInputError(
            f"target file {path} does not exist; expected a TOML file (start from `edgekd targets show NAME`){built_in}"
        ) from err
    except UnicodeDecodeError as err:
        raise BadInputError(f"target file {path} is not UTF-8 text (byte {err.start}); save it as UTF-8") from err
    except OSError as err:
        raise BadInputError(f"target file {path} cannot be read: {err.strerror}") from err


def _parse(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as err:
        at = re.search(r"line (\d+)", str(err))
        line = int(at[1]) if at else text.count("\n") + 1
        raise BadInputError(f"{path}:{line}: TOML syntax error: {err}; correct that line") from err


def _validate(document: dict[str, Any], path: Path) -> Target:
    # TOML knows arrays only, and strict validation wants the tuples of a frozen model.
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in document.items()}
    try:
        return Target.model_validate(values)
    except ValidationError as err:
        lines = explain(err)
        raise BadInputError(
            f"target {path}: {len(lines)} problem(s)\n" + "\n".join(f"  {line}" for line in lines)
        ) from err


def _literal(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + "".join(f"\n  {_literal(item)}," for item in value) + ("\n]" if value else "]")
    # JSON's strings, numbers and booleans are TOML's, but for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _literal(key)
