"""On-device preparation of an ONNX file that is already there: quantize, validate, no recipe, no torch."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from edgekd import assemble, compete, environment, fidelity, gate, isa, report, runner, session, targets
from edgekd.data.for_kind import tokenizer_of
from edgekd.data.for_model import ModelData, data_for_model
from edgekd.data.parts import ModelSamples, Parts, part, random_parts
from edgekd.data.reading import Reading
from edgekd.errors import BadInputError, ExitCode, Interrupted
from edgekd.files import write_atomic
from edgekd.label_task import LabelTask, label_task
from edgekd.progress import Listener, silent
from edgekd.quantize import Built, Saturation, Wanted, describe_file, saturating, search
from edgekd.quantize.prepare import load
from edgekd.recipe import ALL_PRECISIONS
from edgekd.recorded import record
from edgekd.session import Facts, SessionOptions
from edgekd.store import locked

ISA_AGREEMENT = 0.995
"""199 of 200 samples have the same class on both instruction sets: one may lie between two classes."""

RANDOM_SAMPLES = 200
"""Drawn for each part where there is no data: more would be no nearer to the truth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What the search for variants may do; the fields of the recipe's [quantize] that make sense for any file."""

    budget_seconds: float = 300.0
    max_memory_bytes: int | None = None
    portable: bool = True
    saturation: Saturation = "safe"


def quantize_file(
    model: Path,
    *,
    source: Path | None,
    target: str,
    folder: Path,
    limits: dict[str, float],
    reading: Reading | None = None,
    calibration_samples: int = 500,
    chosen: Search | None = None,
    timing: compete.Timing | None = None,
    listener: Listener = silent,
) -> tuple[dict[str, Any], ExitCode]:
    """The best variant of `model` for the target, with its report and bundle in `folder`; answers (report, exit code).

    source: data as `load_data` takes it; one part calibrates, another is evaluated, they share no sample. None draws
    random numbers, which the report is stamped with. reading: how it is read. limits: beside `default_limits`, which
    they override.

    Raises:
        EdgekdError: bad model or data, outputs that are not finite, a missing provider, Ctrl-C.
    """
    report.check_packages()
    chosen = chosen or Search()
    profile = targets.load(target)
    machine = environment.describe()
    options = compete.with_session_key(
        session.options_for(profile, cores=machine.cores_granted),
        portable=chosen.portable,
        saturation=chosen.saturation,
    )
    session.check_file(model)
    fp32 = _self_contained(model)  # refuses what cannot be quantized before a session is opened or anything written
    known = model_facts(model, options)
    parts, evaluated = _parts(source, known, model, calibration_samples, reading)
    why = compete.why_not(model, parts.evaluation.inputs, options)  # before it calibrates anything
    if why is not None:
        raise BadInputError(f"model {model}: {why}")
    held_out = _with_names(parts.evaluation)
    task = label_task([model], held_out, options, reading=reading, source=source)
    check_limits(limits, held_out, task)
    merged, sources = gate.merge_limits(
        default_limits(held_out, model, options) | limits,
        profile.budgets.model_dump(exclude_none=True),
    )
    names, left_out = compete.allowed(
        ALL_PRECISIONS, profile.precisions, profile.name, isa=profile.isa, portable=chosen.portable
    )
    wanted = Wanted(
        variants=names,
        tolerable_drop=compete.tolerable_drop(merged),
        smallest_sqnr_db=merged.get("min_sqnr_db"),
        **asdict(chosen),
    )
    times = timing or compete.Timing()
    if known.shape[0] is not None:  # a network whose batch is fixed is timed with it
        times = replace(times, batch_size=known.shape[0])
    with locked(folder):
        _clear(folder)
        write_atomic(folder / "fp32.onnx", _telling(fp32, known, task))
        tokenizer = tokenizer_of(session.takes(known, model), reading)
        if tokenizer is not None:
            write_atomic(folder / "tokenizer.json", tokenizer)
        found = search(
            folder / "fp32.onnx",
            parts.calibration.inputs,
            options,
            wanted=wanted,
            folder=folder,
            labels=parts.calibration.labels,
            multi_label=task.multi_label,
            threshold=task.threshold,
            listener=listener,
        )
        built = [describe_file("fp32", folder / "fp32.onnx"), *found.built]
        judged = judged_on(held_out, task)
        measured = _measure(built, judged, options, folder=folder, timing=times, isa=machine.isa, listener=listener)
        variants, verdict = compete.judge(built, measured, limits=merged, sources=sources, left_out=left_out)
        counts = {"calibration": len(parts.calibration.inputs), "test": len(held_out.inputs)}
        data = _data_facts(source, held_out, counts, evaluated, task)
        full = assemble.header(model.stem, machine=machine, target=profile, data=data)
        full |= {"search": assemble.searched(asdict(found), warnings=parts.warnings)}
        full |= assemble.judged([asdict(v) for v in variants], verdict, target=profile)
        report.write(full, folder)
        assemble.write_bundle(full, folder, held_out.inputs, target=profile, options=options, isa=machine.isa)
    return full, gate.exit_code(verdict.verdict)


