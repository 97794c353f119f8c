"""Ranges by a number worked by hand, by brute force over the samples themselves, and by ONNX Runtime's calibrators."""

import math
from itertools import pairwise, product

import numpy as np
import pytest

from edgekd.errors import BadInputError
from edgekd.quantize.calibrate.histogram import BINS, MIDDLE, Histogram, add, empty
from edgekd.quantize.calibrate.ranges import Method, ranges

METHODS: tuple[Method, ...] = ("minmax", "percentile", "entropy", "mse")


def of(values: np.ndarray) -> Histogram:
    single = values.astype(np.float32)
    return add(empty(), single, low=float(single.min()), high=float(single.max()))


def found(values: np.ndarray, method: Method, **options: float) -> tuple[float, float]:
    return ranges({"t": of(values)}, method, **options)["t"]  # type: ignore[arg-type]


def draws(kind: str, count: int = 60_000) -> np.ndarray:
    generator = np.random.default_rng(0)
    values = {"normal": generator.normal(0.3, 1, count), "laplace": generator.laplace(0, 1, count)}
    values["relu"] = np.maximum(values["laplace"], 0)
    return values[kind].astype(np.float32)


def squared_error(values: np.ndarray, low: float, high: float, levels: int) -> float:
    """Of quantizing the values themselves, zero being a level."""
    step = (high - low) / (levels - 1)
    zero = round(-low / step)
    levels_of = np.clip(np.round(values / step) + zero, 0, levels - 1)
    return float(np.mean((values - (levels_of - zero) * step) ** 2))


def divergence(counts: np.ndarray, start: int, end: int, levels: int) -> float:
    """Kullback-Leibler divergence of a quantized distribution from the clipped one, bin by bin as in S7310."""
    clipped = counts[start:end].astype(float)
    borders = [start + round((end - start) * i / levels) for i in range(levels + 1)]
    spread = np.zeros(end - start)
    for left, right in pairwise(borders):
        filled = [i for i in range(left, right) if counts[i]]
        for i in filled:
            spread[i - start] = counts[left:right].sum() / len(filled)
    clipped[0] += counts[:start].sum()
    clipped[-1] += counts[end:].sum()
    if not spread.sum() or any(clipped[spread == 0]):
        return math.inf
    p, q = clipped / clipped.sum(), spread / spread.sum()
    return float(sum(p[p > 0] * np.log(p[p > 0] / q[p > 0])))


def test_minmax_is_the_extremes_with_zero() -> None:
    assert found(np.array([1.5, 3.0]), "minmax") == (0.0, 3.0)
    assert found(np.array([-2.0, -1.0]), "minmax") == (-2.0, 0.0)
    assert found(np.array([-2.0, 3.0]), "minmax", symmetric=True) == (-3.0, 3.0)


def test_the_percentile_worked_by_hand() -> None:
    # 1,000 values 0.5, 1.5 ... and a limit of 1,024: bins are 1/4 wide. 93.75 % leaves 31.25 out at each end, so the
    # high end lies in the bin of the 32nd from above, [968.5, 968.75), a quarter below its top. The low one is above 0.
    assert found(np.arange(1000) + 0.5, "percentile", percentile=93.75) == (0.0, 968.6875)
    # 1,000 values from -999 to 999, 2 apart: the 32nd from either end start the bins at -937 and 937.
    assert found(np.arange(-999, 1000, 2), "percentile", percentile=93.75) == (-936.9375, 937.1875)
    assert found(np.arange(1000), "percentile", percentile=100) == (0.0, 999.0)


@pytest.mark.parametrize("kind", ["normal", "laplace", "relu"])
@pytest.mark.parametrize("share", [90.0, 99.9])
def test_the_percentile_lies_between_the_order_statistics_around_it(kind: str, share: float) -> None:
    values = np.sort(draws(kind))
    width = 2 * of(values).limit / BINS
    rank = round((100 - share) / 200 * len(values))
    low, high = found(values, "percentile", percentile=share)
    assert min(0, values[rank - 2] - width) <= low <= min(0, values[rank + 1] + width)
    assert values[-rank - 2] - width <= high <= values[-rank + 1] + width
    magnitudes = np.sort(np.abs(values))
    low, high = found(values, "percentile", percentile=share, symmetric=True)
    assert low == -high
    assert magnitudes[-2 * rank - 2] - width <= high <= magnitudes[-2 * rank + 1] + width


