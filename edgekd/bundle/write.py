"""Makes a bundle: the model, how to open it, its labels, and samples with the outputs expected of them."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd import __version__
from edgekd.bundle.described import are_probabilities, describe, describe_outputs, series_of, sound_of, text_of
from edgekd.bundle.manifest import (
    INFER,
    LABELS,
    MODEL,
    READ_WAV,
    README,
    SAMPLES,
    SESSION,
    TARGET,
    TOKENIZER,
    seal,
    to_json,
)
from edgekd.bundle.outputs import Outputs, joined, run_each, sample_key, sizes
from edgekd.bundle.place import replacing
from edgekd.bundle.tolerance import are_scores
from edgekd.bundle.tolerance import tolerance as tolerances
from edgekd.data import read_wav
from edgekd.errors import BadInputError
from edgekd.fidelity import class_axis
from edgekd.files import sha256
from edgekd.runner import Run, check_inputs, run_all
from edgekd.session import Facts, SessionOptions, check_file, create_session, facts

INTEGER_OPS = frozenset(
    ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger",
     "MatMulInteger")
)  # fmt: skip
SAMPLES_BYTES = 1 << 24
"""Inputs and outputs of samples that are bundled: 16 MiB, so that maps do not outweigh the network; at least one."""

CLASSES_TEXT = """\
{variant} classifier of {classes} classes, bundled by edgekd {version}.

python infer.py              run the samples, compare with the outputs expected of them (needs onnxruntime, numpy)
python infer.py image.npy    the three best labels of one image, {dtype} {shape}, saved with numpy.save
"""
SOUND_TEXT = """\
{variant} classifier of {classes} classes of sound, bundled by edgekd {version}.

python infer.py              run the samples, compare with the outputs expected of them (needs onnxruntime, numpy)
python infer.py sound.wav    the three best labels of the beginning of a PCM WAV file of {rate} samples a second
python infer.py sound.npy    the same of {dtype} {shape}, saved with numpy.save
"""
SERIES_TEXT = """\
{variant} classifier of {classes} classes of sensor readings, bundled by edgekd {version}.

python infer.py               run the samples, compare with the outputs expected of them (needs onnxruntime, numpy)
python infer.py window.csv    the three best labels of one window, a row a reading, with a header line:
                              {columns}
python infer.py window.npy    the same of {dtype} {shape}, saved with numpy.save
"""
TEXTS_TEXT = """\
{variant} classifier of {classes} classes of texts, bundled by edgekd {version}.

python infer.py              run the samples, compare with the outputs expected of them (needs onnxruntime, numpy)
python infer.py "a text"     the three best labels of one text (needs tokenizers too: pip install tokenizers)
python infer.py text.npy     the same of its token numbers, {dtype} {shape}, padded with 0, saved with numpy.save
"""
VALUES_TEXT = """\
{variant} network, {outputs} output(s), bundled by edgekd {version}.

python infer.py                       run the samples, compare with the outputs expected of them
                                      (needs onnxruntime, numpy)
python infer.py sample.npy            shape, least and greatest number of each output of one sample,
                                      {dtype} {shape}, saved with numpy.save
python infer.py sample.npy out.npz    the same, and the outputs in a file
"""
README_END = """\
edgekd verify .              hashes and outputs on this machine

manifest.json tells whether a file changed by accident; it is not signed, so it does not tell who wrote it.
"""
TUNED = """
session.json holds options that `edgekd tune` measured as faster; the reports measured the target's own.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundled:
    """What was written. files: name -> SHA-256; tolerance: as the manifest has it; samples: how many are in it."""

    variant: str
    files: Mapping[str, str]
    tolerance: Mapping[str, Any]
    samples: int


