"""Checks a bundle on any machine: first every name and hash, then what the model answers here."""

import json
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from edgekd import machine
from edgekd.bundle.described import output_kind
from edgekd.bundle.infer import READERS
from edgekd.bundle.manifest import (
    INFER,
    LABELS,
    MANIFEST,
    MODEL,
    OWN,
    SAMPLE_NAME,
    SAMPLES,
    SESSION,
    TOKENIZER,
    File,
    Manifest,
    SampleEntry,
    Tolerance,
    read_manifest,
)
from edgekd.bundle.outputs import Outputs, read_samples, run_here, sizes
from edgekd.bundle.preprocessing import apart, kind_of, preprocessing
from edgekd.bundle.read_back import read_back
from edgekd.bundle.sample_files import tensor_sha256
from edgekd.bundle.tolerance import difference
from edgekd.errors import BadInputError
from edgekd.files import sha256
from edgekd.session import METADATA_KEY

MEASURES = {
    "largest": "largest difference",
    "rms": "root mean square difference of the worst sample",
    "unequal": "share of numbers that differ in the worst sample",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check; passed is None where this machine cannot tell."""

    name: str
    passed: bool | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A bundle's checks. passed: False if any failed, else None if any could not tell; isa: instruction sets."""

    checks: tuple[Check, ...]
    passed: bool | None
    variant: str
    edgekd_version: str
    isa_expected: str
    isa_here: str


def verify(folder: Path, *, run_infer: bool = True) -> Verified:
    """Check a bundle: every file is as the manifest says, and the samples give the expected outputs on this machine.

    Where it holds sample files, its infer.py has to make of them what the network was evaluated on. Nothing of the
    bundle is run before all its hashes are right; infer.py is code that came with it, and runs in a process of its own.

    run_infer: without it infer.py is not run, and that check cannot tell.

    Raises:
        BadInputError: no such folder, no manifest, or one that is corrupt or of another schema.
        EnvironmentFault: the bundle's provider is not on this machine.
    """
    from edgekd.bundle.language import is_language
    from edgekd.bundle.verify_language import verify_language

    if is_language(folder):
        return verify_language(folder)
    manifest = read_manifest(folder)
    here = isa_here()
    checks = [
        Check(
            name="manifest", passed=True, detail=f"schema {manifest.schema_version}, edgekd {manifest.edgekd_version}"
        ),
        check_names(folder, manifest.files),
        check_hashes(folder, manifest.files),
    ]
    if all(check.passed for check in checks):
        checks += _check_answers(folder, manifest, here, run_infer=run_infer)
    else:
        checks.append(Check(name="outputs", passed=None, detail="not run: the files are not those of the manifest"))
    return Verified(
        checks=tuple(checks),
        passed=worst(checks),
        variant=manifest.variant,
        edgekd_version=manifest.edgekd_version,
        isa_expected=manifest.isa,
        isa_here=here,
    )


def worst(checks: Sequence[Check]) -> bool | None:
    """False if any check failed, else None if any could not tell."""
    answers = {check.passed for check in checks}
    return False if False in answers else None if None in answers else True


def isa_here() -> str:
    """The instruction sets of this machine."""
    flags = machine.cpu_flags(machine.read_if_there(Path("/proc/cpuinfo")))
    return machine.isa(flags, machine=platform.machine())


def check_names(folder: Path, files: Mapping[str, File], *, own: tuple[str, ...] = OWN) -> Check:
    """The folder holds the manifest's files and no others; a name that leads elsewhere is never opened.

    own: what a bundle of this kind always holds.
    """
    found = {path.name for path in folder.iterdir()} - {MANIFEST}
    listed = set(files)
    problems = {
        "not a plain name": {name for name in listed if not _is_plain(name)},
        "missing": (listed | set(own)) - found,
        "not in the manifest": found - listed | set(own) - listed,
        "not a regular file": {n for n in found if (folder / n).is_symlink() or not (folder / n).is_file()},
    }
    texts = [f"{what}: {', '.join(map(repr, sorted(names)[:5]))}" for what, names in problems.items() if names]
    return Check(name="files", passed=not texts, detail="; ".join(texts) or f"{len(listed)} files, none missing or new")


def _is_plain(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) is not None and name != MANIFEST


def check_hashes(folder: Path, files: Mapping[str, File]) -> Check:
    """Each file has the size and the SHA-256 of the manifest."""
    wrong = []
    for name, file in files.items():
        path = folder / name
        if not _is_plain(name) or path.is_symlink() or not path.is_file():
            continue  # the check of the names has said so
        if path.stat().st_size != file.size_bytes:
            wrong.append(f"{name} has {path.stat().st_size} bytes, not {file.size_bytes}")
        elif sha256(path) != file.sha256:
            wrong.append(f"{name} has another SHA-256")
    detail = "; ".join(wrong[:5]) or "sizes and SHA-256 of all files are the manifest's"
    return Check(name="hashes", passed=not wrong, detail=detail)


def _check_answers(folder: Path, manifest: Manifest, isa_here: str, *, run_infer: bool) -> list[Check]:
    try:
        inputs, expected = read_samples(folder)
        outputs, by = run_here(folder, inputs)
    except BadInputError as err:
        return [Check(name="outputs", passed=False, detail=str(err))]
    if outputs is None:
        return [Check(name="outputs", passed=None, detail=by)]
    where = f"expected ones made on {manifest.isa}, checked on {isa_here}: {by}"
    first = tuple(output[: len(outputs[0])] for output in expected)
    document = _metadata(folder)
    said = preprocessing(document, _input_shape(folder))
    return [
        *_compare(
            outputs, first, manifest.tolerance, where, task=manifest.task, middle=float(document.get("threshold", 0.0))
        ),
        *_check_preprocessing(manifest, said),
        *_check_tokenizer(folder, said or {}),
        *_check_meaning(folder, manifest, document, expected[0]),
        *_check_files(folder, manifest, said, inputs, expected, run_infer=run_infer),
    ]


def _metadata(folder: Path) -> dict[str, Any]:
    """What the model says of itself under edgekd's name."""
    import onnx

    entries = {entry.key: entry.value for entry in onnx.load(str(folder / MODEL)).metadata_props}
    document: dict[str, Any] = json.loads(
        entries.get(METADATA_KEY, "{}")
    )  # sound: a session was opened, which reads it
    return document


def _input_shape(folder: Path) -> tuple[int | None, ...]:
    """The sizes of the model's input, None where they are dynamic."""
    import onnx

    graph = onnx.load(str(folder / MODEL)).graph
    stored = {tensor.name for tensor in graph.initializer}  # old files list these as inputs too
    first = next(value for value in graph.input if value.name not in stored)
    return tuple(d.dim_value or None for d in first.type.tensor_type.shape.dim)


def _check_preprocessing(manifest: Manifest, said: dict[str, Any] | None) -> list[Check]:
    """Whether manifest.json, which infer.py follows, and model.onnx tell of the same preprocessing."""
    if manifest.schema_version == 2 or (said is None and manifest.preprocessing is None):
        return []
    wrong = apart(manifest.preprocessing or {}, json.loads(json.dumps(said or {})))
    detail = f"in {MANIFEST} {'; '.join(wrong[:5])}, as {MODEL} says" if wrong else f"{MANIFEST} says what {MODEL} says"
    return [Check(name="preprocessing", passed=not wrong, detail=detail)]


def _check_meaning(
    folder: Path, manifest: Manifest, document: Mapping[str, Any], first: npt.NDArray[Any]
) -> list[Check]:
    """Where the names that infer.py gives the outputs, or what they decide, are not as model.onnx says.

    first: the expected first output, by which infer.py's choice of softmax, sigmoid or nothing is judged.

    Numbers in place of names are those of the outputs. A file that names no classes contradicts nothing.
    """
    checks = []
    classes, path = document.get("classes"), folder / LABELS
    if classes and path.is_file():
        try:
            labels = json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            labels = None
        if labels not in (classes, [str(k) for k in range(len(classes))]):
            detail = f"{LABELS} names other classes than {MODEL}, or in another order"
            checks.append(Check(name="labels", passed=False, detail=detail))
    if document.get("task") != manifest.task:
        detail = f"{MANIFEST} says {manifest.task!r}, {MODEL} {document.get('task')!r}"
        checks.append(Check(name="task", passed=False, detail=detail))
    kind = output_kind(first, labelled=path.is_file(), task=document.get("task"))
    told = json.loads((folder / SESSION).read_bytes()).get("outputs")  # sound: a session was opened by it
    found = told[0].get("kind") if isinstance(told, list) and told and isinstance(told[0], dict) else None
    if found != kind:
        detail = f"{SESSION} takes the first output for {found!r}, and it holds {kind!r}"
        checks.append(Check(name="task", passed=False, detail=detail))
    return checks


def _check_files(
    folder: Path,
    manifest: Manifest,
    said: Mapping[str, Any] | None,
    inputs: npt.NDArray[Any],
    expected: Outputs,
    *,
    run_infer: bool,
) -> list[Check]:
    """Whether infer.py makes of the sample files what the network was evaluated on."""
    if not manifest.sample_files:
        kind = kind_of(said)
        if kind is None or (manifest.schema_version == 2 and READERS[kind][0] not in manifest.files):
            return []
        detail = f"{MANIFEST} lists none; expected some, as every bundle holds whose {MODEL} says how files are read"
        return [Check(name="sample files", passed=False, detail=detail)]
    wrong = [entry.name for entry in manifest.sample_files if not _is_whole(entry, manifest, inputs)]
    if wrong:
        detail = f"{', '.join(wrong)}: not in the list of files, or their rows of {SAMPLES} have another SHA-256"
        return [Check(name="sample files", passed=False, detail=detail)]
    if not run_infer:
        return [Check(name="sample files", passed=None, detail=f"not read: {INFER} was not to be run")]
    return [Check(name=n, passed=p, detail=d) for n, p, d in read_back(folder, manifest, inputs, expected)]


def _is_whole(entry: SampleEntry, manifest: Manifest, inputs: npt.NDArray[Any]) -> bool:
    listed = entry.name in manifest.files and SAMPLE_NAME.fullmatch(entry.name) is not None
    return listed and entry.row < len(inputs) and tensor_sha256(inputs[entry.row]) == entry.tensor_sha256


def _check_tokenizer(folder: Path, said: dict[str, Any]) -> list[Check]:
    """Whether texts get the numbers that the network was trained with; nothing where it takes no texts."""
    text = said.get("text")
    if not isinstance(text, dict) or not (folder / TOKENIZER).is_file():
        return []
    passed = text.get("tokenizer_sha256") == sha256(folder / TOKENIZER)
    detail = f"{TOKENIZER} is {'' if passed else 'not '}the one that {MODEL} was trained with"
    return [Check(name="tokenizer", passed=passed, detail=detail)]


def _compare(
    outputs: Outputs,
    expected: Outputs,
    allowed: Tolerance,
    where: str,
    *,
    task: str | None = None,
    middle: float = 0.0,
) -> list[Check]:
    found, wanted, limits = sizes(outputs), sizes(expected), len(allowed.outputs)
    if found != wanted or len(wanted) != limits:
        detail = f"outputs of shape {_words(found)}, expected {_words(wanted)}, with a tolerance for {limits} of them"
        return [Check(name="outputs", passed=False, detail=detail)]
    if allowed.top1_misses is None:
        checks = []
    elif task == "multi-label":
        near = allowed.outputs[0].allowed
        checks = [_check_label_sets(outputs[0], expected[0], allowed.top1_misses, where, near=near, middle=middle)]
    else:
        checks = [_check_top1(outputs[0], expected[0], allowed.top1_misses, where)]
    for index, (output, other, limit) in enumerate(zip(outputs, expected, allowed.outputs, strict=True)):
        apart = difference(limit.measure, output, other)
        detail = f"{MEASURES[limit.measure]} {apart:.2e}, allowed {limit.allowed:.2e}; {where}"
        checks.append(Check(name=_name(index), passed=apart <= limit.allowed, detail=detail))
    return checks


def _check_top1(outputs: npt.NDArray[Any], expected: npt.NDArray[Any], misses: int, where: str) -> Check:
    if expected.ndim != 2:
        return Check(
            name="top1", passed=False, detail=f"outputs of shape {expected.shape}, expected (samples, classes)"
        )
    n, same = len(outputs), int((outputs.argmax(axis=1) == expected.argmax(axis=1)).sum())
    detail = f"{same} of {n} classes as expected, at least {n - misses}; {where}"
    return Check(name="top1", passed=same >= n - misses, detail=detail)


def _check_label_sets(
    outputs: npt.NDArray[Any], expected: npt.NDArray[Any], misses: int, where: str, *, near: float, middle: float
) -> Check:
    """Outputs within `near` of `middle`, as far as they may differ, decide nothing and are left out."""
    other = ((outputs > middle) != (expected > middle)) & (abs(expected - middle) > near)
    n, same = len(outputs), int((~other.any(axis=1)).sum())
    detail = f"{same} of {n} sets of labels as expected, at least {n - misses}; {where}"
    return Check(name="label sets", passed=same >= n - misses, detail=detail)


def _name(index: int) -> str:
    return f"outputs {index + 1}" if index else "outputs"


def _words(shapes: tuple[tuple[int, ...], ...]) -> str:
    return " and ".join(map(str, shapes))
