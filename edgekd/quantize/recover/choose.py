"""The order of recovery: equalise, correct biases, then fp32 for the fewest layers; each kept only where it helps."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx

from edgekd.errors import BadInputError
from edgekd.progress import Listener, Progress, silent
from edgekd.quantize.recover.bias import correct_biases
from edgekd.quantize.recover.equalize import equalize
from edgekd.quantize.recover.fewest import affordable, by_error_for_cost, fewest
from edgekd.quantize.recover.sensitivity import sensitivity

Source = Path | onnx.ModelProto

NAMED = 3
"""So many layers that equalisation skipped are named in its step; `equalize` names all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A file's drop against fp32, lower is better, and the upper end of its interval."""

    value: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One attempt. before: score of the best file so far; after: of this one, None where it was not made."""

    name: str
    helped: bool
    before: Score
    after: Score | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """The best file, what it was made of and every attempt.

    source: the fp32 network it was quantized from, with the weights and biases that were kept. excluded: names of the
    nodes left in fp32. met: the gate is.
    """

    path: Path
    score: Score
    source: Source
    excluded: tuple[str, ...]
    equalised: bool
    corrected: bool
    steps: tuple[Step, ...]
    met: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tools:
    """What the caller of `recover` gives."""

    rebuild: Callable[[Source, frozenset[str]], Path]
    score: Callable[[Path], Score]
    within: Callable[[Score], bool]
    cost_ms: Callable[[str], float]
    deadline: Callable[[], float]


@dataclass(frozen=True, slots=True)
class _State:
    path: Path
    score: Score
    source: Source
    excluded: frozenset[str]


class _Search:
    """The best file so far and what was tried."""

    def __init__(self, start: _State, tools: _Tools, listener: Listener) -> None:
        self.best, self.tools, self.listener = start, tools, listener
        self.steps: list[Step] = []
        self._longest = 0.0

    @property
    def met(self) -> bool:
        return self.tools.within(self.best.score)

    def late(self) -> bool:
        """No time for an attempt as long as the longest."""
        return self.tools.deadline() <= self._longest

    def note(self, name: str, reason: str) -> None:
        """An attempt that was not made."""
        self.steps.append(Step(name=name, helped=False, before=self.best.score, after=None, reason=reason))

    def attempt(self, name: str, make: Callable[[], tuple[Source, frozenset[str], str]]) -> bool | None:
        """Make, quantize and score; True where it helped and was kept, None where there was no time.

        make: gives the fp32 network, the nodes left out and what was done to it.
        """
        start = self.tools.deadline()
        if self.late():
            self.note(name, f"no time: {start:.0f} s left, an attempt took up to {self._longest:.0f} s")
            return None
        self.listener(Progress(stage="recover", done=len(self.steps), total=len(self.steps) + 1, note=name))
        try:
            source, excluded, reason = make()
            path = self.tools.rebuild(source, excluded)
            score = self.tools.score(path)
        except BadInputError as err:
            self.note(name, str(err))
            return False
        finally:
            self._longest = max(self._longest, start - self.tools.deadline())
        made = _State(path, score, source, excluded)
        helped = self._rank(made) < self._rank(self.best)
        self.steps.append(Step(name=name, helped=helped, before=self.best.score, after=score, reason=reason))
        if helped:
            self.best = made
        return helped

    def _rank(self, state: _State) -> tuple[float, ...]:
        """Those within the gate first, by what their fp32 layers cost; the others by their drop."""
        if self.tools.within(state.score):
            return (0, self.cost(state.excluded), len(state.excluded))
        return (1, state.score.value, self.cost(state.excluded))

    def cost(self, nodes: frozenset[str]) -> float:
        return sum(max(0.0, self.tools.cost_ms(node)) for node in nodes)


def recover(
    fp32: Path,
    quantized: Path,
    inputs: npt.NDArray[Any],
    *,
    input_name: str,
    rebuild: Callable[[Source, frozenset[str]], Path],
    score: Callable[[Path], Score],
    within: Callable[[Score], bool],
    cost_ms: Callable[[str], float],
    deadline: Callable[[], float],
    excluded: frozenset[str] = frozenset(),
    budget_ms: float = math.inf,
    listener: Listener = silent,
) -> Recovered:
    """The best file found, at once the one given where it meets the gate.

    quantized: made of `fp32`, all but the nodes `excluded`. inputs: (n, ...) calibration samples. rebuild: quantizes
    an fp32 network, calibrated afresh, all but the nodes named, into a new file each call. score: on samples that a
    search may look at. within: whether a score meets the gate. cost_ms: a node's time in fp32 less in int8. deadline:
    seconds left; no attempt begins that has no time for as long as the longest one took. budget_ms: what the layers
    put back to fp32 may cost together; int8's whole gain at most, beyond which fp32 itself is faster.

    An attempt that fails for the network's sake (BadInputError) is a step with its reason, and the search goes on.
    """
    tools = _Tools(rebuild=rebuild, score=score, within=within, cost_ms=cost_ms, deadline=deadline)
    search = _Search(_State(quantized, score(quantized), fp32, excluded), tools, listener)
    equalised = not search.met and bool(search.attempt("cross-layer equalisation", lambda: _equalised(search.best)))
    plain = search.best
    corrected = not search.met and bool(
        search.attempt("bias correction", lambda: _corrected(search.best, inputs, input_name))
    )
    if not search.met:

        def without(nodes: frozenset[str]) -> Source:
            """Biases that were right for the layers in int8 are wrong once some are not: they are corrected anew."""
            if not corrected:
                return plain.source
            return correct_biases(plain.source, rebuild(plain.source, nodes), inputs, input_name=input_name)

        _fp32_layers(search, plain, without, inputs, input_name, budget_ms)
    return Recovered(
        path=search.best.path,
        score=search.best.score,
        source=search.best.source,
        excluded=tuple(sorted(search.best.excluded)),
        equalised=equalised,
        corrected=corrected,
        steps=tuple(search.steps),
        met=search.met,
    )


def _equalised(best: _State) -> tuple[Source, frozenset[str], str]:
    found = equalize(best.source)
    more = len(found.skipped) - NAMED
    why = "; ".join((*found.skipped[:NAMED], *([f"and {more} more"] if more > 0 else [])))
    if not found.pairs:
        raise BadInputError(f"no two layers whose channels could be matched: {why or 'there is at most one layer'}")
    reason = f"{len(found.pairs)} pair(s) of layers matched, channels by up to {found.max_change:.3g} times"
    return found.model, best.excluded, f"{reason}; {why}" if why else reason


def _corrected(best: _State, inputs: npt.NDArray[Any], input_name: str) -> tuple[Source, frozenset[str], str]:
    model = correct_biases(best.source, best.path, inputs, input_name=input_name)
    return model, best.excluded, "biases moved until each channel has fp32's mean"


def _fp32_layers(
    search: _Search,
    plain: _State,
    without: Callable[[frozenset[str]], Source],
    inputs: npt.NDArray[Any],
    input_name: str,
    budget_ms: float,
) -> None:
    """plain: before bias correction. without: the fp32 network to quantize when these nodes are left out."""
    name, cost = "fp32 layers", search.tools.cost_ms
    if search.late():
        return search.note(name, "no time for the pass that ranks the layers")
    try:
        errors = sensitivity(plain.source, plain.path, inputs, input_name=input_name)
    except BadInputError as err:
        return search.note(name, str(err))
    left = (error for error in errors if error.node not in plain.excluded and error.channel_sqnr_db < math.inf)
    noise = {error.node: 10 ** (-error.channel_sqnr_db / 10) for error in left}
    order = affordable(by_error_for_cost(noise, cost), cost, budget_ms - search.cost(plain.excluded))
    if not order:
        return search.note(name, f"no quantized layer has an error and costs under {budget_ms:.3g} ms in fp32")

    def works(nodes: Sequence[str]) -> bool | None:
        reason = f"{len(nodes)} of {len(noise)} layers, {sum(map(cost, nodes)):.3g} ms: {', '.join(nodes)}"
        excluded = plain.excluded | {*nodes}
        made = search.attempt(f"{name}: {len(nodes)}", lambda: (without(excluded), excluded, reason))
        after = search.steps[-1].after
        return None if made is None else after is not None and search.tools.within(after)

    fewest(order, works, cost)
    return None
