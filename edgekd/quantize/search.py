"""The best file of each variant, found by measuring: ranges, granularity, nodes and repairs under a time budget."""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.errors import Interrupted
from edgekd.files import write_atomic
from edgekd.progress import Listener, Progress, silent
from edgekd.quantize.bench import Bench, Candidate, Decision, finite_and_different
from edgekd.quantize.built import Built, describe_file, lost
from edgekd.quantize.portable import layers, observed, saturating
from edgekd.quantize.prepare import prepare
from edgekd.quantize.probe import Probes
from edgekd.quantize.repair import CLOSER_DB, repair
from edgekd.quantize.scheme import STATIC, Scheme, base
from edgekd.quantize.tune import best_ranges, speed_up
from edgekd.quantize.wanted import Wanted
from edgekd.session import SessionOptions

NEAR = 1.10
"""Variants within 10 % of the fastest are tuned; the others are measured as they are."""

HOPELESS = 2.0
"""From here on no choice of nodes makes a variant faster than fp32; at 1.5 it did."""

PROBES = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """built: every wanted variant, its best file in the folder. complete: False where the time ran out.

    notes: what was done to the network before, one sentence each.
    """

    built: tuple[Built, ...]
    decisions: tuple[Decision, ...]
    notes: tuple[str, ...]
    seconds: float
    complete: bool


def search(
    model: Path,
    calibration: npt.NDArray[Any],
    options: SessionOptions,
    *,
    wanted: Wanted,
    folder: Path,
    labels: npt.NDArray[Any] | None = None,
    multi_label: bool = False,
    threshold: float = 0.0,
    listener: Listener = silent,
) -> Searched:
    """Build the wanted variants of `model` into `folder`, each the best that was found within the time.

    calibration: (n, ...) real samples in the network's own layout and type; labels: (n,) theirs, or None;
    of a multi-label task (n, K) of 1, 0 and -1, unknown. threshold: then an output above it says that the class holds.

    Raises:
        BadInputError: the network cannot be quantized at all, or the data is constant or not finite.
        Interrupted: by Ctrl-C; names the best file so far, which is kept.
    """
    finite_and_different(calibration)
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(".building-*"):  # of a process that was killed
        shutil.rmtree(leftover)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".building-") as scratch:
        prepared = prepare(model, Path(scratch))
        picked = np.linspace(0, len(calibration) - 1, min(PROBES, len(calibration)), dtype=np.int64)
        bench = Bench(
            prepared.path,
            calibration,
            Probes(
                model,
                calibration[picked],
                options,
                labels=None if labels is None else labels[picked],
                multi_label=multi_label,
                threshold=threshold,
            ),
            options,
            input_name=prepared.input_name,
            metadata=_metadata(model),
            folder=Path(scratch),
            fix_saturation=wanted.portable and wanted.saturation not in ("session-key", "refuse"),
            refuse_saturation=wanted.portable and wanted.saturation == "refuse",
            budget_seconds=wanted.budget_seconds,
            max_memory_bytes=wanted.max_memory_bytes,
            listener=listener,
        )
        try:
            _run(bench, wanted)
        except KeyboardInterrupt as err:
            built = _place(bench, wanted, folder)
            raise Interrupted(_best_so_far(bench, built, folder, wanted.tolerable_drop)) from err
        listener(Progress(stage="quantize", done=wanted.budget_seconds, total=wanted.budget_seconds))
        return Searched(
            built=_place(bench, wanted, folder),
            decisions=tuple(bench.decisions),
            notes=prepared.notes,
            seconds=bench.clock() - bench.started,
            complete=not bench.out_of_time,
        )


def _run(bench: Bench, wanted: Wanted) -> None:
    """Every variant once, then what makes the fastest of them closer to fp32, or faster."""
    for variant in wanted.variants:
        _start(bench, variant, wanted)
    for candidate in _leaders(bench):
        speed_up(bench, candidate.variant, wanted)
        if bench.best[candidate.variant].probe.ratio < 1:
            best_ranges(bench, candidate.variant, wanted)
            repair(bench, candidate.variant, wanted)


