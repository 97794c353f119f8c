"""Every unit of a check is written as people read it, in the report and on the terminal, also beside its limit."""

from typing import Any

import pytest

from edgekd.cli import console
from edgekd.report.rows import check_rows
from edgekd.report.wording import NBSP

CASES: dict[str, tuple[dict[str, Any], tuple[str, str, str]]] = {
    "ratio": (
        {"name": "max_regression", "metric": "ratio_p50", "unit": "x", "value": 1.0312, "low": 1.0, "high": 1.06,
         "limit": 1.05},
        ("1.031×", "[1.000, 1.060]", "≤ +5 %"),
    ),
    "faster wanted": (
        {"name": "max_regression", "metric": "ratio_p50", "unit": "x", "value": 0.9, "low": 0.8, "high": 0.95,
         "limit": 0.975},
        ("0.900×", "[0.800, 0.950]", "≤ −2.5 %"),
    ),
    "instructions": (
        {"name": "max_instructions", "metric": "instructions", "unit": "instructions", "value": 3322421, "low": 3322418,
         "high": 3322421, "limit": 4e6},
        ("3,322,421 instructions", "[3,322,418, 3,322,421]", "≤ 4,000,000 instructions"),
    ),
    "a class": (
        {"name": "class_floors.cat", "metric": "class_top1", "unit": "fraction", "value": 0.8, "low": 0.7, "high": 0.9,
         "limit": 0.75},
        ("80.00 %", "[70.00, 90.00]", "≥ 75 %"),
    ),
    "drop": (
        {"name": "max_top1_drop", "metric": "top1_drop", "unit": "fraction", "value": 0.004, "low": -0.009,
         "high": 0.017, "limit": 0.01},
        ("0.40 pt", "[−0.90, 1.70]", "≤ 1 pt"),
    ),
}  # fmt: skip


def gate(check: dict[str, Any]) -> dict[str, Any]:
    whole = check | {"verdict": "pass", "source": "given", "note": ""}
    return {"verdict": "pass", "checks": [whole], "variant": "net"}


@pytest.mark.parametrize("case", CASES)
def test_a_check_is_one_row_in_words(case: str) -> None:
    check, words = CASES[case]
    (row,) = check_rows(gate(check))
    assert tuple(text.replace(NBSP, " ") for text in (row.value, row.interval, row.limit)) == words


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("ratio", ("1.031x", "1.000x to 1.060x", "+5 %")),
        ("faster wanted", ("0.900x", "0.800x to 0.950x", "-2.5 %")),
        ("instructions", ("3,322,421", "3,322,418 to 3,322,421", "4,000,000")),
        ("a class", ("0.8000", "0.7000 to 0.9000", "0.7500")),
    ],
)
def test_the_table_on_the_terminal_has_the_same_checks(
    case: str, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    console.verdict_table(gate(CASES[case][0]), {"name": "x86-1t"})
    shown = capsys.readouterr().out
    assert all(f" {text} " in f"{shown} " for text in words), shown