@pytest.mark.parametrize("kind", ["normal", "laplace", "relu"])
@pytest.mark.parametrize("levels", [16, 256])
def test_mse_is_as_good_as_the_best_of_a_brute_force(kind: str, levels: int) -> None:
    values = draws(kind)
    low, high = found(values, "mse", levels=levels)
    lows, highs = (np.linspace(0.05, 1, 20) * end for end in (values.min(), values.max()))
    best = min(squared_error(values, a, b, levels) for a, b in product(set(lows) if values.min() else {0.0}, highs))
    # The model of an error of step^2 / 12 leaves out that ends are moved to whole steps from zero.
    assert squared_error(values, low, high, levels) <= 1.05 * best
    assert squared_error(values, low, high, levels) < squared_error(values, values.min(), values.max(), levels)


def test_mse_of_a_laplace_distribution_is_the_published_threshold() -> None:
    # Banner et al., 2019, table of section 3: for 4 bits the best threshold is 5.03 times b, symmetric.
    low, high = found(draws("laplace", 400_000), "mse", levels=17, symmetric=True)
    assert low == -high
    assert high == pytest.approx(5.03, rel=0.03)


@pytest.mark.parametrize(("kind", "symmetric"), [("normal", False), ("laplace", True), ("relu", False)])
def test_entropy_takes_the_least_divergence_of_a_brute_force(kind: str, symmetric: bool) -> None:
    levels, values = 64, draws(kind)
    histogram = of(values)
    low, high = found(values, "entropy", levels=levels, symmetric=symmetric)
    counts = histogram.counts.copy()
    if symmetric:  # as one side of magnitudes, with half of the levels
        counts, levels, low = np.append(np.zeros(MIDDLE, int), counts[MIDDLE:] + counts[MIDDLE - 1 :: -1]), 32, 0.0
    counts[MIDDLE] = min(counts[MIDDLE], max(counts[MIDDLE - 1], counts[MIDDLE + 1]))
    used = np.flatnonzero(counts)
    tried = []
    for half in range(levels, MIDDLE, 64):
        inside = used[(used >= MIDDLE - half) & (used < MIDDLE + half)]
        start, end = min(inside[0], MIDDLE), inside[-1] + 1
        tried.append(divergence(counts, start, end, levels) if end - start >= levels else math.inf)
    start, end = (
        MIDDLE + math.floor(low * MIDDLE / histogram.limit),
        MIDDLE + math.ceil(high * MIDDLE / histogram.limit),
    )
    assert np.isfinite(tried[-1])
    assert divergence(counts, start, end, levels) <= min(tried) * 1.001  # 256 thresholds against others of 64
    assert max(-low, high) < np.abs(values).max()


def test_entropy_of_a_uniform_distribution_clips_nothing() -> None:
    values = np.linspace(-1, 1, 100_000)
    assert found(values, "entropy") == (-1.0, 1.0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_a_range_scales_with_its_tensor_and_holds_zero(method: Method, symmetric: bool, scale: float) -> None:
    unit = 2.0 ** round(math.log2(scale))
    for values in (draws("normal"), draws("relu"), -draws("relu"), draws("relu") + 5):
        low, high = found(values, method, symmetric=symmetric)
        assert low <= 0 <= high and low < high
        assert not symmetric or low == -high
        expected = pytest.approx((low * unit, high * unit), rel=1e-6)
        assert found(values * np.float32(unit), method, symmetric=symmetric) == expected


@pytest.mark.parametrize("method", METHODS)
def test_special_tensors_have_a_range(method: Method) -> None:
    assert found(np.zeros(10), method) == (0.0, 0.0)
    assert found(np.full(10, 5.0), method) == pytest.approx((0.0, 5.0), rel=1e-3)
    assert found(np.full(10, -5.0), method) == pytest.approx((-5.0, 0.0), rel=1e-3)
    rare = add(empty(), np.zeros(10, dtype=np.float32), low=0.0, high=7.0)  # what is not zero was not sampled
    assert ranges({"t": rare}, method)["t"] == (0.0, 7.0)


def test_what_cannot_be_answered_is_refused() -> None:
    with pytest.raises(BadInputError, match="unknown calibration method 'minmix'; did you mean 'minmax'"):
        ranges({}, "minmix")  # type: ignore[arg-type]
    with pytest.raises(BadInputError, match=r"percentile 0\.999; expected more than 50"):
        ranges({}, "percentile", percentile=0.999)
    with pytest.raises(BadInputError, match="tensor 't' has no elements"):
        ranges({"t": empty()}, "minmax")
