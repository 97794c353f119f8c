"""One fp32 file and its variants: measured alike, judged alike, and the one that ships. No torch, no recipe."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd import accuracy, fidelity, gate, kernels, latency
from edgekd.errors import BadInputError
from edgekd.progress import Listener, Progress, silent
from edgekd.quantize import Built, Candidate, choose
from edgekd.recorded import Recorded, record
from edgekd.rows import Inputs
from edgekd.runner import check_inputs, run_all
from edgekd.session import SessionOptions, facts, open_session

BASELINE = "fp32"
EVALUATION_BATCH = 64

SATURATING = ("int8-u8s8", "int8-s8s8")
"""Variants whose 16-bit sums can saturate on AVX2 where they are not made portable."""

BATCH_DEPENDENT = "int8-dynamic"
"""Takes its ranges from whatever shares the batch, so it is scored as a device runs it: one sample at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """What files are measured on. inputs: (n, ...) in the networks' layout; labels: (n,) or None; classes: names.

    multi_label: labels are (n, K) of 1, 0 and -1, unknown, and teacher_predictions (n, K) too, the sets it names.
    threshold: then an output above it says that the class holds; 0 of logits.
    """

    inputs: Inputs
    labels: npt.NDArray[Any] | None
    classes: tuple[str, ...]
    teacher_predictions: npt.NDArray[Any] | None = None
    multi_label: bool = False
    threshold: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long to time: rounds of fresh processes, seconds and samples a round, samples an inference."""

    rounds: int = 3
    seconds: float = 1.0
    min_samples: int = 350
    batch_size: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One file's fate: measurements and verdict as JSON-ready mappings, and the reason it ships or does not.

    description: how it was quantized. saturates: layers that can saturate on AVX2. pair_sums: as
    `edgekd.quantize.Built` has them. kernels: what ONNX Runtime ran.
    """

    name: str
    precision: str
    path: str | None
    size_bytes: int | None
    sha256: str | None
    description: str
    saturates: tuple[str, ...]
    pair_sums: tuple[tuple[str, int, int | None], ...]
    kernels: dict[str, Any] | None
    accuracy: dict[str, Any] | None
    latency: dict[str, Any] | None
    gate: dict[str, Any] | None
    selected: bool
    reason: str


def measure(
    built: Sequence[Built],
    samples: Samples,
    options: SessionOptions,
    *,
    folder: Path,
    timing: Timing,
    isa: str,
    listener: Listener = silent,
) -> dict[str, dict[str, Any]]:
    """What is measured of every file: name -> {"accuracy", "latency", "kernels", "error"}, JSON-ready.

    The first file is the baseline: its predictions are what the others are compared with, and it must run. Another one
    that does not load, or whose outputs are not finite, has only its "error". Latency comes before accuracy, which
    would leave the machine warm, or hot, for the first file timed.

    Raises:
        BadInputError: the samples do not fit the baseline, or it does not run on them.
    """
    paths = {b.name: folder / b.path for b in built if b.path is not None}
    baseline = next(iter(paths))
    with_input = facts(open_session(paths[baseline], options), paths[baseline])
    inputs = check_inputs(samples.inputs, with_input, paths[baseline])
    errors = {name: why for name, path in paths.items() if (why := why_not(path, inputs, options))}
    if baseline in errors:
        raise BadInputError(f"model {paths[baseline]}: {errors[baseline]}")
    sound = {name: path for name, path in paths.items() if name not in errors}
    timed = latency.measure(
        sound,
        inputs,
        options,
        batch_size=timing.batch_size,
        rounds=timing.rounds,
        seconds=timing.seconds,
        min_samples=timing.min_samples,
        isa=isa,
        listener=listener,
    )
    scored = score(sound, inputs, samples, options, isa=isa, listener=listener)
    results: dict[str, dict[str, Any]] = {name: {"error": why} for name, why in errors.items()}
    for name, found in scored.items():
        error = found if isinstance(found, str) else None
        accuracy_ = None if isinstance(found, str) else asdict(found)
        ran = _kernels(sound[name], inputs, options, batch=timing.batch_size)
        results[name] = {"accuracy": accuracy_, "latency": asdict(timed[name]), "kernels": ran, "error": error}
    return results


def _kernels(path: Path, inputs: Inputs, options: SessionOptions, *, batch: int) -> dict[str, Any]:
    """What ran, as facts and in a sentence; of the nodes, the slowest and the sums by op type alone."""
    ran = kernels.profile(path, inputs, options, batch=batch)
    facts_ = {key: value for key, value in asdict(replace(ran, nodes=())).items() if key != "nodes"}
    times = {"by_op_type": kernels.by_op_type(ran.nodes), "slowest": kernels.slowest(ran.nodes)}
    return facts_ | times | {"sentence": kernels.sentence(ran)}


def why_not(path: Path, inputs: Inputs, options: SessionOptions) -> str | None:
    """Why the file cannot compete: it does not load, or does not run on one sample. None where it can."""
    try:
        fidelity.compare_recorded(_recorded(path, inputs[:1], options), None)
    except BadInputError as err:
        return str(err)
    return None


def _recorded(path: Path, inputs: Inputs, options: SessionOptions, *, one_by_one: bool = False) -> Recorded:
    session = open_session(path, options)
    known = facts(session, path)
    return record(run_all(session, known), inputs, batch_size=1 if one_by_one else known.shape[0] or EVALUATION_BATCH)


