"""On-device preparation of an ONNX file that is already there: quantize, validate, no recipe, no torch."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from edgekd import assemble, compete, environment, gate, report, session, targets
from edgekd.data.for_model import ModelSamples, samples_for_model
from edgekd.errors import BadInputError, ExitCode
from edgekd.files import write_atomic
from edgekd.progress import Listener, silent
from edgekd.quantize import build_variants
from edgekd.quantize.build import describe_file
from edgekd.recipe import ALL_PRECISIONS
from edgekd.session import Facts, SessionOptions
from edgekd.store import locked


def quantize_file(
    model: Path,
    *,
    source: Path,
    target: str,
    folder: Path,
    limits: dict[str, float],
    calibration_samples: int = 500,
    timing: compete.Timing | None = None,
    listener: Listener = silent,
) -> tuple[dict[str, Any], ExitCode]:
    """The best variant of `model` for the target, with its report and bundle in `folder`; answers (report, exit code).

    source: an .npz with `x` in the network's own layout and optional `y`, or a folder of images. One part of it
    calibrates, the other is evaluated; they share no sample. limits: beside `default_limits`, which they override.

    Raises:
        EdgekdError: bad model or data, outputs that are not finite, a missing provider.
    """
    report.check_packages()
    profile = targets.load(target)
    machine = environment.describe()
    options = session.options_for(profile, cores=machine.cores_granted)
    known = model_facts(model, options)
    found = load_samples(source, known)
    checked = replace(found, inputs=session.check_inputs(found.inputs, known, model))
    why = compete.why_not(model, checked.inputs, options)  # before it calibrates anything
    if why is not None:
        raise BadInputError(f"model {model}: {why}")
    calibration, held_out = checked.halves(calibration_samples=calibration_samples)
    names, left_out = compete.allowed(ALL_PRECISIONS, profile.precisions, profile.name)
    with locked(folder):
        write_atomic(folder / "fp32.onnx", _self_contained(model))
        built = [describe_file("fp32", folder / "fp32.onnx")]
        built += build_variants(
            model, calibration.inputs, names=names, folder=folder, input_name=known.input_name, listener=listener
        )
        samples = compete.Samples(inputs=held_out.inputs, labels=held_out.labels, classes=held_out.classes)
        measured = compete.measure(
            built,
            samples,
            options,
            folder=folder,
            timing=timing or compete.Timing(),
            isa=machine.isa,
            listener=listener,
        )
        merged, sources = gate.merge_limits(
            default_limits(labelled=held_out.labels is not None) | limits,
            profile.budgets.model_dump(exclude_none=True),
        )
        variants, verdict = compete.judge(built, measured, limits=merged, sources=sources, left_out=left_out)
        data = _data_facts(source, held_out, calibration=len(calibration.inputs))
        full = assemble.header(model.stem, machine=machine, target=profile, data=data)
        full |= assemble.judged([asdict(v) for v in variants], verdict)
        report.write(full, folder)
        assemble.write_bundle(full, folder, held_out.inputs, target=profile, options=options, isa=machine.isa)
    return full, gate.exit_code(verdict.verdict)


def validate_file(
    model: Path,
    *,
    source: Path,
    target: str,
    limits: dict[str, float],
    timing: compete.Timing | None = None,
    baseline: Path | None = None,
    listener: Listener = silent,
) -> tuple[dict[str, Any], ExitCode]:
    """Accuracy and latency of one ONNX file on all samples of `source`, judged against the target's budgets.

    baseline: an fp32 file to compare with, on the same samples. Answers (report, exit code); writes nothing.
    """
    profile = targets.load(target)
    machine = environment.describe()
    options = session.options_for(profile, cores=machine.cores_granted)
    known = model_facts(model, options)
    found = load_samples(source, known)
    paths = {"fp32": baseline, "model": model} if baseline else {"model": model}
    built = [describe_file(name, path) for name, path in paths.items()]
    samples = compete.Samples(inputs=found.inputs, labels=found.labels, classes=found.classes)
    absolute = [type(b)(**{**asdict(b), "path": str(paths[b.name].resolve())}) for b in built]
    measured = compete.measure(
        absolute,
        samples,
        options,
        folder=Path("/"),
        timing=timing or compete.Timing(),
        isa=machine.isa,
        listener=listener,
    )
    if measured["model"]["error"] is not None:
        raise BadInputError(f"model {model}: {measured['model']['error']}")
    results = {name: measured["model"][name] for name in ("accuracy", "latency")}
    if baseline is None:
        drop_self_comparison(results["accuracy"])
    merged, sources = gate.merge_limits(limits, profile.budgets.model_dump(exclude_none=True))
    verdict = gate.judge(
        **results,
        size_bytes=built[-1].size_bytes,
        limits=merged,
        sources=sources,
    )
    variant = asdict(built[-1]) | {"precision": "model", "selected": True, "reason": "the file that was named"}
    variants = [variant | results | {"path": str(model), "gate": asdict(verdict)}]
    if baseline is not None:
        beside = asdict(built[0]) | {"precision": "fp32", "selected": False, "reason": "what it is compared with"}
        beside |= {name: measured["fp32"][name] for name in ("accuracy", "latency")}
        variants.insert(0, beside | {"path": str(baseline), "gate": None})
    full = assemble.header(model.stem, machine=machine, target=profile, data=_data_facts(source, found))
    return full | assemble.judged(variants, verdict), gate.exit_code(verdict.verdict)


def model_facts(model: Path, options: SessionOptions) -> Facts:
    """What the file says of itself, from a session on the target's provider."""
    return session.facts(session.open_session(model, options), model)


def load_samples(source: Path, known: Facts) -> ModelSamples:
    """Samples for the network behind `known`."""
    classes = known.metadata.get("classes")
    return samples_for_model(
        source,
        shape=known.shape,
        dtype=known.dtype,
        classes=tuple(classes) if classes else None,
        layout=known.metadata.get("input_layout"),
    )


def default_limits(*, labelled: bool) -> dict[str, float]:
    """The usual point of accuracy; without labels, 3 % of classes that differ from fp32's."""
    return {"max_top1_drop": 0.01} if labelled else {"min_agreement": 0.97}


def drop_self_comparison(accuracy: dict[str, Any]) -> None:
    """A file measured alone was compared with itself; that says nothing, so it is not stated."""
    for name in accuracy:
        if name.startswith(("agreement_fp32", "top1_drop")):
            accuracy[name] = None


def _self_contained(model: Path) -> bytes:
    import onnx

    raw: bytes = onnx.load(str(model)).SerializeToString(deterministic=True)
    return raw


def _data_facts(source: Path, evaluated: ModelSamples, **others: int) -> dict[str, Any]:
    counts = others | {"test": len(evaluated.inputs)}
    return {"source": str(source), "classes": list(evaluated.classes), "counts": counts}
