"""Makes a bundle: the model, how to open it, its labels, and samples with the outputs expected of them."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.bundle import sample_files
from edgekd.bundle.described import are_probabilities, describe, describe_outputs
from edgekd.bundle.manifest import (
    INFER,
    LABELS,
    MODEL,
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
from edgekd.bundle.preprocessing import kind_of, preprocessing, reader
from edgekd.bundle.readme import readme
from edgekd.bundle.tolerance import are_scores
from edgekd.bundle.tolerance import tolerance as tolerances
from edgekd.data.sample_file import SampleFile
from edgekd.errors import BadInputError
from edgekd.fidelity import class_axis
from edgekd.files import sha256
from edgekd.runner import Run, check_inputs, run_all
from edgekd.session import SessionOptions, check_file, create_session, facts

INTEGER_OPS = frozenset(
    ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger",
     "MatMulInteger", "MatMulNBits")
)  # fmt: skip
"""MatMulNBits too: `edgekd.quantize.weight_only` asks it to round activations, which is left to the kernels."""
SAMPLES_BYTES = 1 << 24
"""Inputs and outputs of samples that are bundled: 16 MiB, so that maps do not outweigh the network; at least one."""


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
    files: Mapping[int, SampleFile] | None = None,
) -> Bundled:
    """Make the bundle beside `folder`, then put it in the place of the one that is there.

    inputs: (n, ...) real samples in the network's own layout and type, n at least 1; the outputs expected of them are
    all outputs of `model` under `options` on this machine, whose instruction set is `isa`. As many are kept as 16 MiB
    hold, of those with outputs of the same size as the first's. classes: may be empty; probabilities are then numbered,
    and other outputs have no labels. tolerance: largest difference of an output elsewhere; None: by the kind of file.
    tuned: what is known of `options` where they are not those that the reports measured. tokenizer: the tokenizer.json
    of a network that takes token numbers; without it infer.py takes these alone. files: row of `inputs` -> the file it
    was read from; of a network whose file says how that was done, a few are bundled, made of the numbers where there
    are none.

    A process killed at any moment leaves no half bundle in `folder`. Killed between the two renames, it leaves the old
    one beside `folder`, from where the next call, or `recover`, puts it back.

    Raises:
        BadInputError: `folder` holds something else than a bundle, or model, inputs and classes do not fit.
        EnvironmentFault: the provider is not there.
        OSError: the disk is full or the folder is read-only; the old bundle is still there.
    """
    with replacing(folder) as new:
        check_file(model)
        integer = is_integer(model)
        sources = {MODEL: model, INFER: Path(__file__).with_name("infer.py"), **{path.name: path for path in reports}}
        for name, source in sources.items():
            shutil.copyfile(source, new / name)
        session = create_session(new / MODEL, options)
        known = facts(session, model)
        said = preprocessing(known.metadata, known.shape)
        kind = kind_of(said)
        if kind is not None:
            shutil.copyfile(reader(kind), new / reader(kind).name)
        if tokenizer is not None:
            _check_tokenizer(tokenizer, said or {}, model)
            shutil.copyfile(tokenizer, new / TOKENIZER)
        samples = check_inputs(inputs, known, model)
        kept, outputs = _expected(run_all(session, known), samples, model)
        samples = samples[kept]
        labels = _labels(classes, outputs[0], model)
        task = known.metadata.get("task")
        described = describe_outputs(
            session, outputs[0], labels, task=task, middle=known.metadata.get("threshold", 0.0)
        )
        texts = {
            TARGET: target_toml,
            SESSION: to_json(describe(options, known, described, isa, tuned=tuned)),
            README: readme(variant, labels, known, outputs, said, tuned=bool(tuned)),
        }
        texts |= {LABELS: to_json(labels)} if labels else {}
        for name, text in texts.items():
            (new / name).write_text(text, encoding="utf-8")
        arrays: dict[str, Any] = {sample_key(index): output for index, output in enumerate(outputs)}
        np.savez(new / SAMPLES, inputs=samples, isa=np.array(isa), **arrays)
        allowed = tolerances(outputs, given=tolerance, integer=integer)
        rows = {row: files[place] for row, place in enumerate(kept) if files and place in files}
        layout = known.metadata.get("input_layout")
        entries = (
            []
            if said is None or kind is None
            else sample_files.write(new, rows, samples, said, layout=layout, model=model)
        )
        manifest = seal(
            new,
            variant=variant,
            samples=len(samples),
            isa=isa,
            tolerance=allowed,
            task=task,
            preprocessing=said,
            sample_files=entries,
        )
    return Bundled(
        variant=variant,
        files={name: file.sha256 for name, file in manifest.files.items()},
        tolerance=allowed.model_dump(),
        samples=manifest.samples,
    )


def _check_tokenizer(path: Path, said: Mapping[str, Any], model: Path) -> None:
    """Refuse a tokenizer that is not the one of the network's training: every number would mean another word."""
    text = said.get("text")
    if not path.is_file():
        raise BadInputError(
            f"tokenizer {path}: no such file; expected the tokenizer.json that {model} was trained with"
        )
    if text is None or text.get("tokenizer_sha256") != sha256(path):
        raise BadInputError(
            f"tokenizer {path}: is not the one that {model} was trained with; expected the tokenizer.json of its run "
            "folder"
        )


def is_integer(model: Path) -> bool:
    """Whether the file computes in int8 anywhere. Raises BadInputError where its weights lie in another file."""
    import onnx

    graph = onnx.load(str(model), load_external_data=False).graph
    if any(tensor.external_data for tensor in graph.initializer):
        raise BadInputError(
            f"model {model}: keeps weights in another file; a bundle holds one: write it with onnx.save_model("
            "onnx.load(path), path, save_as_external_data=False)"
        )
    return any(node.op_type in INTEGER_OPS for node in graph.node)


def _expected(run: Run, inputs: npt.NDArray[Any], model: Path) -> tuple[list[int], Outputs]:
    """The places of the inputs that are kept, and their outputs. Raises BadInputError where these are not finite."""
    pieces = run_each(run, inputs)
    alike = [k for k, piece in enumerate(pieces) if sizes(piece) == sizes(pieces[0])]
    fitting = max(1, SAMPLES_BYTES // (inputs[0].nbytes + sum(output.nbytes for output in pieces[0])))
    places = np.linspace(0, len(alike) - 1, min(fitting, len(alike)), dtype=np.int64)
    kept = [alike[place] for place in places]
    outputs = joined([pieces[k] for k in kept])
    if not all(np.isfinite(output).all() for output in outputs):
        raise BadInputError(f"model {model}: outputs that are not finite; expected numbers: check its weights")
    return kept, outputs


def _labels(classes: tuple[str, ...], first: npt.NDArray[Any], model: Path) -> tuple[str, ...]:
    """A name for each class of the first output: those given, numbers for probabilities, none for other values."""
    axis = class_axis(first.shape)
    count = 1 if axis is None else first.shape[axis]
    if classes and len(classes) != count:
        raise BadInputError(f"model {model}: {count} outputs for {len(classes)} classes; expected as many")
    numbered = are_scores(first) and are_probabilities(first)
    return classes or (tuple(str(k) for k in range(count)) if numbered else ())
