"""Exact-entropy temperatures on a GPU: the whole solve of a sample in one Triton program, all samples in one launch.

The method is `exact_entropy.solve` line for line, and the names are its names: read that first. What changes is where
the time goes. As torch operators an evaluation of the entropy is seven passes over the logits in GPU memory and some
thirty launches; here it is one pass over a row that stays in the cache, and no launch, and no row waits for another.

Import this file only where Triton is installed; `entropy_temperature` does, for logits on a GPU. Triton reads a
kernel's names from its module, so the import cannot be inside a function. With TRITON_INTERPRET=1 it runs on a CPU.
"""

import math

import torch
import triton  # type: ignore[import-not-found, import-untyped, unused-ignore]  # an optional dependency, on GPUs
import triton.language as tl  # type: ignore[import-not-found, import-untyped, unused-ignore]
from torch import Tensor

from edgekd.core import exact_entropy

MAX_BLOCK = 4096
"""Classes held in registers at a time; longer rows are read in a loop."""


def solve(rows: Tensor, target: float, *, max_evaluations: int) -> tuple[Tensor, Tensor, Tensor]:
    """temperature float32, status int8, evaluations int32, each (n,), of logits (n, K) of any float dtype."""
    rows = rows.contiguous()
    count, classes = rows.shape
    temperature = torch.empty(count, dtype=torch.float32, device=rows.device)
    status = torch.empty(count, dtype=torch.int8, device=rows.device)
    evaluations = torch.empty(count, dtype=torch.int32, device=rows.device)
    if count == 0:
        return temperature, status, evaluations
    log_k, b = math.log(classes), math.log(classes - 1)
    block = min(MAX_BLOCK, triton.next_power_of_2(classes))
    with torch.cuda.device_of(rows):  # type: ignore[no-untyped-call]
        solve_row[(count,)](
            rows,
            temperature,
            status,
            evaluations,
            classes,
            target,
            log_k,
            math.log((log_k - target) / target),
            math.sqrt(2 * (log_k - target)),
            min(exact_entropy.favourite_rho(classes, target), exact_entropy.SMALLEST_GAP**-1),
            0.5 * math.log(8 * (log_k - target)),
            b + 2 * math.log(2 * (1 + b)),
            exact_entropy.TOLERANCE_NATS,
            exact_entropy.SMALLEST_GAP,
            max_evaluations,
            BLOCK=block,
            num_warps=max(1, min(8, block // 256)),
        )
    return temperature, status, evaluations


# The kernels have no annotations: Triton would take them for values.


def _extremes(row, classes, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """The largest logit, the range, and whether both are finite numbers."""
    columns = tl.arange(0, BLOCK)
    top = tl.full((), float("-inf"), tl.float32)
    bottom = tl.full((), float("inf"), tl.float32)
    broken = tl.full((), 0, tl.int32)  # counted, because a maximum over NaN need not be NaN on a GPU
    for offset in range(0, classes, BLOCK):
        held = offset + columns < classes
        z = tl.load(row + offset + columns, mask=held, other=0.0).to(tl.float32)
        top = tl.maximum(top, tl.max(tl.where(held, z, float("-inf")), axis=0))
        bottom = tl.minimum(bottom, tl.min(tl.where(held, z, float("inf")), axis=0))
        broken += tl.sum(tl.where(tl.abs(z) < float("inf"), 0, 1), axis=0)
    width = top - bottom
    return top, width, (broken == 0) & (width < float("inf"))


def _shape(row, top, scale, classes, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Of d = (z - top) / scale: its sum, its sum of squares, how many are 0, and the largest of the others."""
    columns = tl.arange(0, BLOCK)
    total = tl.full((), 0.0, tl.float32)
    squares = tl.full((), 0.0, tl.float32)
    maxima = tl.full((), 0, tl.int32)
    nearest = tl.full((), -1.0, tl.float32)
    for offset in range(0, classes, BLOCK):
        held = offset + columns < classes
        z = tl.load(row + offset + columns, mask=held, other=0.0).to(tl.float32)
        d = tl.where(held, (z - top) / scale, 0.0)
        total += tl.sum(d, axis=0)
        squares += tl.sum(d * d, axis=0)
        maxima += tl.sum(tl.where(held & (d == 0), 1, 0), axis=0)
        nearest = tl.maximum(nearest, tl.max(tl.where(held & (d < 0), d, -1.0), axis=0))
    return total, squares, maxima, nearest


def _moments(row, top, scale, beta, classes, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """The sums over the classes of exp(a), a exp(a) and a^2 exp(a), a = beta (z - top) / scale."""
    columns = tl.arange(0, BLOCK)
    zeroth = tl.full((), 0.0, tl.float32)
    first = tl.full((), 0.0, tl.float32)
    second = tl.full((), 0.0, tl.float32)
    for offset in range(0, classes, BLOCK):
        held = offset + columns < classes
        z = tl.load(row + offset + columns, mask=held, other=0.0).to(tl.float32)
        a = tl.where(held, (z - top) / scale * beta, 0.0)
        weight = tl.where(held, tl.exp(a), 0.0)
        zeroth += tl.sum(weight, axis=0)
        first += tl.sum(weight * a, axis=0)
        second += tl.sum(weight * a * a, axis=0)
    return zeroth.to(tl.float64), first.to(tl.float64), second.to(tl.float64)


extremes, shape, moments = triton.jit(_extremes), triton.jit(_shape), triton.jit(_moments)


def _solve_row(  # type: ignore[no-untyped-def]
    logits,
    temperature,
    status,
    evaluations,
    classes,
    target,
    log_k,
    log_odds,
    bell,
    rho,
    lowest,
    coldest_base,
    tolerance,
    smallest_gap,
    max_evaluations,
    BLOCK: tl.constexpr,
):
    """One row: bracket, first guess, safeguarded Newton steps in x = ln beta (float64), status."""
    index = tl.program_id(0).to(tl.int64)
    row = logits + index * classes
    top, width, finite = extremes(row, classes, BLOCK)
    scale = tl.where(finite & (width > 0), width, 1.0)  # so that a row without a solution divides by 1
    total, squares, maxima, nearest = shape(row, top, scale, classes, BLOCK)

    excess = target - tl.log(maxima.to(tl.float64))
    solvable = finite & (width > 0) & (excess > 0)
    coldest = coldest_base - 2 * tl.log(tl.where(solvable, excess, 1.0))
    low = tl.full((), 0.0, tl.float64) + lowest
    high = tl.log(coldest / tl.maximum(-nearest, smallest_gap))
    mean = tl.where(solvable, total.to(tl.float64) / classes, -1.0)
    sigma = tl.sqrt(tl.maximum(squares.to(tl.float64) / classes - mean * mean, 1e-300))
    x = tl.log(tl.minimum(bell / sigma, rho / -mean))
    x = tl.minimum(tl.maximum(x, low), high)

    pending = solvable & (low < high)
    solved = pending & (low > high)  # False, as a tensor
    count = tl.full((), 0, tl.int32)
    while pending:
        z, first, second = moments(row, top, scale, tl.exp(x).to(tl.float32), classes, BLOCK)
        h = tl.log(z) - first / z
        variance = second / z - (first / z) * (first / z)
        below = log_k - h
        proposal = x + (log_odds - tl.log(below / h)) * h * below / (variance * log_k)
        count += 1
        solved = tl.abs(h - target) <= tolerance
        pending = (solved == 0) & (count < max_evaluations)
        low = tl.where(h > target, x, low)
        high = tl.where(h > target, high, x)
        proposal = tl.where((proposal > low) & (proposal < high), proposal, (low + high) / 2)
        x = tl.where(pending, proposal, x)

    tau = (scale / tl.exp(x)).to(tl.float32)
    solved = solved & (tau > 0) & (tau < float("inf"))
    outcome = tl.where(solved, 0, tl.where(excess > 0, 4, 1))
    outcome = tl.where(finite, tl.where(width > 0, outcome, 2), 3)
    tl.store(temperature + index, tl.where(outcome == 0, tau, 1.0))
    tl.store(status + index, outcome.to(tl.int8))  # the numbers of `exact_entropy.Status`
    tl.store(evaluations + index, count)


solve_row = triton.jit(_solve_row)
