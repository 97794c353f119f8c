"""An ONNX file as a teacher, run on ONNX Runtime with its tensors bound where they lie: no copy to the host and back.

Source: https://onnxruntime.ai/docs/performance/tune-performance/iobinding.html
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.session import METADATA_KEY, check_file, create_session, first_line, import_onnxruntime, native_errors
from edgekd.session_options import SessionOptions
from edgekd.stored_tensors import stored_tensors
from edgekd.teachers.interface import Opened
from edgekd.teachers.pictures import LAYOUTS, Scaling, check_layout, prepare
from edgekd.teachers.tensors import asking

if TYPE_CHECKING:
    import torch
    from torch import Tensor

TYPES = {
    "tensor(uint8)": "uint8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(float16)": "float16",
    "tensor(float)": "float32",
}
"""ONNX Runtime's names of the input types that a teacher may have, and torch's."""


def open_onnx(
    path: Path,
    *,
    data_kind: str,
    sample_shape: tuple[int, ...],
    device: "torch.device",
    scaling: Scaling,
    layout: str | None = None,
    provider: str = "auto",
) -> Opened:
    """The network in an ONNX file: one input, the first output (batch, outputs) of logits or probabilities.

    sample_shape: of one raw sample; (height, width, channels) of images. layout: one of `LAYOUTS`; None takes what
    edgekd's metadata in the file says, else what the input's sizes allow. provider: `cpu`, `cuda`, or
    `auto`: CUDA where `device` is a CUDA device and ONNX Runtime has the provider.

    Raises:
        BadInputError: no ONNX file, an input that does not fit the data, or undeclared scaling of float inputs.
        EnvironmentFault: onnxruntime or the provider is not there.
    """
    import torch

    check_file(path)
    check_layout(layout, data_kind)
    name = _provider(provider, device)
    threads = torch.get_num_threads()
    number = _number(device)
    on_gpu = {"device_id": str(number)} if name.startswith("CUDA") else {}
    options = SessionOptions(provider=name, threads=threads, threads_requested=threads, provider_options=on_gpu)
    session = create_session(path, options)
    shape, dtype = _input(session)
    metadata = _metadata(session)
    channels = sample_shape[-1] if data_kind in LAYOUTS else 1
    arranged = _layout(shape, sample_shape, scaling.resize, layout or metadata.get("input_layout"), kind=data_kind)
    steps = prepare(scaling, data_kind=data_kind, dtype=dtype, layout=arranged, channels=channels)
    place = torch.device("cuda", number) if on_gpu else torch.device("cpu")
    bound = _Bound(session, device=place, fixed=shape[0] if shape else None)

    def on_device(batch: "Tensor") -> "Tensor":
        return bound(steps(batch)).to(batch.device)

    classes = metadata.get("classes")
    return Opened(
        name=path.name,
        ask=asking(on_device, data_kind=data_kind, device=device),
        on_device=on_device,
        classes=tuple(classes) if isinstance(classes, list) else None,
        parameters=_parameters(path),
        runs_on=_elsewhere(name, device, wanted=provider),
    )


def _number(device: "torch.device") -> int:
    """Which GPU the training is on: tensors of another could not be bound."""
    import torch

    if device.type != "cuda":
        return 0
    return torch.cuda.current_device() if device.index is None else device.index


def _elsewhere(name: str, device: "torch.device", *, wanted: str) -> str | None:
    """Words for a report where the teacher does not run on the training's device."""
    runs_on = name.removesuffix("ExecutionProvider")
    if runs_on.lower() == device.type:
        return None
    why = (
        "as teacher.provider says"
        if wanted != "auto"
        else ("which is slow: this onnxruntime has no CUDA provider; install edgekd[gpu] in place of edgekd[cpu]")
    )
    return f"{runs_on}, and training is on {device.type.upper()}, {why}"


def _provider(wanted: str, device: "torch.device") -> str:
    available = import_onnxruntime().get_available_providers()
    there = "CUDAExecutionProvider" in available
    if wanted == "cuda" and not there:
        raise EnvironmentFault(
            f"teacher.provider = 'cuda', and this onnxruntime has only {', '.join(available)}; install "
            '"edgekd[gpu]", or set provider = "cpu"'
        )
    return (
        "CUDAExecutionProvider"
        if there and (wanted == "cuda" or (wanted == "auto" and device.type == "cuda"))
        else ("CPUExecutionProvider")
    )


def _input(session: Any) -> tuple[tuple[int | None, ...], str]:
    """The sizes, None where they are dynamic, and torch's name of the type of the one input."""
    inputs = session.get_inputs()
    if len(inputs) != 1:
        names = ", ".join(each.name for each in inputs)
        raise BadInputError(f"has {len(inputs)} inputs ({names}); expected a network with one")
    if inputs[0].type not in TYPES:
        raise BadInputError(f"input '{inputs[0].name}' is {inputs[0].type}; expected {', '.join(TYPES)}")
    return tuple(size if isinstance(size, int) and size > 0 else None for size in inputs[0].shape), TYPES[
        inputs[0].type
    ]