def _start(bench: Bench, variant: str, wanted: Wanted) -> None:
    """The first file of a variant."""
    if bench.best and not bench.left():
        bench.lost[variant] = "not built: the time was up"
        return
    bench.say(variant)
    found = bench.build(variant, _first_scheme(variant, wanted))
    if isinstance(found, str):
        bench.lost[variant] = found
        bench.note("variants", variant, "build", kept=False, reason=found)
        return
    bench.keep(found)
    bench.note("variants", variant, found.sentence(), kept=True, reason="its first file", probe=found.probe)


def _first_scheme(variant: str, wanted: Wanted) -> Scheme | None:
    if variant not in STATIC:
        return None
    scheme = base(variant, portable=wanted.portable, saturation=wanted.saturation)
    return replace(scheme, method=wanted.method or "minmax", per_channel=wanted.per_channel is not False)


def _leaders(bench: Bench) -> list[Candidate]:
    """Static variants worth the time: about as fast as the fastest, one for each pair of types."""
    static = sorted((c for c in bench.best.values() if c.scheme), key=lambda c: c.probe.ratio)
    near = [c for c in static if c.probe.ratio <= min(HOPELESS, NEAR * static[0].probe.ratio)]
    chosen: dict[str, Candidate] = {}
    for candidate in (c for c in bench.best.values() if c in near):
        assert candidate.scheme is not None
        rival = chosen.get(candidate.scheme.pair)
        if rival is None or candidate.probe.sqnr_db > rival.probe.sqnr_db + CLOSER_DB:
            chosen[candidate.scheme.pair] = candidate
    for candidate in static:
        if candidate not in chosen.values():
            reason = (
                f"not tuned: {candidate.probe.ratio:.2f} times fp32's latency, the fastest {static[0].probe.ratio:.2f}"
            )
            if candidate in near and candidate.scheme is not None:
                reason = f"not tuned: {chosen[candidate.scheme.pair].variant} runs the same kernels, as close to fp32"
            bench.note("variants", candidate.variant, "tune", kept=False, reason=reason, probe=candidate.probe)
    return list(chosen.values())


def _place(bench: Bench, wanted: Wanted, folder: Path) -> tuple[Built, ...]:
    """The best file of each variant, put in place."""
    built = []
    for variant in wanted.variants:
        candidate = bench.best.get(variant)
        if candidate is None:
            built.append(lost(variant, bench.lost.get(variant, "not built: the search was stopped before")))
            continue
        final = folder / f"{variant}.onnx"
        write_atomic(final, candidate.path.read_bytes())
        heavy = saturating(final)
        sums = observed(final, bench.probes.inputs, samples=8) if heavy else layers(final, pairing="kernel")
        pairs = tuple((layer.node, layer.worst_pair_sum, layer.observed_pair_sum) for layer in sums)
        words = candidate.sentence()
        built.append(describe_file(variant, final, description=words, saturates=heavy, pair_sums=pairs))
    return tuple(built)


def _best_so_far(bench: Bench, built: tuple[Built, ...], folder: Path, tolerable: float) -> str:
    names = {one.name for one in built if one.path is not None}
    there = [candidate for candidate in bench.best.values() if candidate.variant in names]
    if not there:
        return "interrupted before the first variant was built; fp32 is what there is"
    best = min(there, key=lambda c: (c.probe.drop > tolerable, c.probe.ratio))
    worth = best.probe.ratio < 1 and best.probe.drop <= tolerable
    return (
        f"interrupted; the best so far is {'' if worth else 'fp32, then '}{folder / best.variant}.onnx "
        f"({best.sentence()}): {best.probe.ratio:.2f} times fp32's latency, not validated"
    )


def _metadata(model: Path) -> Mapping[str, str]:
    import onnx

    return {entry.key: entry.value for entry in onnx.load(str(model), load_external_data=False).metadata_props}
