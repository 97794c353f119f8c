"""Does a latency percentile keep to a budget? By the number of late inferences, as MLPerf's LoadGen stops early.

Nothing is assumed of how latencies are distributed. Source: MLPerf inference rules, appendix early stopping criterion,
https://github.com/mlcommons/inference_policies/blob/master/inference_rules.adoc; its computation:
https://github.com/mlcommons/inference/blob/master/loadgen/early_stopping.cc (odds of at most t late ones of h + t).
LoadGen judges a pass only and takes samples as independent; here both ways are judged, and dependence is counted off.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgekd.statistics.intervals import Interval, check_fraction
from edgekd.statistics.sequential import DESIGNED_ERROR, Verdict


def budget_verdict(
    blocks: Sequence[Sequence[float]] | Sequence[npt.NDArray[np.float64]], limit: float, q: float, *, error: float
) -> Verdict:
    """Whether at least q of all inferences keep to the limit, from raw samples. blocks, limit: in one unit.

    Late ones are counted at the limit. How far the samples of a block agree is estimated there and at the samples' own
    q-quantile, and the fewer effective samples count: at a limit that nothing exceeds, agreement cannot be seen.

    Raises:
        ValueError: no blocks, an empty block, or q or error out of range.
    """
    check_fraction("q", q)
    arrays = [np.asarray(samples, dtype=np.float64) for samples in blocks]
    if not arrays or not all(samples.size for samples in arrays):
        raise ValueError("no samples in a block; expected at least one in each")
    sizes = [samples.size for samples in arrays]
    own = float(np.quantile(np.concatenate(arrays), q))
    late, beyond = ([int((samples > at).sum()) for samples in arrays] for at in (limit, own))
    n = min(effective_samples(late, sizes, error=error), effective_samples(beyond, sizes, error=error))
    return percentile_verdict(sum(late) / sum(sizes) * n, n, q, error=error)


def percentile_verdict(late: float, n: float, q: float, *, error: float) -> Verdict:
    """Pass: with confidence 1 - error at most 1 - q of all inferences are late; fail: more are; else inconclusive.

    Args:
        late: inferences that took longer than the limit, of n; both may be effective numbers, so not whole.
        q: the percentile as a fraction, 0.9 for p90: this share must keep to the limit.
        error: of a pass and of a fail, each, one-sided.

    Raises:
        ValueError: late outside 0..n, n <= 0, or q or error out of range.
    """
    from scipy.special import betainc

    check_fraction("q", q)
    check_fraction("2 * error", 2 * error)
    if not 0 <= late <= n or n <= 0:
        raise ValueError(f"{late} late of {n}; expected 0 <= late <= n and n > 0")
    # P(X <= late) and P(X >= late) of X ~ Bin(n, 1 - q), which the incomplete beta function continues between integers
    so_few = 1.0 if late == n else float(betainc(n - late, late + 1, q))
    so_many = 1.0 if late == 0 else float(betainc(late, n - late + 1, 1 - q))
    if so_few <= error:
        return "pass"
    return "fail" if so_many <= error else "inconclusive"


def fewest_samples(q: float, *, error: float) -> int:
    """The independent samples from which a pass is possible at all, none of them late: the least n with q^n <= error.

    With error 0.025: 36 for p90, 368 for p99.
    """
    check_fraction("q", q)
    check_fraction("2 * error", 2 * error)
    return math.ceil(math.log(error) / math.log(q) - 1e-9)


def percentile_bounds(
    samples: Sequence[float] | npt.NDArray[np.float64], q: float, *, error: float, effective: float | None = None
) -> Interval:
    """Bounds of the true q-quantile by order statistics; an end that so few samples cannot bound is infinite.

    Args:
        samples: (n,), any unit, which is the bounds' unit.
        error: of each end, one-sided.
        effective: how many independent samples they are worth, n by default; see `effective_samples`.

    Raises:
        ValueError: no samples, effective outside (0, n], or q or error out of range.

    Source: David and Nagaraja 2003, Order Statistics, section 7.1; ranks of an effective number of samples, Korn and
    Graubard 1998.
    """
    from scipy.stats import binom

    check_fraction("q", q)
    check_fraction("2 * error", 2 * error)
    n = len(samples)
    effective = float(n) if effective is None else effective
    if not 0 < effective <= n:
        raise ValueError(f"{n} samples worth {effective}; expected at least one, worth more than 0 and at most n")
    ordered = np.sort(np.asarray(samples, dtype=np.float64))
    worth = math.floor(effective)
    if worth == 0:
        return Interval(low=-math.inf, high=math.inf)
    lower, upper = int(binom.ppf(error, worth, q)), int(binom.ppf(1 - error, worth, q)) + 1  # ranks, counted from 1
    return Interval(
        # Rank r of `worth` samples stands for the shares from (r - 1) / worth to r / worth: the outer one counts.
        low=float(ordered[(lower - 1) * n // worth]) if lower >= 1 else -math.inf,
        high=float(ordered[-(-upper * n // worth) - 1]) if upper <= worth else math.inf,
    )


def effective_samples(late: Sequence[int], sizes: Sequence[int], *, error: float = DESIGNED_ERROR) -> float:
    """How many independent samples blocks are worth whose samples are late together; above 0 and never above n.

    n over the design effect, the variance of the share of late ones between blocks over that of independent samples,
    but at least 1; less what the few blocks cost from which it is estimated: (normal quantile / t quantile)^2 of
    blocks - 1 degrees of freedom. One block is worth one sample. With none late, or all, there is no variance to
    estimate from, and only the blocks' number counts off.

    Args:
        late: item i: late ones of block i; sizes: item i: its samples.
        error: one-sided, of the bound that the result is for.

    Raises:
        ValueError: no blocks, not as many of one as of the other, an empty block, or late outside 0..size.

    Source: design effect, Kish 1965, Survey Sampling, section 8.2; counts divided by it, Rao and Scott 1992,
    Biometrics 48:577, https://doi.org/10.2307/2532311; degrees of freedom, Korn and Graubard 1998, Survey Methodology
    24:193.
    """
    from scipy.special import ndtri, stdtrit

    y, size = np.asarray(late, dtype=np.float64), np.asarray(sizes, dtype=np.float64)
    if y.size == 0 or y.shape != size.shape or (size < 1).any() or (y < 0).any() or (y > size).any():
        raise ValueError(
            f"late {list(late)} of {list(sizes)}; expected 0 <= late <= size and size >= 1, block by block"
        )
    check_fraction("2 * error", 2 * error)
    blocks, n = y.size, float(size.sum())
    if blocks == 1:
        return 1.0
    share = float(y.sum()) / n
    effect = 1.0
    if 0 < share < 1:
        between = blocks / (blocks - 1) * float(((y - share * size) ** 2).sum()) / n**2
        effect = max(1.0, between / (share * (1 - share) / n))
    few_blocks = float(ndtri(error) / stdtrit(blocks - 1, error)) ** 2
    return n / effect * few_blocks
