"""An ONNX Runtime session as a target asks for it, and what the model's file says of itself. No torch here."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekd.data.takes import Takes
from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.session_options import (
    LEVELS,
    MODES,
    SessionOptions,
    chosen_options,
    lingers,
    options_for,
    read_options,
    within,
)
from edgekd.stored_tensors import stored_tensors

if TYPE_CHECKING:
    import onnxruntime

__all__ = [
    "METADATA_KEY",
    "Facts",
    "SessionOptions",
    "check_file",
    "chosen_options",
    "create_session",
    "facts",
    "first_line",
    "import_onnxruntime",
    "is_numbers",
    "lingers",
    "longest",
    "native_errors",
    "open_session",
    "options_for",
    "read_options",
    "takes",
    "within",
]

METADATA_KEY = "edgekd"
INPUT_TYPES = {
    "tensor(uint8)": np.uint8,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int16)": np.int16,  # sound
    "tensor(int32)": np.int32,  # token numbers
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What an ONNX network's file says: its one input, its first output, and edgekd's metadata where it wrote it.

    shape: sizes of the input, None where they are dynamic. dtype: numpy's name of the input type.
    """

    input_name: str
    shape: tuple[int | None, ...]
    dtype: str
    output_name: str
    metadata: Mapping[str, Any]


def import_onnxruntime() -> Any:
    """The onnxruntime module, quiet.

    Raises:
        EnvironmentFault: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError as err:
        raise EnvironmentFault(
            f'onnxruntime cannot be imported ({err}); install one of: pip install "edgekd[cpu]" or "edgekd[gpu]"'
        ) from err
    onnxruntime.set_default_logger_severity(3)
    return onnxruntime


def open_session(path: Path, options: SessionOptions) -> "onnxruntime.InferenceSession":
    """A session for a file that is checked first.

    Raises:
        BadInputError: the file is missing, empty, corrupt, or points to data outside its folder.
        EnvironmentFault: the provider is not there or did not start.
    """
    check_file(path)
    return create_session(path, options)


def create_session(
    path: Path, options: SessionOptions, *, profiling: Path | None = None, optimized: Path | None = None
) -> "onnxruntime.InferenceSession":
    """A session on exactly the provider that was asked for.

    ONNX Runtime moves to the CPU when a provider cannot start and says so in a log line only; here that is an error.
    profiling: how the names of its profile's files start; None does not profile, which costs time. optimized: where
    ONNX Runtime writes the graph that it runs, with large weights in a file beside it.

    Raises:
        BadInputError: ONNX Runtime cannot load the file.
        EnvironmentFault: the provider is not there or did not start.
    """
    ort = import_onnxruntime()
    available = ort.get_available_providers()
    if options.provider not in available:
        raise EnvironmentFault(
            f"provider {options.provider} is not in this onnxruntime (it has: {', '.join(available)}); "
            'install "edgekd[gpu]" for CUDA, or choose another target'
        )
    if options.provider.startswith("CUDA") and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # finds the CUDA libraries that pip installed, with torch or beside it
    # RuntimeError is what an entry of session_config without sense gets, such as too few affinities.
    failures: tuple[type[Exception], ...] = (*native_errors(), RuntimeError)
    try:
        session = ort.InferenceSession(
            str(path),
            sess_options=_native(ort, options, profiling, optimized),
            providers=[(options.provider, dict(options.provider_options))],
            enable_fallback=0,  # it would go on with the CPU, and say so on stdout
        )
    except failures as err:
        if options.provider != "CPUExecutionProvider":
            raise EnvironmentFault(
                f"{options.provider} cannot run {path}: {first_line(err)}; see `edgekd doctor`"
            ) from err
        raise BadInputError(f"model {path}: ONNX Runtime cannot load it: {first_line(err)}") from err
    if session.get_providers()[0] != options.provider:
        raise EnvironmentFault(
            f"{options.provider} was asked for, {session.get_providers()[0]} would have run; "
            "see `edgekd doctor` for what is missing"
        )
    return session


def native_errors() -> tuple[type[Exception], ...]:
    """The errors of a bad file: a list by name, because ONNX Runtime gives them no parent but Exception itself."""
    state = import_onnxruntime().capi.onnxruntime_pybind11_state
    names = ("Fail", "InvalidGraph", "InvalidProtobuf", "InvalidArgument", "NoSuchFile", "NotImplemented", "NoModel",
             "ModelLoaded", "RuntimeException")  # fmt: skip
    return tuple(getattr(state, name) for name in names if hasattr(state, name))


def first_line(err: BaseException) -> str:
    """The first line of an error's message: ONNX Runtime and its quantizers append whole graphs."""
    return (str(err).splitlines() or [""])[0]


