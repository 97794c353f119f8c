"""The fewest layers, in an order of worth, that bring a network back: doubling, halving, then without each."""

from collections.abc import Callable, Mapping, Sequence

CHEAPEST_MS = 1e-4
"""What a layer costs at least; a layer that int8 does not speed up comes first, whatever its error."""

Works = Callable[[Sequence[str]], bool | None]


def by_error_for_cost(noise: Mapping[str, float], cost_ms: Callable[[str], float]) -> tuple[str, ...]:
    """Names, largest error a millisecond first. noise: power of a layer's own error against its signal's."""
    return tuple(sorted(noise, key=lambda name: (-noise[name] / max(cost_ms(name), CHEAPEST_MS), name)))


def affordable(order: Sequence[str], cost_ms: Callable[[str], float], budget_ms: float) -> tuple[str, ...]:
    """The order without what would take the sum over the budget."""
    kept, spent = [], 0.0
    for name in order:
        cost = max(0.0, cost_ms(name))
        if spent + cost <= budget_ms:
            kept.append(name)
            spent += cost
    return tuple(kept)


def fewest(order: Sequence[str], works: Works, cost_ms: Callable[[str], float]) -> tuple[str, ...] | None:
    """The smallest set found that works, None where not even all do.

    works: tells whether a set does; None ends the search, with the best set so far. Prefixes of 1, 2, 4, ... layers
    until one works, then halves the gap to the last that did not; of those left, each that is not needed goes, the
    dearest first. About 2 log2(n) + the number of layers found calls.
    """
    found = _double(order, works)
    if found is None:
        return None
    low, high = found // 2, found
    while high - low > 1:
        middle = (low + high) // 2
        answer = works(order[:middle])
        if answer is None:
            return tuple(order[:high])
        low, high = (low, middle) if answer else (middle, high)
    return _thin(tuple(order[:high]), works, cost_ms)


def _double(order: Sequence[str], works: Works) -> int | None:
    count = 1
    while True:
        count = min(count, len(order))
        answer = works(order[:count])
        if answer or answer is None or count == len(order):
            return count if answer else None
        count *= 2


def _thin(found: tuple[str, ...], works: Works, cost_ms: Callable[[str], float]) -> tuple[str, ...]:
    # The last of the prefix is needed: without it the prefix one shorter did not work.
    for name in sorted(found[:-1], key=cost_ms, reverse=True):
        fewer = tuple(other for other in found if other != name)
        answer = works(fewer)
        if answer is None:
            break
        found = fewer if answer else found
    return found