def _measure(
    built: Sequence[Built],
    samples: compete.Samples,
    options: SessionOptions,
    *,
    folder: Path,
    timing: compete.Timing,
    isa: str,
    listener: Listener,
) -> dict[str, dict[str, Any]]:
    """As `compete.measure`; raises Interrupted, which says what is kept, at Ctrl-C."""
    try:
        return compete.measure(built, samples, options, folder=folder, timing=timing, isa=isa, listener=listener)
    except KeyboardInterrupt as err:
        raise Interrupted(f"interrupted; the variants in {folder} are built and tuned, not validated") from err


def _clear(folder: Path) -> None:
    """Remove what an earlier run left: beside new variants an old report would seem to be theirs."""
    for name in ("fp32", *ALL_PRECISIONS):
        (folder / f"{name}.onnx").unlink(missing_ok=True)
    for name in report.FILES:
        (folder / name).unlink(missing_ok=True)
    if (folder / "bundle" / "manifest.json").is_file():
        shutil.rmtree(folder / "bundle")


def _parts(
    source: Path | None, known: Facts, model: Path, calibration_samples: int, reading: Reading | None
) -> tuple[Parts, str]:
    """What calibrates and what is evaluated, checked against the network's input; and a sentence that says it."""
    if source is None:
        return random_parts(session.longest(known), dtype=known.dtype, count=RANDOM_SAMPLES), "random numbers"
    data = load_data(model, source, known, reading=reading, train_limit=calibration_samples)
    checked = [
        None if samples is None else replace(samples, inputs=runner.check_inputs(samples.inputs, known, model))
        for samples in (data.train, data.test)
    ]
    assert checked[1] is not None
    parts = part(checked[0], checked[1], calibration_samples=calibration_samples)
    if parts.origin == "half":
        data = replace(data, test=parts.evaluation)
        return parts, data.evaluated(source, all_but=len(parts.calibration.inputs))
    return parts, data.evaluated(source)


