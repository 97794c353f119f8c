"""Instructions per inference, how sure the number is, and two of them compared."""

from dataclasses import dataclass

from edgekd.errors import BadInputError
from edgekd.instructions.tools import Method

FLOOR = 0.005
"""The least relative uncertainty. Repeats of one file differ by far less where benchmarks/instructions_repeat.py was
run; another build of the C library or another allocator may put the same work at other addresses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instructions:
    """Instructions of one inference, from runs of N and 2N inferences on one thread.

    counts: both totals of each repeat; callgrind's are the median block times the blocks, of which both runs have as
    many. runs: (N, 2N). isa: what the counted process saw, "avx2" under valgrind, which
    hides AVX-512. spread: largest less smallest repeat, over their mean; 0 of one. feeds: SHA-256 of the inputs that
    were used, of which there were feeds_used. threads is 1 whatever was asked for: waiting is not work.
    per_inference includes the call from Python: a network of one ReLU takes 22,000 in all (AVX2, ONNX Runtime 1.32).
    """

    per_inference: float
    counts: tuple[tuple[int, int], ...]
    runs: tuple[int, int]
    method: Method
    isa: str
    spread: float
    feeds: str
    feeds_used: int
    threads: int
    threads_requested: int
    tool: str
    onnxruntime: str

    @property
    def low(self) -> float:
        """The lower end of what a repeat would give."""
        return self.per_inference * (1 - interval(self))

    @property
    def high(self) -> float:
        """The upper end of what a repeat would give."""
        return self.per_inference * (1 + interval(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class CountRatio:
    """Instructions of the new file over those of the base: above 1 the new one does more. low, high: of a repeat."""

    value: float
    low: float
    high: float


def interval(counts: Instructions) -> float:
    """The relative uncertainty of a result, for a gate: the spread of its repeats, and no less than `FLOOR`."""
    return max(FLOOR, counts.spread)


def compare_counts(new: Instructions, base: Instructions) -> CountRatio:
    """The ratio of two results that were counted alike.

    The floor is by how much two repeats of one file may differ, so it is that of the ratio too, not of each half.

    Raises:
        BadInputError: another method, instruction set or other inputs, so that the counts differ for one and the same
            network.
    """
    for what, one, other in (
        ("method", new.method, base.method),
        ("instruction set", new.isa, base.isa),
        ("input", new.feeds[:12], base.feeds[:12]),
    ):
        if one != other:
            raise BadInputError(
                f"instruction counts of different {what}s cannot be compared: the new one has {one}, the base has "
                f"{other}; count both files alike, on one machine"
            )
    value, uncertain = new.per_inference / base.per_inference, max(interval(new), interval(base))
    return CountRatio(value=value, low=value * (1 - uncertain), high=value * (1 + uncertain))
