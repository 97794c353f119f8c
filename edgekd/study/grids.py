"""What each method is tuned over: its KD weight and its one temperature knob, around the published defaults."""

from dataclasses import dataclass
from itertools import product

from edgekd.errors import BadInputError, nearest

Knobs = dict[str, float]
"""Keys of the recipe's [distill] and what they are set to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A key of [distill] and its values, twice; the published default comes first.

    The further back a value stands, the further it is from what the method's authors took.
    """

    weight: str
    weights: tuple[float, ...]
    knob: str
    knobs: tuple[float, ...]
    source: str


def _weights(default: float) -> tuple[float, ...]:
    """The same relative range for every method: none may be tuned harder than another."""
    return (default, _short(3 * default), _short(default / 3), _short(default / 9))


def _temperatures(default: float) -> tuple[float, ...]:
    return (default, 2 * default, default / 2)


def _short(value: float) -> float:
    return float(f"{value:.2g}")


ENTROPIES = (0.925, 0.776, 0.983)
"""Soft-label entropy as a share of ln K: what rho = 3 (the default), 4 and 2 of the CIST author's own grid give at his
100 classes. So the max-logit rule and the exact solve are asked for the same entropies, at any number of classes."""

LABELS = (0.1, 1.0, 0.0)
"""The weight of the label term, for methods without a temperature to choose."""

GRIDS: dict[str, Grid] = {
    "kd": Grid(
        weight="kd_weight",
        weights=(0.9, 2.7, 8.1, 0.3),  # upwards first: part of what newer methods gain is a larger weight
        knob="temperature",
        knobs=_temperatures(4.0),
        source="Hinton et al. 2015, arXiv 1503.02531; 0.1 CE + 0.9 KD and T = 4 as CIFAR-100 runners have them",
    ),
    "cist": Grid(
        weight="kd_weight",
        weights=_weights(8.0),
        knob="rho_entropy",
        knobs=ENTROPIES,
        source="arXiv 2605.20357; rho = 3 and weight 8, the best of the author's sensitivity grid",
    ),
    "entropy": Grid(
        weight="kd_weight",
        weights=_weights(8.0),
        knob="entropy",
        knobs=ENTROPIES,
        source="edgekd; as cist, which it makes exact",
    ),
    "dkd": Grid(
        weight="nckd_weight",
        weights=_weights(8.0),
        knob="temperature",
        knobs=_temperatures(4.0),
        source="Zhao et al., CVPR 2022, arXiv 2203.08679; alpha = 1, beta = 8, T = 4, without their 20-epoch warm-up",
    ),
    "dkd+cist": Grid(
        weight="kd_weight",
        weights=_weights(8.0),
        knob="rho_entropy",
        knobs=ENTROPIES,
        source="the CIST author's public research code; alpha = 1, beta = 2, rho = 3, weight 8",
    ),
    "lskd": Grid(
        weight="kd_weight",
        weights=_weights(9.0),
        knob="temperature",
        knobs=_temperatures(2.0),
        source="Sun et al., CVPR 2024, arXiv 2403.01427; 0.1 CE + 9 KD, base temperature 2",
    ),
    "normkd": Grid(
        weight="kd_weight",
        weights=_weights(0.9),
        knob="temperature",
        knobs=_temperatures(2.0),
        source="Chi et al. 2023, arXiv 2308.00520; 0.1 CE + 0.9 KD, twice the deviation of the logits",
    ),
    "dtkd": Grid(
        weight="kd_weight",
        weights=_weights(3.0),
        knob="temperature",
        knobs=_temperatures(4.0),
        source="Wei and Bai 2024, arXiv 2404.12711; 3 DTKD + 1 KD + 1 CE, T = 4",
    ),
    "ctkd": Grid(
        weight="kd_weight",
        weights=_weights(0.9),
        knob="ce_weight",
        knobs=LABELS,
        source="Li et al., AAAI 2023, arXiv 2211.16231; 0.1 CE + 0.9 KD, the temperature is learned",
    ),
    "ats": Grid(
        weight="kd_weight",
        weights=_weights(0.5),
        knob="temperature",
        knobs=_temperatures(4.0),
        source="Li et al., NeurIPS 2022, arXiv 2210.04427; 0.5 CE + 0.5 KD, true class 4, the others 2",
    ),
    "ttm": Grid(
        weight="kd_weight",
        weights=_weights(100.0),
        knob="temperature",
        knobs=_temperatures(10.0),
        source="Zheng and Yang, ICLR 2024, arXiv 2402.11148; weight 100, exponent 0.1",
    ),
    "wttm": Grid(
        weight="kd_weight",
        weights=_weights(3.0),
        knob="temperature",
        knobs=_temperatures(10.0),
        source="Zheng and Yang, ICLR 2024, arXiv 2402.11148; weight 3, exponent 0.1",
    ),
    "dist": Grid(
        weight="kd_weight",
        weights=_weights(2.0),
        knob="temperature",
        knobs=_temperatures(4.0),
        source="Huang et al., NeurIPS 2022, arXiv 2205.10536; CE + 2 (inter + intra), T = 4",
    ),
    "mse": Grid(
        weight="kd_weight",
        weights=_weights(1.0),
        knob="ce_weight",
        knobs=(0.0, 0.1, 1.0),
        source="Kim et al., IJCAI 2021, arXiv 2105.08919; no label term",
    ),
    "spherical": Grid(
        weight="kd_weight",
        weights=_weights(0.9),
        knob="temperature",
        knobs=_temperatures(4.0),
        source="Guo et al. 2020, arXiv 2010.07485; 0.1 CE + 0.9 KD, T = 4",
    ),
}
"""Method -> what it is tuned over; `ce`, the labels alone, has nothing to tune."""

METHODS = ("ce", *GRIDS)

MOST = min(len(grid.weights) * len(grid.knobs) for grid in GRIDS.values())
"""Candidates that every method has."""


def candidates(method: str, count: int) -> tuple[Knobs, ...]:
    """The first `count` of the method's grid, the published default first; one without a knob for `ce`.

    Each step of a value away from its default counts one; the fewest steps come first, a step of the weight before one
    of the knob. So 6 are: the default, three weights, three knobs, and a corner.

    Raises:
        BadInputError: unknown method, or count outside 1..MOST.
    """
    if method not in METHODS:
        hint = nearest(method, list(METHODS))
        raise BadInputError(f"unknown method '{method}'{hint}; known: {', '.join(METHODS)}")
    if not 1 <= count <= MOST:
        raise BadInputError(f"{count} candidates an arm; expected 1 (the published defaults) to {MOST}")
    if method == "ce":
        return ({},)
    grid = GRIDS[method]
    places = product(range(len(grid.weights)), range(len(grid.knobs)))
    nearest_first = sorted(places, key=lambda place: (sum(place), place[1]))
    return tuple({grid.weight: grid.weights[i], grid.knob: grid.knobs[j]} for i, j in nearest_first[:count])


def at_edge(chosen: Knobs, tried: tuple[Knobs, ...]) -> tuple[str, ...]:
    """In words, which of the chosen values are the smallest or largest that were tried: a wider grid may be better."""
    found = []
    for key, value in chosen.items():
        values = [other[key] for other in tried]
        if min(values) < max(values) and value in (min(values), max(values)):
            found.append(f"{key} {value:g} is the {'largest' if value == max(values) else 'smallest'}")
    return tuple(found)
