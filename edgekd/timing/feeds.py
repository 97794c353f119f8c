"""What a network is fed with while it is timed: real samples, or random numbers that say so. Opens no session."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.data.for_model import data_for_model
from edgekd.data.reading import Reading
from edgekd.errors import BadInputError
from edgekd.runner import check_inputs
from edgekd.session import METADATA_KEY, Facts, check_file, longest, takes

Feeds = Mapping[str, npt.NDArray[Any]]
"""Input name -> (count, batch, ...): `count` batches, taken in turn, because latency may depend on the data."""

COUNT = 64
MAX_BYTES = 1 << 26
"""Of one network's batches together: more of them would only cool the caches of the machine."""

RANDOM = "random numbers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One input as the file declares it. shape: a number where it is fixed, else its name or None."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]


def inputs_of(path: Path) -> tuple[Input, ...]:
    """The inputs that a caller has to feed, in the file's order, read without ONNX Runtime.

    Raises:
        BadInputError: no ONNX file, or an input that is no tensor of numbers.
    """
    import onnx

    check_file(path)
    graph = onnx.load(str(path), load_external_data=False).graph
    stored = {tensor.name for tensor in graph.initializer}
    found = []
    for value in graph.input:
        if value.name in stored:
            continue
        tensor = value.type.tensor_type
        if not value.type.HasField("tensor_type") or tensor.elem_type in (0, onnx.TensorProto.STRING):
            raise BadInputError(f"model {path}: input '{value.name}' is no tensor of numbers; it cannot be timed")
        dims = (dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in tensor.shape.dim)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        found.append(Input(name=value.name, dtype=np.dtype(dtype).name, shape=tuple(dims)))
    if not found:
        raise BadInputError(f"model {path}: has no input; expected a network that takes something")
    return tuple(found)


