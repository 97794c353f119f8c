"""What measured numbers show: intervals, ratios, verdicts of one look or of many, and how much more would decide.

`intervals` bounds proportions and quantiles, `paired` two files on the same samples, `ratio` how many times slower one
file is, `percentile` a budget; `sequential` says when to look while a measurement goes on, and what a look may err.
"""

from edgekd.statistics.calibration import calibration_error
from edgekd.statistics.intervals import (
    CONFIDENCE,
    NS_PER_MS,
    P99_MIN_SAMPLES,
    QUANTILES,
    Interval,
    latency_quantiles,
    quantile_interval,
    share_interval,
    summarise_quantile,
    wilson,
)
from edgekd.statistics.paired import mcnemar, newcombe_paired, samples_to_decide, samples_to_decide_proportion
from edgekd.statistics.percentile import (
    budget_verdict,
    effective_samples,
    fewest_samples,
    percentile_bounds,
    percentile_verdict,
)
from edgekd.statistics.ratio import FEWEST_CYCLES, Ratio, ratio_of_quantiles
from edgekd.statistics.sequential import DESIGNED_ERROR, FIRST_LOOK, Verdict, decide, error_at, look_after, next_look

__all__ = [
    "CONFIDENCE",
    "DESIGNED_ERROR",
    "FEWEST_CYCLES",
    "FIRST_LOOK",
    "NS_PER_MS",
    "P99_MIN_SAMPLES",
    "QUANTILES",
    "Interval",
    "Ratio",
    "Verdict",
    "budget_verdict",
    "calibration_error",
    "decide",
    "effective_samples",
    "error_at",
    "fewest_samples",
    "latency_quantiles",
    "look_after",
    "mcnemar",
    "newcombe_paired",
    "next_look",
    "percentile_bounds",
    "percentile_verdict",
    "quantile_interval",
    "ratio_of_quantiles",
    "samples_to_decide",
    "samples_to_decide_proportion",
    "share_interval",
    "summarise_quantile",
    "wilson",
]
