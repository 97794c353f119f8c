"""Checks a bundle on any machine: first every name and hash, then what the model answers here."""

import json
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from edgekd import machine
from edgekd.bundle.manifest import (
    MANIFEST,
    MODEL,
    OWN,
    SCHEMA_VERSION,
    TOKENIZER,
    Manifest,
    Tolerance,
    read_manifest,
)
from edgekd.bundle.outputs import Outputs, read_samples, run_here, sizes
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


def verify(folder: Path) -> Verified:
    """Check a bundle: every file is as the manifest says, and the samples give the expected outputs on this machine.

    Nothing of the bundle is run before all its hashes are right, and its infer.py never.

    Raises:
        BadInputError: no such folder, no manifest, or one that is corrupt or of another schema.
        EnvironmentFault: the bundle's provider is not on this machine.
    """
    manifest = read_manifest(folder)
    here = _isa_here()
    checks = [
        Check(name="manifest", passed=True, detail=f"schema {SCHEMA_VERSION}, edgekd {manifest.edgekd_version}"),
        _check_names(folder, manifest),
        _check_hashes(folder, manifest),
    ]
    if all(check.passed for check in checks):
        checks += _check_answers(folder, manifest, here)
    else:
        checks.append(Check(name="outputs", passed=None, detail="not run: the files are not those of the manifest"))
    answers = {check.passed for check in checks}
    return Verified(
        checks=tuple(checks),
        passed=False if False in answers else None if None in answers else True,
        variant=manifest.variant,
        edgekd_version=manifest.edgekd_version,
        isa_expected=manifest.isa,
        isa_here=here,
    )


def _isa_here() -> str:
    flags = machine.cpu_flags(machine.read_if_there(Path("/proc/cpuinfo")))
    return machine.isa(flags, machine=platform.machine())


def _check_names(folder: Path, manifest: Manifest) -> Check:
    """The folder holds the manifest's files and no others; a name that leads elsewhere is never opened."""
    found = {path.name for path in folder.iterdir()} - {MANIFEST}
    listed = set(manifest.files)
    problems = {
        "not a plain name": {name for name in listed if not _is_plain(name)},
        "missing": (listed | set(OWN)) - found,
        "not in the manifest": found - listed | set(OWN) - listed,
        "not a regular file": {n for n in found if (folder / n).is_symlink() or not (folder / n).is_file()},
    }
    texts = [f"{what}: {', '.join(map(repr, sorted(names)[:5]))}" for what, names in problems.items() if names]
    return Check(name="files", passed=not texts, detail="; ".join(texts) or f"{len(listed)} files, none missing or new")


def _is_plain(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) is not None and name != MANIFEST


def _check_hashes(folder: Path, manifest: Manifest) -> Check:
    wrong = []
    for name, file in manifest.files.items():
        path = folder / name
        if not _is_plain(name) or path.is_symlink() or not path.is_file():
            continue  # the check of the names has said so
        if path.stat().st_size != file.size_bytes:
            wrong.append(f"{name} has {path.stat().st_size} bytes, not {file.size_bytes}")
        elif sha256(path) != file.sha256:
            wrong.append(f"{name} has another SHA-256")
    detail = "; ".join(wrong[:5]) or "sizes and SHA-256 of all files are the manifest's"
    return Check(name="hashes", passed=not wrong, detail=detail)


def _check_answers(folder: Path, manifest: Manifest, isa_here: str) -> list[Check]:
    try:
        inputs, expected = read_samples(folder)
        outputs, by = run_here(folder, inputs)
    except BadInputError as err:
        return [Check(name="outputs", passed=False, detail=str(err))]
    if outputs is None:
        return [Check(name="outputs", passed=None, detail=by)]
    where = f"expected ones made on {manifest.isa}, checked on {isa_here}: {by}"
    first = tuple(output[: len(outputs[0])] for output in expected)
    return [*_compare(outputs, first, manifest.tolerance, where), *_check_tokenizer(folder)]


def _check_tokenizer(folder: Path) -> list[Check]:
    """Whether texts get the numbers that the network was trained with; nothing where it takes no texts."""
    import onnx

    entries = {entry.key: entry.value for entry in onnx.load(str(folder / MODEL)).metadata_props}
    document = json.loads(entries.get(METADATA_KEY, "{}"))  # sound: a session was opened, which reads it
    text = document.get("preprocessing", {}).get("text")
    if not isinstance(text, dict) or not (folder / TOKENIZER).is_file():
        return []
    passed = text.get("tokenizer_sha256") == sha256(folder / TOKENIZER)
    detail = f"{TOKENIZER} is {'' if passed else 'not '}the one that {MODEL} was trained with"
    return [Check(name="tokenizer", passed=passed, detail=detail)]


def _compare(outputs: Outputs, expected: Outputs, allowed: Tolerance, where: str) -> list[Check]:
    found, wanted, limits = sizes(outputs), sizes(expected), len(allowed.outputs)
    if found != wanted or len(wanted) != limits:
        detail = f"outputs of shape {_words(found)}, expected {_words(wanted)}, with a tolerance for {limits} of them"
        return [Check(name="outputs", passed=False, detail=detail)]
    checks = [] if allowed.top1_misses is None else [_check_top1(outputs[0], expected[0], allowed.top1_misses, where)]
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


def _name(index: int) -> str:
    return f"outputs {index + 1}" if index else "outputs"


def _words(shapes: tuple[tuple[int, ...], ...]) -> str:
    return " and ".join(map(str, shapes))
