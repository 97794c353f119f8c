"""What raw cycles of timed blocks must be before anyone judges them, and how sure a judge of so many may be."""

from collections.abc import Mapping, Sequence
from typing import Any

from edgekd.errors import BadInputError
from edgekd.gate import Check
from edgekd.statistics import DESIGNED_ERROR, error_at, look_after, next_look


def spent(cycles: int) -> float:
    """The error at each end that the look after so many cycles may have; one between two looks counts as the next."""
    number = look_after(cycles) or look_after(next_look(cycles))
    assert number is not None
    return error_at(number, designed=DESIGNED_ERROR)


def checked_cycles(raw: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The cycles, once every sample is known to be a positive whole number of nanoseconds."""
    cycles = raw.get("cycles")
    if not isinstance(cycles, list) or not cycles:
        raise BadInputError("the result holds no cycles; expected at least one: measure again")
    for cycle in cycles:
        for name in ("new", "base"):
            samples = cycle.get(name) if isinstance(cycle, dict) else None
            if not isinstance(samples, list) or not samples or not all(type(ns) is int and ns > 0 for ns in samples):
                raise BadInputError("a cycle holds something else than positive whole nanoseconds; measure again")
    return cycles


def constant_output(raw: Mapping[str, Any], name: str) -> tuple[Check, ...]:
    """A failed check where different inputs all got one and the same output: a network that is broken is fast, too."""
    known = raw.get("constant")
    if not isinstance(known, Mapping) or known.get(name) not in (True, False, None):
        raise BadInputError("the result does not say whether outputs differ ('constant'); was it edited? Measure again")
    if not known.get(name):
        return ()
    note = "different inputs all get the very same output: check weights and preprocessing"
    return (
        Check(name="min_different_outputs", metric="different_outputs", value=1.0, low=None, high=None, limit=2.0,
              unit="outputs", verdict="fail", source="edgekd", note=note),
    )  # fmt: skip