def write(
    folder: Path,
    *,
    model: Path,
    variant: str,
    options: SessionOptions,
    classes: tuple[str, ...],
    target_toml: str,
    reports: Sequence[Path],
    inputs: npt.NDArray[Any],
    isa: str,
    tolerance: float | None = None,
    tuned: Mapping[str, Any] | None = None,
    tokenizer: Path | None = None,
) -> Bundled:
    """Make the bundle beside `folder`, then put it in the place of the one that is there.

    inputs: (n, ...) real samples in the network's own layout and type, n at least 1; the outputs expected of them are
    all outputs of `model` under `options` on this machine, whose instruction set is `isa`. As many are kept as 16 MiB
    hold, of those with outputs of the same size as the first's. classes: may be empty; probabilities are then numbered,
    and other outputs have no labels. tolerance: largest difference of an output elsewhere; None: by the kind of file.
    tuned: what is known of `options` where they are not those that the reports measured. tokenizer: the tokenizer.json
    of a network that takes token numbers; without it infer.py takes these alone.

    A process killed at any moment leaves no half bundle in `folder`. Killed between the two renames, it leaves the old
    one beside `folder`, from where the next call, or `recover`, puts it back.

    Raises:
        BadInputError: `folder` holds something else than a bundle, or model, inputs and classes do not fit.
        EnvironmentFault: the provider is not there.
        OSError: the disk is full or the folder is read-only; the old bundle is still there.
    """
    with replacing(folder) as new:
        check_file(model)
        integer = _is_integer(model)
        sources = {MODEL: model, INFER: Path(__file__).with_name("infer.py"), **{path.name: path for path in reports}}
        for name, source in sources.items():
            shutil.copyfile(source, new / name)
        session = create_session(new / MODEL, options)
        known = facts(session, model)
        if sound_of(known) is not None:
            shutil.copyfile(read_wav.__file__, new / READ_WAV)
        if tokenizer is not None:
            _check_tokenizer(tokenizer, known, model)
            shutil.copyfile(tokenizer, new / TOKENIZER)
        samples = check_inputs(inputs, known, model)
        samples, outputs = _expected(run_all(session, known), samples, model)
        labels = _labels(classes, outputs[0], model)
        texts = {
            TARGET: target_toml,
            SESSION: to_json(describe(options, known, describe_outputs(session, outputs[0], labels), isa, tuned=tuned)),
            README: _readme(variant, labels, known, outputs) + (TUNED if tuned else ""),
        }
        texts |= {LABELS: to_json(labels)} if labels else {}
        for name, text in texts.items():
            (new / name).write_text(text, encoding="utf-8")
        arrays: dict[str, Any] = {sample_key(index): output for index, output in enumerate(outputs)}
        np.savez(new / SAMPLES, inputs=samples, isa=np.array(isa), **arrays)
        allowed = tolerances(outputs, given=tolerance, integer=integer)
        manifest = seal(new, variant=variant, samples=len(samples), isa=isa, tolerance=allowed)
    return Bundled(
        variant=variant,
        files={name: file.sha256 for name, file in manifest.files.items()},
        tolerance=allowed.model_dump(),
        samples=manifest.samples,
    )


def _check_tokenizer(path: Path, known: Facts, model: Path) -> None:
    """Refuse a tokenizer that is not the one of the network's training: every number would mean another word."""
    text = text_of(known)
    if not path.is_file():
        raise BadInputError(
            f"tokenizer {path}: no such file; expected the tokenizer.json that {model} was trained with"
        )
    if text is None or text.get("tokenizer_sha256") != sha256(path):
        raise BadInputError(
            f"tokenizer {path}: is not the one that {model} was trained with; expected the tokenizer.json of its run "
            "folder"
        )


def _is_integer(model: Path) -> bool:
    """Whether the file computes in int8 anywhere. Raises BadInputError where its weights lie in another file."""
    import onnx

    graph = onnx.load(str(model), load_external_data=False).graph
    if any(tensor.external_data for tensor in graph.initializer):
        raise BadInputError(
            f"model {model}: keeps weights in another file; a bundle holds one: write it with onnx.save_model("
            "onnx.load(path), path, save_as_external_data=False)"
        )
    return any(node.op_type in INTEGER_OPS for node in graph.node)


def _expected(run: Run, inputs: npt.NDArray[Any], model: Path) -> tuple[npt.NDArray[Any], Outputs]:
    """The inputs that are kept, and their outputs. Raises BadInputError where these are not finite."""
    pieces = run_each(run, inputs)
    alike = [k for k, piece in enumerate(pieces) if sizes(piece) == sizes(pieces[0])]
    fitting = max(1, SAMPLES_BYTES // (inputs[0].nbytes + sum(output.nbytes for output in pieces[0])))
    places = np.linspace(0, len(alike) - 1, min(fitting, len(alike)), dtype=np.int64)
    kept = [alike[place] for place in places]
    outputs = joined([pieces[k] for k in kept])
    if not all(np.isfinite(output).all() for output in outputs):
        raise BadInputError(f"model {model}: outputs that are not finite; expected numbers: check its weights")
    return inputs[kept], outputs


def _labels(classes: tuple[str, ...], first: npt.NDArray[Any], model: Path) -> tuple[str, ...]:
    """A name for each class of the first output: those given, numbers for probabilities, none for other values."""
    axis = class_axis(first.shape)
    count = 1 if axis is None else first.shape[axis]
    if classes and len(classes) != count:
        raise BadInputError(f"model {model}: {count} outputs for {len(classes)} classes; expected as many")
    numbered = are_scores(first) and are_probabilities(first)
    return classes or (tuple(str(k) for k in range(count)) if numbered else ())


def _readme(variant: str, labels: tuple[str, ...], known: Facts, outputs: Outputs) -> str:
    shape = ["any" if size is None else size for size in known.shape[1:]]
    sound, series = sound_of(known), series_of(known)
    if series is not None:
        of_classes = SERIES_TEXT
    else:
        of_classes = SOUND_TEXT if sound is not None else TEXTS_TEXT if text_of(known) is not None else CLASSES_TEXT
    text = (of_classes if labels and are_scores(outputs[0]) else VALUES_TEXT) + README_END
    words = {"variant": variant, "version": __version__, "dtype": known.dtype, "shape": shape}
    words |= {} if sound is None else {"rate": sound["sample_rate"]}
    words |= {} if series is None else {"columns": ", ".join(series["channels"]) or f"{known.shape[-1]} channels"}
    return text.format(**words, classes=len(labels), outputs=len(outputs))