def feeds_for(
    path: Path,
    *,
    source: Path | None = None,
    reading: Reading | None = None,
    batch_size: int = 1,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    count: int = COUNT,
    seed: int = 0,
) -> tuple[Feeds, str]:
    """Up to `count` batches for the network at `path`, and where they come from.

    source: data as `edgekd validate` takes it, read as `reading` says; its first samples are used, in their order, so
    that two networks get the same. None: random numbers, the same for the same seed and shape; whole numbers are 0 or
    1, in any vocabulary. shapes: the whole shape of an input, batch included, where the file leaves sizes open.

    Raises:
        BadInputError: data that does not fit, a batch larger than the data, an unknown size that no shape names, a
            shape that contradicts the file or names no input.
    """
    inputs = inputs_of(path)
    known = dict(shapes or {})
    strangers = sorted(known.keys() - {i.name for i in inputs})
    if strangers:
        names = ", ".join(i.name for i in inputs)
        raise BadInputError(f"--shape {strangers[0]}: model {path} has no such input; it has: {names}")
    if source is not None:
        return _real(path, inputs, source, reading, batch_size, known, count)
    rng = np.random.default_rng(seed)
    sizes = {i.name: _shape(_longest(i, path), known.get(i.name), batch_size, path) for i in inputs}
    largest = max(sum(_bytes(i, sizes[i.name]) for i in inputs), 1)
    several = max(1, min(count, MAX_BYTES // largest))
    return {i.name: _random(rng, i, (several, *sizes[i.name])) for i in inputs}, RANDOM


def _real(
    path: Path,
    inputs: tuple[Input, ...],
    source: Path,
    reading: Reading | None,
    batch_size: int,
    shapes: Mapping[str, tuple[int, ...]],
    count: int,
) -> tuple[Feeds, str]:
    if len(inputs) > 1:
        names = ", ".join(i.name for i in inputs)
        raise BadInputError(
            f"model {path}: has {len(inputs)} inputs ({names}), and data for one can be read; "
            "leave out --data to time it with random numbers"
        )
    (only,) = inputs
    declared = shapes.get(only.name) or only.shape
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in declared)
    batch = shape[0] if shape and shape[0] is not None else batch_size
    known = Facts(input_name=only.name, shape=shape, dtype=only.dtype, output_name="", metadata=_metadata(path))
    wanted = replace(takes(known, path), shape=(None, *shape[1:]))
    found = data_for_model(source, wanted, reading=reading, train_limit=0).test.inputs
    if len(found) < batch:
        raise BadInputError(
            f"batch size {batch} is larger than the data ({len(found)} samples in {source}); bring more samples, or "
            "choose a smaller batch"
        )
    several = max(1, min(count, len(found) // batch, MAX_BYTES // max(1, found[:batch].nbytes)))
    samples = check_inputs(found[: several * batch], known, path)
    return {only.name: samples.reshape(several, batch, *samples.shape[1:])}, str(source)


def _longest(declared: Input, path: Path) -> Input:
    """The input with the length that texts are padded to, where the file leaves it open and says it."""
    sizes = tuple(size if isinstance(size, int) and size > 0 else None for size in declared.shape)
    if len(sizes) != 2 or sizes[1] is not None:
        return declared
    known = Facts(input_name="", shape=sizes, dtype=declared.dtype, output_name="", metadata=_metadata(path))
    length = longest(known)[1]
    return declared if length is None else replace(declared, shape=(declared.shape[0], length))


def _metadata(path: Path) -> dict[str, Any]:
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    raw = next((entry.value for entry in model.metadata_props if entry.key == METADATA_KEY), "{}")
    try:
        found = json.loads(raw)
    except json.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise BadInputError(f"model {path}: its '{METADATA_KEY}' metadata is no JSON object; export it again")
    return found


def _shape(declared: Input, given: tuple[int, ...] | None, batch_size: int, path: Path) -> tuple[int, ...]:
    if given is not None:
        _agrees(declared, given, path)
        return given
    shape = [size if isinstance(size, int) and size > 0 else None for size in declared.shape]
    if shape and shape[0] is None:
        shape[0] = batch_size  # the first dimension is the batch wherever it is open
    unknown = [str(declared.shape[i] or f"dimension {i}") for i, size in enumerate(shape) if size is None]
    if unknown:
        example = ",".join("?" if size is None else str(size) for size in shape)
        raise BadInputError(
            f"model {path}: input '{declared.name}' leaves {', '.join(unknown)} open; expected every size: "
            f"say --shape {declared.name}={example} with numbers for the question marks"
        )
    return tuple(size for size in shape if size is not None)


def _agrees(declared: Input, given: tuple[int, ...], path: Path) -> None:
    fixed = declared.shape
    fits = len(fixed) == len(given) and all(
        not isinstance(want, int) or want <= 0 or want == got for want, got in zip(fixed, given, strict=True)
    )
    if not fits or min(given, default=1) < 1:
        says = ",".join("?" if size is None else str(size) for size in fixed)
        raise BadInputError(
            f"--shape {declared.name}={','.join(map(str, given))}: input '{declared.name}' of model {path} is "
            f"({says}); expected the same number of sizes, all above 0 and equal where the file fixes them"
        )


def _bytes(declared: Input, shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(declared.dtype).itemsize


def _random(rng: np.random.Generator, declared: Input, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    dtype = np.dtype(declared.dtype)
    if dtype == np.uint8:
        return rng.integers(0, 256, shape, dtype=np.uint8)
    if dtype.kind in "iub":
        return rng.integers(0, 2, shape).astype(dtype)
    return rng.standard_normal(shape, dtype=np.float32).astype(dtype)


def digest(feeds: Feeds) -> str:
    """SHA-256 of the inputs' types, shapes and values in order; not of their names, which two files may not share."""
    made = hashlib.sha256()
    for values in feeds.values():
        made.update(f"{values.dtype.name} {values.shape};".encode())
        made.update(np.ascontiguousarray(values).tobytes())
    return made.hexdigest()