def score(
    paths: Mapping[str, Path],
    inputs: Inputs,
    samples: Samples,
    options: SessionOptions,
    *,
    isa: str,
    listener: Listener = silent,
) -> dict[str, accuracy.Accuracy | str]:
    """Accuracy of every file, against the predictions of the first; a later one's faulty outputs give their message.

    Raises:
        BadInputError: the first file's outputs are faulty.
    """
    results: dict[str, accuracy.Accuracy | str] = {}
    reference: Recorded | None = None
    for index, (name, path) in enumerate(paths.items()):
        listener(Progress(stage="accuracy", done=index, total=len(paths), note=name))
        try:
            file = _recorded(path, inputs, options, one_by_one=name == BATCH_DEPENDENT)
            results[name] = accuracy.assess(
                file,
                reference=reference,
                labels=samples.labels,
                classes=samples.classes,
                teacher_predictions=samples.teacher_predictions,
                multi_label=samples.multi_label,
                threshold=samples.threshold,
                isa=isa,
            )
        except BadInputError as err:
            if reference is None:
                raise
            results[name] = str(err)
            continue
        reference = reference or file
    listener(Progress(stage="accuracy", done=len(paths), total=len(paths)))
    return results


def judge(
    built: Sequence[Built],
    measured: Mapping[str, Mapping[str, Any]],
    *,
    limits: Mapping[str, float],
    sources: Mapping[str, str],
    left_out: Mapping[str, str],
) -> tuple[tuple[Variant, ...], gate.Gate]:
    """Every variant with its verdict and reason, and the verdict of the one that ships.

    left_out: variants that were not built because the target does not run them, with the reason.
    """
    sound = {name: found for name, found in measured.items() if found["error"] is None}
    verdicts = {
        b.name: gate.judge(
            accuracy=sound[b.name]["accuracy"],
            latency=sound[b.name]["latency"],
            size_bytes=b.size_bytes,
            limits=limits,
            sources=sources,
        )
        for b in built
        if b.name in sound
    }
    choice = choose([_candidate(name, sound[name], verdict) for name, verdict in verdicts.items()])
    variants = [
        Variant(
            name=b.name,
            precision=b.name,
            path=b.path,
            size_bytes=b.size_bytes,
            sha256=b.sha256,
            description=b.description,
            saturates=b.saturates,
            pair_sums=b.pair_sums,
            kernels=measured.get(b.name, {}).get("kernels"),
            accuracy=measured.get(b.name, {}).get("accuracy"),
            latency=measured.get(b.name, {}).get("latency"),
            gate=asdict(verdicts[b.name]) if b.name in verdicts else None,
            selected=b.name == choice.selected,
            reason=choice.reasons.get(b.name) or measured.get(b.name, {}).get("error") or b.reason,
        )
        for b in built
    ]
    variants += [_absent(name, reason) for name, reason in left_out.items()]
    return tuple(variants), verdicts[choice.selected]


def _absent(name: str, reason: str) -> Variant:
    nothing = dict.fromkeys(("path", "size_bytes", "sha256", "kernels", "accuracy", "latency", "gate"))
    return Variant(
        name=name, precision=name, selected=False, reason=reason, description="", saturates=(), pair_sums=(), **nothing
    )


def _candidate(name: str, measured: Mapping[str, Any], verdict: gate.Gate) -> Candidate:
    timed, scored = measured["latency"], measured["accuracy"]
    failed = tuple(check.name for check in verdict.checks if check.verdict == verdict.verdict)
    rounds = tuple(float(np.median(samples)) / 1e6 for samples in timed["samples_ns"])
    return Candidate(
        name=name,
        verdict=verdict.verdict,
        p50_ms=timed["p50_ms"],
        round_p50_ms=rounds,
        quality=_quality(scored),
        failed_checks=() if verdict.verdict == "pass" else failed,
    )


def _quality(scored: Mapping[str, Any]) -> float:
    """What tells files of equal speed apart: top-1 or micro F1, else agreement with fp32, else closeness to it."""
    if scored.get("micro_f1") is not None:
        return float(scored["micro_f1"])
    if scored["labelled"] and scored["top1"] is not None:
        return float(scored["top1"])
    agreement = scored["agreement_fp32"]
    return float(agreement if agreement is not None else scored["sqnr_db"] or 0.0)


def allowed(
    wanted: Sequence[str], precisions: Sequence[str], target: str, *, isa: str | None = None, portable: bool = True
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The variants to build, and those left out because the target does not run them, with the reason.

    isa: the target's; portable: whether files are made so that they do not saturate there.
    """
    runs = [name for name in precisions if portable or isa != "avx2" or name not in SATURATING]
    build = tuple(name for name in wanted if name in runs)
    reason = f"not built: target {target} does not run it (it runs {', '.join(runs)})"
    return build, {name: reason for name in wanted if name not in runs}


def tolerable_drop(limits: Mapping[str, float]) -> float:
    """The accuracy that a variant may lose: what the gate's limits say, else the usual point."""
    allowed_drops = [limits[name] for name in ("max_top1_drop", "max_micro_f1_drop") if name in limits]
    allowed_drops += [1 - limits[name] for name in ("min_agreement",) if name in limits]
    return min(allowed_drops, default=0.01)


def with_session_key(options: SessionOptions, *, portable: bool, saturation: str) -> SessionOptions:
    """The options that a device needs for files which are portable by `session.x64quantprecision` alone."""
    if not portable or saturation != "session-key":
        return options
    return replace(options, session_config={**options.session_config, "session.x64quantprecision": "1"})
