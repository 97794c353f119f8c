"""One fp32 file and its variants: measured alike, judged alike, and the one that ships. No torch, no recipe."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd import accuracy, gate, latency
from edgekd.errors import BadInputError
from edgekd.progress import Listener, Progress, silent
from edgekd.quantize import Built, Candidate, choose
from edgekd.session import SessionOptions, check_inputs, facts, open_session, runner

BASELINE = "fp32"
EVALUATION_BATCH = 64

BATCH_DEPENDENT = "int8-dynamic"
"""Takes its ranges from whatever shares the batch, so it is scored as a device runs it: one sample at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """What files are measured on. inputs: (n, ...) in the networks' layout; labels: (n,) or None; classes: names."""

    inputs: npt.NDArray[Any]
    labels: npt.NDArray[np.int64] | None
    classes: tuple[str, ...]
    teacher_predictions: npt.NDArray[np.int64] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long to time: rounds of fresh processes, seconds and samples a round, samples an inference."""

    rounds: int = 3
    seconds: float = 1.0
    min_samples: int = 350
    batch_size: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One file's fate: measurements and verdict as JSON-ready mappings, and the reason it ships or does not."""

    name: str
    precision: str
    path: str | None
    size_bytes: int | None
    sha256: str | None
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
    """Accuracy and latency of every file that was built: name -> {"accuracy", "latency", "error"}, JSON-ready.

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
        results[name] = {"accuracy": accuracy_, "latency": asdict(timed[name]), "error": error}
    return results


def why_not(path: Path, inputs: npt.NDArray[Any], options: SessionOptions) -> str | None:
    """Why the file cannot compete: it does not load, or does not run on one sample. None where it can."""
    try:
        session = open_session(path, options)
        accuracy.predictions(runner(session, facts(session, path))(inputs[:1]))
    except BadInputError as err:
        return str(err)
    return None


def score(
    paths: Mapping[str, Path],
    inputs: npt.NDArray[Any],
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
    reference: npt.NDArray[np.int64] | None = None
    for index, (name, path) in enumerate(paths.items()):
        listener(Progress(stage="accuracy", done=index, total=len(paths), note=name))
        session = open_session(path, options)
        batch_size = 1 if name == BATCH_DEPENDENT else EVALUATION_BATCH
        try:
            outputs = accuracy.evaluate(runner(session, facts(session, path)), inputs, batch_size=batch_size)
            predicted = accuracy.predictions(outputs)
        except BadInputError as err:
            if reference is None:
                raise
            results[name] = str(err)
            continue
        results[name] = accuracy.measure(
            outputs,
            labels=samples.labels,
            classes=samples.classes or tuple(str(k) for k in range(outputs.shape[-1])),
            teacher_predictions=samples.teacher_predictions,
            fp32_predictions=predicted if reference is None else reference,
            is_fp32=reference is None,
            isa=isa,
        )
        reference = predicted if reference is None else reference
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
    nothing = dict.fromkeys(("path", "size_bytes", "sha256", "accuracy", "latency", "gate"))
    return Variant(name=name, precision=name, selected=False, reason=reason, **nothing)


def _candidate(name: str, measured: Mapping[str, Any], verdict: gate.Gate) -> Candidate:
    timed, scored = measured["latency"], measured["accuracy"]
    failed = tuple(check.name for check in verdict.checks if check.verdict == verdict.verdict)
    rounds = tuple(float(np.median(samples)) / 1e6 for samples in timed["samples_ns"])
    return Candidate(
        name=name,
        verdict=verdict.verdict,
        p50_ms=timed["p50_ms"],
        round_p50_ms=rounds,
        quality=scored["top1"] if scored["labelled"] else scored["agreement_fp32"],
        failed_checks=() if verdict.verdict == "pass" else failed,
    )


def allowed(wanted: Sequence[str], precisions: Sequence[str], target: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """The variants to build, and those left out because the target does not run them, with the reason."""
    build = tuple(name for name in wanted if name in precisions)
    reason = f"not built: target {target} does not run it (it runs {', '.join(precisions)})"
    return build, {name: reason for name in wanted if name not in precisions}
