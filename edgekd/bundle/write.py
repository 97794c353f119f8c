"""Makes a bundle: the model, how to open it, its labels, and samples with the outputs expected of them."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd import __version__
from edgekd.bundle.manifest import INFER, LABELS, MODEL, README, SAMPLES, SESSION, TARGET, Tolerance, seal, to_json
from edgekd.bundle.outputs import Outputs, run_each
from edgekd.bundle.place import replacing
from edgekd.errors import BadInputError
from edgekd.session import (
    Facts,
    SessionOptions,
    check_file,
    check_inputs,
    create_session,
    facts,
    import_onnxruntime,
    runner,
)

INTEGER_OPS = frozenset(
    ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger",
     "MatMulInteger")
)  # fmt: skip
FLOAT_SHARE = 1e-3
"""Of the outputs' range: the order of float sums differs between kernels, and fp16 may be computed in fp32 or fp16."""
INTEGER_SHARE = 0.05
"""Of the outputs' range: int8 kernels of other instruction sets saturate and round otherwise, by a step or a few."""
SMALLEST_TOLERANCE = 1e-3
INTEGER_MISSES = 16
"""One in so many samples of an int8 file may change its class on another instruction set."""

README_TEXT = """\
{variant} classifier of {classes} classes, bundled by edgekd {version}.

python infer.py              run the samples, compare with the outputs expected of them (needs onnxruntime, numpy)
python infer.py image.npy    the three best labels of one image, {dtype} {shape}, saved with numpy.save
edgekd verify .              hashes and outputs on this machine

manifest.json tells whether a file changed by accident; it is not signed, so it does not tell who wrote it.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundled:
    """What was written. files: name -> SHA-256; max_difference: allowed of an output elsewhere; samples: how many."""

    variant: str
    files: Mapping[str, str]
    max_difference: float
    top1_misses: int
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
) -> Bundled:
    """Make the bundle beside `folder`, then put it in the place of the one that is there.

    inputs: (n, ...) real samples in the network's own layout and type, n at least 1; the outputs expected of them are
    those of `model` under `options` on this machine, whose instruction set is `isa`. classes: may be empty, then they
    are numbered. tolerance: largest difference of an output elsewhere; None: by the kind of file.

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
        samples = check_inputs(inputs, known, model)
        outputs = _check_outputs(run_each(runner(session, known), samples), model)
        labels = _labels(classes, outputs, model)
        texts = {
            TARGET: target_toml,
            SESSION: to_json(_describe(options, known, outputs, isa)),
            LABELS: to_json(labels),
            README: _readme(variant, labels, known),
        }
        for name, text in texts.items():
            (new / name).write_text(text, encoding="utf-8")
        np.savez(new / SAMPLES, inputs=samples, outputs=outputs, isa=np.array(isa))
        allowed = _tolerance(outputs, tolerance, integer=integer)
        manifest = seal(new, variant=variant, samples=len(outputs), isa=isa, tolerance=allowed)
    return Bundled(
        variant=variant,
        files={name: file.sha256 for name, file in manifest.files.items()},
        max_difference=allowed.max_difference,
        top1_misses=allowed.top1_misses,
        samples=manifest.samples,
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


def _check_outputs(outputs: Outputs, model: Path) -> Outputs:
    if outputs.ndim != 2 or not np.isfinite(outputs).all():
        raise BadInputError(f"model {model}: outputs {outputs.shape} or not finite; expected finite (samples, classes)")
    return outputs


def _labels(classes: tuple[str, ...], outputs: Outputs, model: Path) -> tuple[str, ...]:
    labels = classes or tuple(str(k) for k in range(outputs.shape[1]))
    if len(labels) != outputs.shape[1]:
        raise BadInputError(f"model {model}: {outputs.shape[1]} outputs for {len(labels)} classes; expected as many")
    return labels


def _describe(options: SessionOptions, known: Facts, outputs: Outputs, isa: str) -> dict[str, Any]:
    """session.json: the options as `verify` reads them, and in ONNX Runtime's own words for infer.py."""
    probabilities = bool(outputs.min() >= 0 and np.allclose(outputs.sum(axis=1), 1, atol=1e-3))
    level = options.graph_optimization.upper()
    spinning = {"session.intra_op.allow_spinning": "1" if options.spinning else "0"}
    return {
        "options": options.as_dict(),
        "session_config": spinning | dict(options.session_config),
        "graph_optimization_level": "ORT_DISABLE_ALL" if level == "DISABLE" else f"ORT_ENABLE_{level}",
        "input": {
            "name": known.input_name,
            "dtype": known.dtype,
            "shape": known.shape,
            "layout": known.metadata.get("input_layout"),
        },
        "output": {"name": known.output_name, "kind": "probabilities" if probabilities else "logits"},
        "isa": isa,
        "onnxruntime": import_onnxruntime().__version__,
    }


def _readme(variant: str, labels: tuple[str, ...], known: Facts) -> str:
    shape = list(known.shape[1:])
    return README_TEXT.format(variant=variant, classes=len(labels), version=__version__, dtype=known.dtype, shape=shape)


def _tolerance(outputs: Outputs, given: float | None, *, integer: bool) -> Tolerance:
    share = INTEGER_SHARE if integer else FLOAT_SHARE
    default = SMALLEST_TOLERANCE + share * float(np.ptp(outputs))
    return Tolerance(
        max_difference=default if given is None else given,
        top1_misses=len(outputs) // INTEGER_MISSES if integer else 0,
    )