def _native(ort: Any, options: SessionOptions, profiling: Path | None, optimized: Path | None) -> Any:
    native = ort.SessionOptions()
    native.log_severity_level = 4  # what fails raises, with the same words: the log would only say it twice
    native.intra_op_num_threads = options.threads
    native.inter_op_num_threads = options.inter_op_threads
    native.execution_mode = getattr(ort.ExecutionMode, MODES[options.execution_mode])
    native.enable_cpu_mem_arena = options.arena
    native.enable_mem_pattern = options.mem_pattern
    native.graph_optimization_level = getattr(ort.GraphOptimizationLevel, LEVELS[options.graph_optimization])
    native.add_session_config_entry("session.intra_op.allow_spinning", "1" if options.spinning else "0")
    for key, value in options.session_config.items():
        native.add_session_config_entry(key, value)
    if profiling is not None:
        native.enable_profiling = True
        native.profile_file_prefix = str(profiling)
    if optimized is not None:
        native.optimized_model_filepath = str(optimized)
        # a protobuf holds at most 2 GB, so weights go to a file of their own
        native.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights.bin")
        native.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
    return native


def check_file(path: Path) -> None:
    """Raise BadInputError for what ONNX Runtime would read silently: no bytes, weights from outside the folder."""
    import onnx
    from google.protobuf.message import DecodeError  # protobuf is how onnx reads its files

    if not path.is_file():
        raise BadInputError(f"model {path}: no such file; expected an .onnx file")
    if path.stat().st_size == 0:
        raise BadInputError(f"model {path}: is empty; expected an .onnx file")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except (ValueError, OSError, RuntimeError, DecodeError) as err:
        raise BadInputError(f"model {path}: not a whole ONNX file ({err})") from err
    if not model.graph.node:
        raise BadInputError(f"model {path}: has no nodes; expected an ONNX network")
    folder = path.resolve().parent
    for tensor in stored_tensors(model):
        for entry in tensor.external_data:
            if entry.key == "location" and not (folder / entry.value).resolve().is_relative_to(folder):
                raise BadInputError(
                    f"model {path}: tensor '{tensor.name or 'without a name'}' points to data outside the model's "
                    f"folder ('{entry.value}'); keep the data file beside the model"
                )


def facts(session: "onnxruntime.InferenceSession", path: Path) -> Facts:
    """What the network takes and gives.

    Raises:
        BadInputError: more than one input, an input of another type than INPUT_TYPES or without a batch, a first output
            that is no tensor of numbers, or metadata under edgekd's name that edgekd did not write.
    """
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1:
        names = ", ".join(i.name for i in inputs)
        raise BadInputError(f"model {path}: has {len(inputs)} inputs ({names}); expected a network with one")
    if inputs[0].type not in INPUT_TYPES:
        raise BadInputError(
            f"model {path}: input '{inputs[0].name}' is {inputs[0].type}; expected {', '.join(INPUT_TYPES)}"
        )
    if not inputs[0].shape:
        raise BadInputError(
            f"model {path}: input '{inputs[0].name}' has no sizes in the file; expected (batch, ...), where any size "
            "may be dynamic: write the input's shape into the file"
        )
    if not is_numbers(outputs[0].type):
        raise BadInputError(
            f"model {path}: output '{outputs[0].name}' is {outputs[0].type}; expected numbers, such as scores "
            "(batch, classes)"
        )
    return Facts(
        input_name=inputs[0].name,
        shape=tuple(size if isinstance(size, int) and size > 0 else None for size in inputs[0].shape),
        dtype=np.dtype(INPUT_TYPES[inputs[0].type]).name,
        output_name=outputs[0].name,
        metadata=_metadata(session, path),
    )


def _metadata(session: "onnxruntime.InferenceSession", path: Path) -> dict[str, Any]:
    raw = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY, "{}")
    try:
        metadata = json.loads(raw)
    except json.JSONDecodeError as err:
        raise BadInputError(f"model {path}: its '{METADATA_KEY}' metadata is no JSON ({err}); export it again") from err
    if not isinstance(metadata, dict):
        raise BadInputError(f"model {path}: its '{METADATA_KEY}' metadata is no JSON object; export it again")
    classes, threshold = metadata.get("classes") or [], metadata.get("threshold", 0.0)
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise BadInputError(
            f"model {path}: its classes are {classes!r:.100}; expected a list of names; export it again"
        )
    if type(threshold) not in (int, float) or not math.isfinite(threshold):
        raise BadInputError(f"model {path}: its threshold is {threshold!r:.100}; expected a number; export it again")
    return metadata


def longest(known: Facts) -> tuple[int | None, ...]:
    """The shape of the input; of texts, whose length is open, with the most tokens that the network was trained on."""
    said = known.metadata.get("preprocessing")
    text = said.get("text") if isinstance(said, Mapping) else None
    if len(known.shape) != 2 or known.shape[1] is not None or not isinstance(text, Mapping):
        return known.shape
    return known.shape[0], int(text["max_tokens"])


def takes(known: Facts, path: Path) -> Takes:
    """What a reader of data has to know of the network, from its file."""
    said, classes = known.metadata.get("preprocessing"), known.metadata.get("classes")
    return Takes(
        shape=known.shape,
        dtype=known.dtype,
        classes=tuple(classes) if classes else None,
        layout=known.metadata.get("input_layout"),
        preprocessing=said if isinstance(said, Mapping) else {},
        model=path,
        several=known.metadata.get("task") == "multi-label",
    )


def is_numbers(kind: str) -> bool:
    """Whether ONNX Runtime's name of a type is that of a tensor of numbers, not of words or of a sequence."""
    return kind.startswith("tensor(") and kind != "tensor(string)"
