"""Instructions per inference: a number that a busy machine does not change. No torch here.

`count` runs a file in processes of their own, under valgrind's callgrind or `perf stat`, with N and with 2N inferences;
`tools` is what counts, `child` what runs in each process, `result` what comes out and how two results compare.
"""

from edgekd.instructions.count import MIN_RUNS, TIMEOUT_SECONDS, count
from edgekd.instructions.result import CountRatio, Instructions, compare_counts, interval
from edgekd.instructions.tools import Method

__all__ = [
    "MIN_RUNS",
    "TIMEOUT_SECONDS",
    "CountRatio",
    "Instructions",
    "Method",
    "compare_counts",
    "count",
    "interval",
]
