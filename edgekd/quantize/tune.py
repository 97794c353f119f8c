"""What makes a variant faster, other nodes and granularity, and closer to fp32, other ranges: one change at a time."""

from dataclasses import replace
from pathlib import Path

from edgekd.quantize.bench import Bench, Candidate
from edgekd.quantize.gains import gains_ms
from edgekd.quantize.raw_pixels import fold_preprocessing
from edgekd.quantize.repair import closer
from edgekd.quantize.scheme import METHODS, Scheme
from edgekd.quantize.wanted import Wanted
from edgekd.quantize.write import has_other_nodes, is_quantized, quantizable

FASTER = 0.97
"""A scheme replaces another where it is faster by 3 %: two probes of one file differ by about half of that."""

AS_CLOSE_DB = 1.0
"""A faster scheme whose outputs are about as close to fp32's loses no accuracy that the one before had."""

MUCH_FASTER = 0.9
"""From here on a scheme may be less close to fp32, if it loses no more accuracy than is allowed."""

SLOWER_MS = 0.002
"""What a node must lose to be worth a try: the profile's clock counts whole microseconds."""


def speed_up(bench: Bench, variant: str, wanted: Wanted) -> None:
    """Keep what makes the variant faster, as long as there is time."""
    _raw_pixels(bench, variant, wanted)
    _nodes(bench, variant)
    _slow_nodes(bench, variant)
    _granularity(bench, variant, wanted)


def best_ranges(bench: Bench, variant: str, wanted: Wanted) -> None:
    """Keep the activation ranges whose outputs are closest to fp32's: the kernels are the same, so nothing is timed."""
    for method in METHODS if wanted.method is None else ():
        current = bench.best[variant]
        if current.scheme is not None and method != "minmax" and bench.left():
            _closer(bench, "ranges", current, replace(current.scheme, method=method))


def _raw_pixels(bench: Bench, variant: str, wanted: Wanted) -> None:
    """The first layer reads the pixels themselves, where the network begins with their scaling."""
    import onnx

    current = bench.best[variant]
    folded = fold_preprocessing(onnx.load(str(current.fp32))) if bench.left() else None
    if folded is not None and current.scheme is not None:
        source = bench.save(folded, f"{variant}-pixels-fp32")
        _faster(bench, "preprocessing", current, replace(current.scheme, raw_pixels=True), wanted, fp32=source)


def _granularity(bench: Bench, variant: str, wanted: Wanted) -> None:
    """One scale a tensor: some kernels are faster, and some devices take nothing else."""
    current = bench.best[variant]
    if wanted.per_channel is None and current.scheme is not None and bench.left():
        _faster(bench, "granularity", current, replace(current.scheme, per_channel=False), wanted)


def _nodes(bench: Bench, variant: str) -> None:
    """Only the matrix products: an int8 sigmoid or addition can cost more than it saves."""
    current = bench.best[variant]
    if current.scheme is not None and bench.left() and has_other_nodes(current.fp32):
        _faster(bench, "nodes", current, replace(current.scheme, nodes="matrix"))


def _slow_nodes(bench: Bench, variant: str) -> None:
    """Nodes that int8 makes slower stay in fp32, where that pays for the conversions around them.

    Again as long as it helps: a node that lost its int8 neighbours may be slower than in fp32 too.
    """
    while bench.left():
        current = bench.best[variant]
        if current.scheme is None:
            return
        gains = gains_ms(current.fp32, current.path, bench.probes.inputs, bench.options)
        able = quantizable(current.fp32) - {*current.scheme.exclude}
        slower = {name for name, gain in gains.items() if name in able and gain <= -SLOWER_MS}
        if not slower:
            return
        exclude = tuple(sorted(slower | {*current.scheme.exclude}))
        _faster(bench, "nodes", current, replace(current.scheme, exclude=exclude))
        if bench.best[variant] is current:
            return


def _closer(bench: Bench, stage: str, current: Candidate, scheme: Scheme) -> None:
    bench.say(f"{current.variant}: {scheme.method}")
    found = bench.build(current.variant, scheme, fp32=current.fp32, ratio=current.probe.ratio)
    closer(bench, stage, found, current, scheme.sentence())


def _faster(
    bench: Bench,
    stage: str,
    current: Candidate,
    scheme: Scheme,
    wanted: Wanted | None = None,
    *,
    fp32: Path | None = None,
) -> None:
    """wanted: None where the accuracy cannot suffer."""
    bench.say(f"{current.variant}: {stage}")
    found = bench.build(current.variant, scheme, fp32=fp32 or current.fp32)
    if isinstance(found, str):
        bench.note(stage, current.variant, scheme.sentence(), kept=False, reason=found)
        return
    if not is_quantized(found.path):  # a float file by an int8 name would pass for what it is not
        bench.note(stage, current.variant, scheme.sentence(), kept=False, reason="nothing would be left in int8")
        bench.drop(found)
        return
    relative = found.probe.ratio / current.probe.ratio
    as_close = found.probe.sqnr_db >= current.probe.sqnr_db - AS_CLOSE_DB  # the drop is of a few hundred samples
    allowed = wanted is None or as_close or (relative <= MUCH_FASTER and found.probe.drop <= wanted.tolerable_drop)
    kept = relative <= FASTER and allowed
    lost = current.probe.sqnr_db - found.probe.sqnr_db
    reason = f"{relative:.2f} times the latency before" + ("" if allowed else f", for {lost:.1f} dB")
    bench.note(stage, current.variant, scheme.sentence(), kept=kept, reason=reason, probe=found.probe)
    bench.keep(found) if kept else bench.drop(found)