def _metadata(session: Any) -> dict[str, Any]:
    """What edgekd wrote into the file of itself; empty for a file that it did not write."""
    import json

    raw = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY, "{}")
    try:
        found = json.loads(raw)
    except ValueError as err:
        raise BadInputError(f"its '{METADATA_KEY}' metadata is no JSON ({err}); export it again") from err
    return found if isinstance(found, dict) else {}


def _layout(
    shape: tuple[int | None, ...],
    sample: tuple[int, ...],
    resize: tuple[int, int] | None,
    said: str | None,
    *,
    kind: str,
) -> str:
    """The layout of images and series, checked against the sizes of the input; anything else is checked alone."""
    if kind not in LAYOUTS:
        if not _fits(shape, sample):
            raise BadInputError(f"takes {_sizes(shape)} a sample, the data has {_sizes((None, *sample))}")
        return ""
    *sizes, channels = (*resize, sample[2]) if resize and kind == "image" else sample
    arranged = dict(zip(LAYOUTS[kind], ((*sizes, channels), (channels, *sizes)), strict=True))
    possible = [name for name, sizes in arranged.items() if _fits(shape, sizes)]
    if said is not None and said in possible:
        return said
    if said is None and len(possible) == 1:
        return possible[0]
    has = f"{'images' if kind == 'image' else 'windows'} of {'x'.join(map(str, (*sizes, channels)))}"
    last, first = LAYOUTS[kind]
    if said is None and possible:
        raise BadInputError(
            f"its input's sizes {_sizes(shape)} do not tell the layout of {has}; set teacher.layout to '{first}' "
            f"(channels first, as PyTorch's convolutions) or '{last}' (channels last, as TensorFlow's)"
        )
    size = "data.resize or teacher.resize" if kind == "image" else "data.series.window"
    raise BadInputError(
        f"takes {_sizes(shape)} a sample, the data has {has} ({'height, width' if kind == 'image' else 'length'}, "
        f"channels){'' if said is None else f' in layout {said}'}; set {size} to its size, or teacher.layout to its "
        "layout"
    )


def _fits(shape: tuple[int | None, ...], sizes: tuple[int, ...]) -> bool:
    pairs = zip(shape[1:], sizes, strict=False)
    return len(shape) == len(sizes) + 1 and all(want is None or want == got for want, got in pairs)


def _sizes(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join('any' if size is None else str(size) for size in shape[1:])})"


def _parameters(path: Path) -> int:
    """Numbers in the initializers of floating type and of integer weights: at least those that training set."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    return sum(math.prod(tensor.dims) for tensor in stored_tensors(model) if len(tensor.dims) > 0)


class _Bound:
    """A session that reads torch's tensor and writes into another, on the CPU or a CUDA device.

    fixed: the batch that the network takes, None for any; a smaller one is filled up with its own last sample.
    """

    def __init__(self, session: Any, *, device: "torch.device", fixed: int | None) -> None:
        self.session, self.device, self.fixed = session, device, fixed
        self.input, self.output = session.get_inputs()[0].name, session.get_outputs()[0].name
        self.failures: tuple[type[Exception], ...] = (*native_errors(), RuntimeError)

    def __call__(self, batch: "Tensor") -> "Tensor":
        """(batch, ...) in the network's own layout and type -> (batch, outputs) float32 on the session's device."""
        import torch

        batch = batch.to(self.device)
        if self.fixed is None or len(batch) == self.fixed:
            return self._run(batch)
        filled = torch.cat([batch, batch[-1:].expand(-len(batch) % self.fixed, *batch.shape[1:])])
        pieces = torch.split(filled, self.fixed)
        return torch.cat([self._run(piece.contiguous()) for piece in pieces])[: len(batch)]

    def _run(self, batch: "Tensor") -> "Tensor":
        import torch

        binding, place, number = self.session.io_binding(), self.device.type, self.device.index or 0
        dtype = np.dtype(str(batch.dtype).removeprefix("torch."))
        if batch.is_cuda:
            torch.cuda.synchronize(batch.device)  # ONNX Runtime's own stream must find the batch whole
        try:
            binding.bind_input(self.input, place, number, dtype, tuple(batch.shape), batch.data_ptr())
            binding.bind_output(self.output, "cpu")  # K numbers a sample: nothing beside its inputs
            self.session.run_with_iobinding(binding)
        except self.failures as err:
            raise BadInputError(f"ONNX Runtime cannot run it on {tuple(batch.shape)}: {first_line(err)}") from err
        binding.synchronize_outputs()
        value = binding.copy_outputs_to_cpu()[0]
        return torch.from_numpy(np.asarray(value, dtype=np.float32).copy()).to(batch.device)
