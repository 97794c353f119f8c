"""Brings a variant closer to fp32 on the same kernels, and, where that is not enough, leaves layers in fp32."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekd.errors import BadInputError
from edgekd.quantize.bench import Bench, Candidate
from edgekd.quantize.gains import gains_ms
from edgekd.quantize.recover import Score, correct_biases, equalize, recover
from edgekd.quantize.scheme import Scheme
from edgekd.quantize.wanted import Wanted

if TYPE_CHECKING:
    import onnx

SMALLEST_DROP = 1e-6
"""In place of none at all, to divide by."""

MARGIN = 0.8
"""Of what may be lost: the samples that judge are others than those that the search looks at."""

CLOSER_DB = 0.5
"""A file replaces another where its outputs are closer to fp32's by this much: less is noise of the samples."""


def repair(bench: Bench, variant: str, wanted: Wanted) -> None:
    """Equalised weights and corrected biases where they are closer to fp32; what it takes where too much is lost."""
    lost = bench.best[variant].probe
    far = wanted.smallest_sqnr_db is not None and lost.sqnr_db < wanted.smallest_sqnr_db + CLOSER_DB
    if far or lost.drop - lost.drop_noise > MARGIN * wanted.tolerable_drop:
        _recover(bench, variant, wanted)
    else:
        _closer(bench, variant, "cross-layer equalisation", _equalised)
    scheme = bench.best[variant].scheme
    if scheme is not None and not scheme.corrected:
        _closer(bench, variant, "bias correction", _corrected)


def closer(bench: Bench, stage: str, found: Candidate | str, current: Candidate, tried: str) -> None:
    """Keep `found` where its outputs are closer to fp32's than those of `current`, and note it."""
    if isinstance(found, str):
        bench.note(stage, current.variant, tried, kept=False, reason=found)
        return
    gain = found.probe.sqnr_db - current.probe.sqnr_db
    kept = gain >= CLOSER_DB
    reason = f"{gain:+.1f} dB on the {current.probe.sqnr_db:.1f} dB before"
    bench.note(stage, current.variant, tried, kept=kept, reason=reason, probe=found.probe)
    if kept:
        bench.keep(found)
    else:
        bench.drop(found)


Change = Callable[[Bench, Candidate], "tuple[onnx.ModelProto, Scheme]"]


def _closer(bench: Bench, variant: str, tried: str, change: Change) -> None:
    current = bench.best[variant]
    if not bench.left():
        return
    bench.say(f"{variant}: {tried}")
    try:
        model, scheme = change(bench, current)
    except BadInputError as err:
        bench.note("repair", variant, tried, kept=False, reason=str(err))
        return
    source = bench.save(model, f"{variant}-{len(bench.decisions)}-fp32")
    if scheme.corrected:
        bench.same_ranges(source, current.fp32)
    found = bench.build(variant, scheme, fp32=source, ratio=current.probe.ratio)
    closer(bench, "repair", found, current, tried)


def _equalised(bench: Bench, current: Candidate) -> "tuple[onnx.ModelProto, Scheme]":
    assert current.scheme is not None
    found = equalize(current.fp32)
    if not found.pairs:
        raise BadInputError(f"no two layers whose channels could be matched: {'; '.join(found.skipped) or 'one layer'}")
    return found.model, replace(current.scheme, equalised=True)


def _corrected(bench: Bench, current: Candidate) -> "tuple[onnx.ModelProto, Scheme]":
    assert current.scheme is not None
    samples = bench.probes.inputs
    model = correct_biases(current.fp32, current.path, samples, input_name=bench.input_name)
    return model, replace(current.scheme, corrected=True)


def _recover(bench: Bench, variant: str, wanted: Wanted) -> None:
    """The order of the whole repair; every attempt is noted. A score is a share of what may be lost: at most 1."""
    current = bench.best[variant]
    assert current.scheme is not None
    scheme = current.scheme
    cost = gains_ms(current.fp32, current.path, bench.probes.inputs, bench.options)
    gain = sum(cost.values())
    dear = max(cost.values(), default=0.0)  # what was not measured, because it was fused, comes last
    made: dict[Path, tuple[Path, frozenset[str]]] = {}

    def rebuild(source: "Path | onnx.ModelProto", exclude: frozenset[str]) -> Path:
        saved = source if isinstance(source, Path) else bench.save(source, f"{variant}-{len(made)}-fp32")
        path = bench.folder / f"{variant}-repair-{len(made)}.onnx"
        used = bench.write(saved, path, replace(scheme, exclude=tuple(sorted(exclude))))
        made[path] = (saved, frozenset(used.exclude))
        return path

    def score(path: Path) -> Score:
        sqnr_db, drop, _ = bench.probes.closeness(path)
        share = drop / max(MARGIN * wanted.tolerable_drop, SMALLEST_DROP)
        if wanted.smallest_sqnr_db is not None:
            share = max(share, 10 ** ((wanted.smallest_sqnr_db + CLOSER_DB - sqnr_db) / 20))
        return Score(value=share, high=share)

    bench.say(f"{variant}: {current.probe.drop:.1%} lost, {wanted.tolerable_drop:.1%} may be")
    found = recover(
        current.fp32,
        current.path,
        bench.probes.inputs,
        input_name=bench.input_name,
        rebuild=rebuild,
        score=score,
        within=lambda at: at.value <= 1,
        cost_ms=lambda node: cost.get(node, dear),
        deadline=bench.left,
        excluded=frozenset(scheme.exclude),
        budget_ms=gain,
        listener=bench.listener,
    )
    for step in found.steps:
        after = (
            ""
            if step.after is None
            else f"{step.after.value:.2f} of what may be lost, {step.before.value:.2f} before: "
        )
        bench.note("repair", variant, step.name, kept=step.helped, reason=after + step.reason)
    if found.path == current.path:
        return
    saved, exclude = made[found.path]
    names = tuple(sorted(exclude))
    changed = replace(scheme, exclude=names, equalised=found.equalised, corrected=found.corrected)
    probe = bench.probes.probe(found.path, seconds=bench.seconds_a_probe)
    candidate = Candidate(variant=variant, scheme=changed, fp32=saved, path=found.path, probe=probe)
    bench.keep(candidate)
    reason = "within what may be lost" if found.met else "closer, though more is lost than may be"
    bench.note("repair", variant, changed.sentence(), kept=True, reason=reason, probe=probe)
