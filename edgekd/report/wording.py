"""Numbers, intervals and verdicts as people read them; `None` is a dash everywhere."""

import math

DASH = "–"
NBSP = "\u00a0"
MINUS = "−"
EQUAL_DB = 200.0
"""What `edgekd.fidelity` gives to equal outputs."""
WORDS = {"pass": "PASS", "fail": "FAIL", "inconclusive": "INCONCLUSIVE"}


def fixed(value: float | None, *, digits: int = 3) -> str:
    """`value` with `digits` significant digits, without an exponent from a thousandth up, a real minus sign."""
    if value is None:
        return DASH
    if not math.isfinite(value):
        return str(value)
    if value != 0 and abs(value) < 1e-3:
        return _minus(f"{value:.{digits}g}")
    decimals = digits - 1 if value == 0 else max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return _minus(f"{value:,.{decimals}f}")


def percent(value: float | None, *, decimals: int = 1) -> str:
    """A fraction as a percentage: 0.8731 -> `87.3 %`."""
    return DASH if value is None else _minus(f"{100 * value:.{decimals}f}") + NBSP + "%"


def change(ratio: float | None, *, decimals: int = 1) -> str:
    """A ratio of new to old as a signed percentage: 0.969 -> `−3.1 %`, 1.05 -> `+5.0 %`."""
    if ratio is None:
        return DASH
    text = _minus(f"{100 * (ratio - 1):.{decimals}f}")
    return ("" if text.startswith("−") or not text.strip("0.") else "+") + text + NBSP + "%"


def points(value: float | None, *, decimals: int = 2) -> str:
    """A difference of two fractions in percentage points: 0.004 -> `0.40 pt`."""
    return DASH if value is None else _minus(f"{100 * value:.{decimals}f}") + NBSP + "pt"


def decibels(value: float | None) -> str:
    """A signal-to-noise ratio: `37.4 dB`; 200 stands for outputs that are equal."""
    return DASH if value is None else "equal" if value >= EQUAL_DB else _minus(f"{value:.1f}") + NBSP + "dB"


def milliseconds(value: float | None, *, digits: int = 3) -> str:
    """`0.213 ms`."""
    return DASH if value is None else fixed(value, digits=digits) + NBSP + "ms"


def size(value: float | None) -> str:
    """Bytes in decimal units, as limits are written: 312345 -> `312 kB`."""
    if value is None:
        return DASH
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= factor:
            return fixed(value / factor) + NBSP + unit
    return f"{value:.0f}{NBSP}B"


def exact_bytes(value: float | None) -> str:
    """Every byte, for a value beside its limit: `312,345 B`."""
    return DASH if value is None else f"{value:,.0f}{NBSP}B"


def ratio(value: float | None) -> str:
    """New over base: `1.031×`."""
    return DASH if value is None else f"{value:.3f}×"


def count(value: float | None, unit: str) -> str:
    """A whole number of something: `3,322,421 instructions`."""
    return DASH if value is None else f"{value:,.0f}{NBSP}{unit}"


def interval(
    low: float | None, high: float | None, *, scale: float = 1.0, decimals: int | None = None, digits: int = 3
) -> str:
    """`[85.1, 89.2]`; one unknown end is infinite, two are no interval. Without `decimals`: significant `digits`."""
    if low is None and high is None:
        return ""

    def end(value: float | None, unknown: str) -> str:
        if value is None:
            return unknown
        if decimals is None:
            return fixed(scale * value, digits=digits)
        return _minus(f"{scale * value:,.{decimals}f}")

    return f"[{end(low, '−∞')}, {end(high, '∞')}]"


def plural(count: int, word: str, words: str | None = None) -> str:
    """`1 limit`, `2 limits`; words: a plural that is not `word` with an s."""
    return f"{count} {word}" if count == 1 else f"{count} {words or word + 's'}"


def _minus(text: str) -> str:
    """A real minus sign, and none before a zero."""
    if text.startswith("-") and not text.strip("-0.,"):
        text = text[1:]
    return text.replace("-", MINUS) if "e" not in text else text
