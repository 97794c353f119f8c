"""On-device preparation of an ONNX file that is already there: quantize, validate, no recipe, no torch."""

import datetime
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekd import __version__, bundle, compete, environment, gate, report, session, targets
from edgekd.data.for_model import ModelSamples, samples_for_model
from edgekd.errors import BadInputError, ExitCode
from edgekd.files import write_atomic
from edgekd.progress import Listener, silent
from edgekd.quantize import build_variants
from edgekd.quantize.build import describe_file
from edgekd.recipe import ALL_PRECISIONS
from edgekd.session import Facts, SessionOptions
from edgekd.store import locked
from edgekd.targets import Target


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
        EdgekdError: bad model or data, a missing provider.
    """
    profile = targets.load(target)
    machine = environment.describe()
    options = session.options_for(profile, cores=machine.cores_granted)
    known = model_facts(model, options)
    found = load_samples(source, known)
    checked = replace(found, inputs=session.check_inputs(found.inputs, known, model))
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
        code = gate.exit_code(verdict.verdict)
        full = _header(model, profile, machine) | {
            "data": _data_facts(source, calibration, held_out),
            "variants": [asdict(v) for v in variants],
            "gate": asdict(verdict) | {"variant": next(v.name for v in variants if v.selected), "exit_code": int(code)},
        }
        report.write(full, folder)
        _bundle(full, folder, held_out, options=options, profile=profile, isa=machine.isa)
    return full, code


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
    code = gate.exit_code(verdict.verdict)
    variant = asdict(built[-1]) | {"precision": "model", "selected": True, "reason": "the file that was named"}
    full = _header(model, profile, machine) | {
        "data": {"source": str(source), "classes": list(found.classes), "counts": {"test": len(found.inputs)}},
        "variants": [variant | results | {"path": str(model), "gate": asdict(verdict)}],
        "gate": asdict(verdict) | {"variant": "model", "exit_code": int(code)},
    }
    return full, code


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


def _header(model: Path, profile: Target, machine: environment.Environment) -> dict[str, Any]:
    return {
        "schema_version": report.SCHEMA_VERSION,
        "name": model.stem,
        "edgekd_version": __version__,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "recipe": None,
        "environment": machine.as_dict(),
        "target": profile.model_dump(mode="json"),
        "teacher": None,
        "student": None,
        "export": None,
        "timings": {},
    }


def _data_facts(source: Path, calibration: ModelSamples, held_out: ModelSamples) -> dict[str, Any]:
    return {
        "source": str(source),
        "classes": list(held_out.classes),
        "counts": {"calibration": len(calibration.inputs), "test": len(held_out.inputs)},
    }


def _bundle(
    full: dict[str, Any],
    folder: Path,
    held_out: ModelSamples,
    *,
    options: SessionOptions,
    profile: Target,
    isa: str,
) -> None:
    chosen = next(v for v in full["variants"] if v["selected"])
    spread = np.linspace(0, len(held_out.inputs) - 1, min(16, len(held_out.inputs)), dtype=np.int64)
    bundle.write(
        folder / "bundle",
        model=folder / chosen["path"],
        variant=chosen["name"],
        options=options,
        classes=held_out.classes,
        target_toml=targets.dump(profile),
        reports=[folder / file for file in report.FILES],
        inputs=held_out.inputs[spread],
        isa=isa,
    )