def validate_file(
    model: Path,
    *,
    source: Path,
    target: str,
    limits: dict[str, float],
    reading: Reading | None = None,
    timing: compete.Timing | None = None,
    baseline: Path | None = None,
    isa_samples: int | None = None,
    session_config: Mapping[str, str] | None = None,
    session_file: Path | None = None,
    listener: Listener = silent,
) -> tuple[dict[str, Any], ExitCode]:
    """Accuracy and latency of one ONNX file on `source`, judged against the target's budgets.

    All its samples count, or those of its test part, where it has one; the report says which. reading: how it is read.
    baseline: an fp32 file to compare with, on the same samples. isa_samples: run so many under valgrind as well, as a
    CPU without VNNI would. session_file: a session.json, of a bundle or of `edgekd tune`, whose options replace the
    target's own. session_config: ONNX Runtime's entries beside those. Answers (report, exit code); writes nothing.

    Raises:
        EdgekdError: bad model or data, a missing provider, or, for isa_samples, no valgrind.
    """
    profile = targets.load(target)
    machine = environment.describe()
    options = session.chosen_options(profile, cores=machine.cores_granted, session=session_file)
    options = replace(options, session_config={**options.session_config, **(session_config or {})})
    known = model_facts(model, options)
    data = load_data(model, source, known, reading=reading, train_limit=0)
    found = _with_names(data.test)
    files = [model] if baseline is None else [model, baseline]
    task = label_task(files, found, options, reading=reading, source=source)
    check_limits(limits, found, task)
    paths = {"fp32": baseline, "model": model} if baseline else {"model": model}
    built = [describe_file(name, path) for name, path in paths.items()]
    absolute = [type(b)(**{**asdict(b), "path": str(paths[b.name].resolve())}) for b in built]
    measured = compete.measure(
        absolute,
        judged_on(found, task),
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
    portable = {"min_isa_agreement": ISA_AGREEMENT} if isa_samples else {}
    merged, sources = gate.merge_limits(portable | limits, profile.budgets.model_dump(exclude_none=True))
    results["portability"] = None
    if isa_samples:
        results["portability"] = _on_avx2(model, found.inputs[:isa_samples], options, task, listener)
    verdict = gate.judge(
        **results,
        size_bytes=built[-1].size_bytes,
        limits=merged,
        sources=sources,
    )
    variants = [_named(built[-1], model, measured["model"], saturating(model)) | results | {"gate": asdict(verdict)}]
    if baseline is not None:
        variants.insert(0, _beside(built[0], baseline, measured["fp32"]))
    facts = _data_facts(source, found, {"test": len(found.inputs)}, data.evaluated(source), task)
    full = assemble.header(model.stem, machine=machine, target=profile, data=facts)
    return full | assemble.judged(variants, verdict, target=profile), gate.exit_code(verdict.verdict)


def _named(file: Built, path: Path, measured: Mapping[str, Any], heavy: tuple[str, ...]) -> dict[str, Any]:
    """The file that was named, as a report has a variant."""
    known = asdict(file) | {"precision": "model", "selected": True, "reason": "the file that was named"}
    return known | {"path": str(path), "kernels": measured["kernels"], "saturates": heavy}


def _beside(file: Built, path: Path, measured: Mapping[str, Any]) -> dict[str, Any]:
    """The baseline, which is not judged."""
    known = asdict(file) | {"precision": "fp32", "selected": False, "reason": "what it is compared with"}
    return (
        known
        | {name: measured[name] for name in ("accuracy", "latency", "kernels")}
        | {"path": str(path), "gate": None}
    )


def _on_avx2(
    model: Path, inputs: npt.NDArray[Any], options: SessionOptions, task: LabelTask, listener: Listener
) -> dict[str, Any]:
    threshold = task.threshold if task.multi_label else None
    return asdict(isa.compare(model, inputs, options, threshold=threshold, listener=listener))


def model_facts(model: Path, options: SessionOptions) -> Facts:
    """What the file says of itself, from a session on the target's provider."""
    return session.facts(session.open_session(model, options), model)


def load_data(
    model: Path, source: Path, known: Facts, *, reading: Reading | None = None, train_limit: int | None = None
) -> ModelData:
    """Data for the network behind `known`, as `edgekd.data.for_model.data_for_model` takes and reads it.

    train_limit: how many images of a folder's train/ are wanted; None: all.
    """
    return data_for_model(source, session.takes(known, model), reading=reading, train_limit=train_limit)


def default_limits(samples: ModelSamples, model: Path, options: SessionOptions) -> dict[str, float]:
    """The usual point of accuracy, of top-1 or of micro F1; without labels, 3 % of decisions that differ from fp32's.

    Where the first output is no row of classes, most of its decisions may be background, or there may be none: then the
    noise may have a tenth of the output's power as well.
    """
    if samples.labels is not None:
        return {"max_top1_drop" if samples.labels.ndim == 1 else "max_micro_f1_drop": 0.01}
    opened = session.open_session(model, options)
    outputs = record(runner.run_all(opened, session.facts(opened, model)), samples.inputs[:1], batch_size=1)
    decides = fidelity.compare_recorded(outputs, None).agreement is not None
    classifies = outputs.first().ndim == 2 and outputs.first().shape[1] > 1
    return ({"min_agreement": 0.97} if decides else {}) | ({} if classifies else {"min_sqnr_db": 10.0})


def drop_self_comparison(accuracy: dict[str, Any]) -> None:
    """A file measured alone was compared with itself; that says nothing, so it is not stated."""
    for name in accuracy:
        if name.startswith(("agreement_fp32", "top1_drop", "micro_f1_drop", "sqnr_db")):
            accuracy[name] = None


def _self_contained(model: Path) -> bytes:
    raw: bytes = load(model).SerializeToString(deterministic=True)
    return raw


def check_limits(limits: Mapping[str, Any], samples: ModelSamples, task: LabelTask) -> None:
    """Refuse limits for another task than the samples', and floors of classes that there are not. limits: by name.

    Raises:
        BadInputError: with the limits, or the nearest class, that there are instead.
    """
    limits = gate.flat(limits)
    if task.multi_label or samples.labels is not None:
        gate.check_task(limits, dict.fromkeys(limits, "command line"), multi_label=task.multi_label)
    if samples.labels is not None and samples.classes:
        gate.check_classes(limits, samples.classes)


def judged_on(samples: ModelSamples, task: LabelTask) -> compete.Samples:
    """The samples as files are measured on them."""
    return compete.Samples(
        inputs=samples.inputs,
        labels=samples.labels,
        classes=samples.classes,
        multi_label=task.multi_label,
        threshold=task.threshold,
    )


def _with_names(samples: ModelSamples) -> ModelSamples:
    """Numbers for the classes of a multi-label task that nobody named: one logit or probability each is no name."""
    if samples.classes or samples.labels is None or samples.labels.ndim == 1:
        return samples
    return replace(samples, classes=tuple(str(k) for k in range(samples.labels.shape[1])))


def _telling(raw: bytes, known: Facts, task: LabelTask) -> bytes:
    """The file, saying itself that it is multi-label, where only the data did: its variants and its bundle read it."""
    if not task.multi_label or known.metadata.get("task") is not None:
        return raw
    import onnx

    document = onnx.load_model_from_string(raw)
    entries = {entry.key: entry.value for entry in document.metadata_props}
    said = json.dumps(dict(known.metadata) | task.metadata)
    onnx.helper.set_model_props(document, entries | {session.METADATA_KEY: said})
    told: bytes = document.SerializeToString(deterministic=True)
    return told


def _data_facts(
    source: Path | None, samples: ModelSamples, counts: dict[str, int], evaluated: str, task: LabelTask
) -> dict[str, Any]:
    origin = str(source or "random numbers")
    facts = {"source": origin, "classes": list(samples.classes), "counts": counts, "evaluated": evaluated}
    return facts | ({"task": "multi-label"} if task.multi_label else {})
