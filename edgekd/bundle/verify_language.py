"""Checks the bundle of a language model on any machine: its files, its vocabulary, and what the model answers here."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from edgekd import __version__, machine
from edgekd.bundle.language import OWN, LanguageManifest, Samples
from edgekd.bundle.manifest import MANIFEST, MODEL, SAMPLES, SCHEMA_VERSION, SESSION, VOCABULARY
from edgekd.bundle.tolerance import difference
from edgekd.bundle.verify import Check, Verified, check_hashes, check_names, isa_here, worst
from edgekd.data.npz import read_arrays
from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.language.runtime import Runner
from edgekd.language.score import exp, token_nats
from edgekd.language.vocabulary import Vocabulary
from edgekd.session import METADATA_KEY, read_options, within


def verify_language(folder: Path) -> Verified:
    """As `edgekd.bundle.verify.verify`, of a language model: also its vocabulary, next tokens and perplexity.

    Raises:
        BadInputError: a manifest that is corrupt or of another schema.
        EnvironmentFault: the bundle's provider is not on this machine.
    """
    manifest, here = _manifest(folder), isa_here()
    checks = [
        Check(name="manifest", passed=True, detail=f"schema {SCHEMA_VERSION}, edgekd {manifest.edgekd_version}"),
        check_names(folder, manifest.files, own=OWN),
        check_hashes(folder, manifest.files),
    ]
    if all(check.passed for check in checks):
        try:
            checks += _answers(folder, manifest, where=f"made on {manifest.isa}, checked on {here}")
        except BadInputError as err:
            checks.append(Check(name="outputs", passed=False, detail=str(err)))
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


def _manifest(folder: Path) -> LanguageManifest:
    path = folder / MANIFEST
    document = json.loads(path.read_bytes())
    version = document.get("schema_version")
    if version != SCHEMA_VERSION:
        raise BadInputError(
            f"{path}: schema_version {version!r}; this edgekd {__version__} reads {SCHEMA_VERSION}: run "
            "`edgekd language` again, or use the edgekd that wrote it"
        )
    try:
        manifest = LanguageManifest.model_validate(document)
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise BadInputError(f"{path}: corrupt, {where}: {first['msg']}; copy the bundle again") from err
    if len(manifest.tolerance.outputs) != 1:
        raise BadInputError(f"{path}: corrupt, it has no tolerance for the logits; copy the bundle again")
    return manifest


def _answers(folder: Path, manifest: LanguageManifest, *, where: str) -> list[Check]:
    """What vocabulary and model answer here, beside what is written down."""
    samples, vocabulary = _read_samples(folder / SAMPLES), _read_vocabulary(folder / VOCABULARY)
    checks = [_check_vocabulary(folder, vocabulary, samples, manifest), _check_tokens(vocabulary, samples)]
    try:
        runner = Runner(folder / MODEL, within(read_options(folder / SESSION), cores=machine.cores_here()))
    except EnvironmentFault as err:
        if not isinstance(err.__cause__, ModuleNotFoundError):
            raise
        why = "onnxruntime is not installed; install it, onnx's evaluator lacks these operators"
        return [*checks, Check(name="outputs", passed=None, detail=why)]
    found = np.concatenate([runner(text[None, :-1]) for text in samples.tokens])
    if found.shape != samples.logits.shape:
        detail = f"logits of shape {found.shape}, expected {samples.logits.shape}"
        return [*checks, Check(name="outputs", passed=False, detail=detail)]
    return [*checks, *_compare(found, samples, manifest, where=where), _check_past(runner, found, samples, manifest)]


def _compare(
    found: npt.NDArray[np.float32], samples: Samples, manifest: LanguageManifest, *, where: str
) -> list[Check]:
    limit = manifest.tolerance.outputs[0]
    apart = difference(limit.measure, found, samples.logits)
    same, count = int((found.argmax(-1) == samples.logits.argmax(-1)).sum()), samples.tokens[:, 1:].size
    nats, expected = float(token_nats(found, samples.tokens[:, 1:]).mean()), math.log(manifest.perplexity)
    return [
        Check(
            name="outputs",
            passed=apart <= limit.allowed,
            detail=f"logits: {limit.measure} difference {apart:.2e}, allowed {limit.allowed:.2e}; {where}",
        ),
        Check(
            name="next tokens",
            passed=same >= count - manifest.next_misses,
            detail=f"{same} of {count} most likely tokens as expected, at least {count - manifest.next_misses}",
        ),
        Check(
            name="perplexity",
            passed=abs(nats - expected) <= manifest.nats,
            detail=f"{exp(nats):.4f}, expected {manifest.perplexity:.4f}, at most a factor of "
            f"{exp(manifest.nats):.3f} apart",
        ),
    ]


def _check_past(runner: Runner, whole: npt.NDArray[np.float32], samples: Samples, manifest: LanguageManifest) -> Check:
    """A text read in two calls, the second with what the first keeps, has the logits of one call."""
    text, half = samples.tokens[:1, :-1], manifest.context // 2
    _, kept = runner.step(text[:, :half], runner.empty_past(1))
    second, _ = runner.step(text[:, half:], kept)
    limit = manifest.tolerance.outputs[0]
    apart = difference(limit.measure, second, whole[:1, half:])
    detail = f"read in two calls: {limit.measure} difference {apart:.2e}, allowed {limit.allowed:.2e}"
    return Check(name="past", passed=apart <= limit.allowed, detail=detail)


def _check_vocabulary(folder: Path, vocabulary: Vocabulary, samples: Samples, manifest: LanguageManifest) -> Check:
    """The file's own word for it, the manifest's, and vocabulary.json are one; and it has a logit for each token."""
    import onnx

    entries = {entry.key: entry.value for entry in onnx.load(str(folder / MODEL)).metadata_props}
    trained = json.loads(entries.get(METADATA_KEY, "{}")).get("vocabulary", {}).get("sha256")
    same = vocabulary.sha256 == trained == manifest.vocabulary_sha256
    fits = samples.logits.shape[-1] == vocabulary.size
    detail = f"{vocabulary.size} {vocabulary.kind}, {'' if same else 'not '}those that {MODEL} was trained with"
    if not fits:
        detail += f"; {samples.logits.shape[-1]} logits"
    return Check(name="vocabulary", passed=same and fits, detail=detail)


def _check_tokens(vocabulary: Vocabulary, samples: Samples) -> Check:
    """A text gets the token numbers that it got where the bundle was made."""
    try:
        found = vocabulary.encode(samples.text).tokens
    except EnvironmentFault as err:
        return Check(name="tokens", passed=None, detail=str(err))
    same = np.array_equal(found, samples.encoded)
    detail = f"a text of {len(samples.text)} characters has {'' if same else 'not '}the {len(samples.encoded)} tokens"
    return Check(name="tokens", passed=same, detail=f"{detail} expected")


def _read_samples(path: Path) -> Samples:
    arrays = read_arrays(path)
    try:
        tokens, logits, text, encoded = (arrays[name] for name in ("tokens", "logits", "text", "encoded"))
    except KeyError as err:
        raise BadInputError(f"{path}: has no array {err}; copy the bundle again") from err
    if tokens.ndim != 2 or logits.ndim != 3 or logits.shape[:2] != (len(tokens), tokens.shape[1] - 1):
        raise BadInputError(f"{path}: tokens {tokens.shape} and logits {logits.shape} do not belong together")
    return Samples(tokens=tokens, logits=logits, text=str(text), encoded=encoded)


def _read_vocabulary(path: Path) -> Vocabulary:
    try:
        raw: Any = json.loads(path.read_bytes())
        found = Vocabulary(**{name: raw[name] for name in ("kind", "definition", "size")})
    except (ValueError, TypeError, KeyError, RecursionError) as err:
        raise BadInputError(f"{path}: is no vocabulary ({err}); copy the bundle again") from err
    if not isinstance(found.definition, str) or type(found.size) is not int:
        raise BadInputError(f"{path}: is no vocabulary (definition or size is of another type); copy the bundle again")
    return found
