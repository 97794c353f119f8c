"""Makes the bundle of a language model: its file, its vocabulary, and a program that goes on with a text."""

import datetime
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from edgekd import __version__, machine
from edgekd.bundle.described import describe
from edgekd.bundle.manifest import (
    GENERATE,
    MANIFEST,
    MODEL,
    README,
    SAMPLES,
    SCHEMA_VERSION,
    SESSION,
    TARGET,
    VOCABULARY,
    File,
    Manifest,
    to_json,
)
from edgekd.bundle.place import replacing
from edgekd.bundle.tolerance import tolerance
from edgekd.bundle.write import is_integer
from edgekd.files import sha256
from edgekd.language.runtime import Runner
from edgekd.language.score import token_nats
from edgekd.language.vocabulary import Vocabulary
from edgekd.session import SessionOptions, within

KIND: Literal["language"] = "language"
OWN = (MODEL, VOCABULARY, SESSION, SAMPLES, TARGET, GENERATE, README)
"""What every bundle of this kind holds beside its manifest."""

MISSES = {True: 16, False: 256}
"""File that computes in int8 or not -> one in so many next tokens may be another on another instruction set."""

NATS = {True: 0.05, False: 0.005}
"""How far the mean nats a token of the samples may be from the expected ones: 5 %, or 0.5 %, of the perplexity."""

README_TEXT = """\
{variant} language model, {size} {kind} as tokens, {context} at a time, bundled by edgekd {version}.

python generate.py "a text"  goes on with the text (needs onnxruntime, numpy{more})
edgekd verify .              hashes, vocabulary, and the samples' logits and perplexity on this machine

manifest.json tells whether a file changed by accident; it is not signed, so it does not tell who wrote it.
"""


class LanguageManifest(Manifest):
    """manifest.json of a language model. samples: texts of `context` tokens.

    perplexity: of the samples. tolerance: of the logits; of `next_misses` and `nats` see `MISSES` and `NATS`.
    """

    kind: Literal["language"]
    context: Annotated[int, Field(ge=2)]
    vocabulary_sha256: str
    perplexity: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    next_misses: Annotated[int, Field(ge=0)]
    nats: Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """tokens: (n, context + 1); logits: (n, context, K) after each but the last. text, encoded: one and its tokens."""

    tokens: npt.NDArray[np.int64]
    logits: npt.NDArray[np.float32]
    text: str
    encoded: npt.NDArray[np.int64]

    @property
    def nats(self) -> float:
        """Mean -ln p of the tokens that follow."""
        return float(token_nats(self.logits, self.tokens[:, 1:]).mean())


def write(
    folder: Path,
    *,
    model: Path,
    variant: str,
    options: SessionOptions,
    vocabulary: Vocabulary,
    tokens: npt.NDArray[np.int64],
    target_toml: str,
    reports: Sequence[Path],
    isa: str,
) -> LanguageManifest:
    """Make the bundle beside `folder`, then put it in the place of the one that is there.

    tokens: (n, context + 1) of real text; the logits expected of them are those of `model` under `options` here.

    Raises:
        BadInputError: `folder` holds something else than a bundle, or the model cannot run.
        OSError: the disk is full or the folder is read-only; the old bundle is still there.
    """
    with replacing(folder) as new:
        for path in reports:
            shutil.copyfile(path, new / path.name)
        shutil.copyfile(model, new / MODEL)
        shutil.copyfile(Path(__file__).with_name(GENERATE), new / GENERATE)
        here = within(options, cores=machine.cores_here())
        samples = _samples(Runner(new / MODEL, here), vocabulary, tokens)
        np.savez(
            new / SAMPLES,
            tokens=samples.tokens,
            logits=samples.logits,
            text=np.array(samples.text),
            encoded=samples.encoded,
        )
        (new / VOCABULARY).write_text(json.dumps(vocabulary.as_dict(), ensure_ascii=False), encoding="utf-8")
        (new / SESSION).write_text(to_json(describe(options, None, [], isa)), encoding="utf-8")
        (new / TARGET).write_text(target_toml, encoding="utf-8")
        context, more = tokens.shape[1] - 1, ", tokenizers" if vocabulary.kind == "tokenizer" else ""
        words = {"variant": variant, "size": vocabulary.size, "kind": vocabulary.kind, "context": context, "more": more}
        (new / README).write_text(README_TEXT.format(version=__version__, **words), encoding="utf-8")
        integer = is_integer(new / MODEL)
        manifest = LanguageManifest(
            schema_version=SCHEMA_VERSION,
            kind=KIND,
            edgekd_version=__version__,
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            variant=variant,
            isa=isa,
            samples=len(tokens),
            tolerance=tolerance([samples.logits], given=None, integer=integer),
            files={p.name: File(sha256=sha256(p), size_bytes=p.stat().st_size) for p in sorted(new.iterdir())},
            context=context,
            vocabulary_sha256=vocabulary.sha256,
            perplexity=math.exp(samples.nats),
            next_misses=tokens[:, 1:].size // MISSES[integer],
            nats=NATS[integer],
        )
        (new / MANIFEST).write_text(to_json(manifest.model_dump()), encoding="utf-8")
    return manifest


def _samples(runner: Runner, vocabulary: Vocabulary, tokens: npt.NDArray[np.int64]) -> Samples:
    """One text a call: a file with dynamic int8 answers otherwise where it shares a batch with others."""
    logits = np.concatenate([runner(text[None, :-1]) for text in tokens])
    text = vocabulary.decode(tokens[0])
    return Samples(tokens=tokens, logits=logits, text=text, encoded=vocabulary.encode(text).tokens.astype(np.int64))


def is_language(folder: Path) -> bool:
    """Whether the manifest in `folder` says so of itself; what cannot be read is left to `read_manifest`."""
    try:
        document = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(document, dict) and document.get("kind") == KIND
