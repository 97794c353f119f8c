"""What is wrong with a target file, one line a problem: where, found, expected."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from edgekd.errors import nearest
from edgekd.targets.target import Budgets, Target

EXPECTED = {
    "int_type": "integer",
    "float_type": "number",
    "string_type": "string",
    "bool_type": "true or false",
    "tuple_type": "list",
    "dict_type": "table",
    "model_type": "table",
    "model_attributes_type": "table",
    "greater_than": "more than {gt}",
    "literal_error": "{expected}",
    "string_pattern_mismatch": "text that matches {pattern}",
    "too_short": "at least {min_length} entry",
    "finite_number": "finite number",
}


def explain(error: ValidationError) -> list[str]:
    """One line for each problem, for example `threads: found "two", expected integer`."""
    return [_line(problem) for problem in error.errors()]


def _line(problem: Mapping[str, Any]) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "extra_forbidden":
        known = list(Budgets.model_fields if problem["loc"][0] == "budgets" else Target.model_fields)
        return f"{where}: unknown key{nearest(str(problem['loc'][-1]), known)}; known: {', '.join(known)}"
    if kind == "missing":
        return f"{where}: missing, expected in every target"
    if kind == "value_error":
        return str(context["error"])
    found = json.dumps(problem["input"], ensure_ascii=False, default=str)
    expected = EXPECTED[kind].format(**context) if kind in EXPECTED else problem["msg"]
    return f"{where}: found {found}, expected {expected}"
