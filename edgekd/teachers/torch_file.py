"""TorchScript (.pt) and torch.export programs (.pt2) as teachers.

What they may do on the machine that loads them, as of torch 2.13:

- `torch.jit.load` reads a TorchScript archive with a reader of its own, which builds tensors and TorchScript's own
  types and no Python objects. Its graph is still a program: operators such as aten::save and aten::from_file write and
  map files, and code of the archive can run while it is loaded (__setstate__). An archive whose code, which it holds as
  text, names one of them is refused before it is loaded, unless `trust = true`.
- `torch.export.load` unpickles: weights and constants that its archive marks as pickled go through `torch.load` with
  weights_only=False and `pickle.loads` (torch/export/pt2_archive/_package.py), and sample inputs fall back to it. Such
  a file runs whatever its maker wants, so every .pt2 needs `trust = true`.
- Plain pickles (`torch.save` of a module or a state dict) are never loaded.
"""

import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekd.errors import BadInputError
from edgekd.session import first_line
from edgekd.teachers.interface import Opened
from edgekd.teachers.pictures import LAYOUTS, Scaling, check_layout, default_dtype, default_layout, prepare
from edgekd.teachers.tensors import asking

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import Tensor

FILE_OPERATORS = re.compile(rb"\b(save|from_file)\b")
"""Operators of TorchScript that read or write files by name: all that torch 2.13 registers."""


def open_torchscript(
    path: Path,
    *,
    data_kind: str,
    sample_shape: tuple[int, ...],
    device: "torch.device",
    scaling: Scaling,
    layout: str | None = None,
    dtype: str | None = None,
    trust: bool = False,
) -> Opened:
    """The module in a TorchScript archive; one input, one output (batch, outputs).

    layout: of its images, `nchw` or `nhwc`, or its windows, `nlc` or `ncl`; None for `nchw` and `nlc`. dtype: torch's
    name of its input: `uint8` takes raw pixels, a float type takes them as `scaling` declares; None for float32, and
    int64 of texts. trust: also load a graph that reads or writes files.

    Raises:
        BadInputError: no such file, a plain pickle, no TorchScript, or a graph with operators on files.
    """
    import torch

    _check_archive(path, trust=trust)
    try:
        module = _quiet(lambda: torch.jit.load(str(path), map_location="cpu"))  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError, OSError) as err:
        raise BadInputError(
            f"torch.jit.load cannot read it: {first_line(err)}; save it again with torch.jit.save"
        ) from err
    steps = _steps(scaling, data_kind=data_kind, sample_shape=sample_shape, layout=layout, dtype=dtype)
    return _opened(path, module.eval().to(device), steps, data_kind=data_kind, device=device)


def open_program(
    path: Path,
    *,
    data_kind: str,
    sample_shape: tuple[int, ...],
    device: "torch.device",
    scaling: Scaling,
    layout: str | None = None,
    dtype: str | None = None,
    trust: bool = False,
) -> Opened:
    """The program in a torch.export archive (.pt2), with a dynamic batch; as `open_torchscript`.

    Raises:
        BadInputError: no trust, no such file, or no program in it.
    """
    import torch

    if not trust:
        raise BadInputError(
            "is a torch.export archive, and torch.export.load unpickles parts of it, which can run any code; set "
            "teacher.trust = true if you made the file or trust who did, or export the teacher to ONNX"
        )
    _check_zip(path)
    try:
        program = _quiet(lambda: torch.export.load(str(path)))
        module = program.module().to(device)
    except (RuntimeError, ValueError, OSError, KeyError, AssertionError) as err:
        raise BadInputError(f"torch.export.load cannot read it: {first_line(err)}; save it again") from err
    steps = _steps(scaling, data_kind=data_kind, sample_shape=sample_shape, layout=layout, dtype=dtype)
    return _opened(path, module, steps, data_kind=data_kind, device=device)


def _opened(
    path: Path, module: Any, steps: "Callable[[Tensor], Tensor]", *, data_kind: str, device: "torch.device"
) -> Opened:
    import torch

    failures = (RuntimeError, ValueError, TypeError, AssertionError, IndexError, torch.jit.Error)

    def on_device(batch: "Tensor") -> "Tensor":
        ready = steps(batch)
        try:
            with torch.no_grad():
                answer = module(ready)
        except failures as err:
            hint = f"it was given {str(ready.dtype).removeprefix('torch.')} of shape {tuple(ready.shape)}"
            raise BadInputError(f"does not run: {_last_line(err)} ({hint}; see teacher.layout, dtype, resize)") from err
        if not isinstance(answer, torch.Tensor):
            raise BadInputError(f"returns a {type(answer).__name__}; expected one tensor (batch, outputs)")
        return answer

    return Opened(
        name=path.name,
        ask=asking(on_device, data_kind=data_kind, device=device),
        on_device=on_device,
        parameters=sum(value.numel() for value in module.parameters()),
    )


def _quiet(load: "Callable[[], Any]") -> Any:
    """What `load` gives, without torch's notes on the age of its formats."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load()


def _steps(
    scaling: Scaling, *, data_kind: str, sample_shape: tuple[int, ...], layout: str | None, dtype: str | None
) -> "Callable[[Tensor], Tensor]":
    check_layout(layout, data_kind)
    return prepare(
        scaling,
        data_kind=data_kind,
        dtype=dtype or default_dtype(data_kind),
        layout=layout or default_layout(data_kind),
        channels=sample_shape[-1] if data_kind in LAYOUTS else 1,
    )


def _check_zip(path: Path) -> list[str]:
    if not path.is_file():
        raise BadInputError(f"{path}: no such file")
    if not zipfile.is_zipfile(path):
        raise BadInputError(
            f"{path}: is no archive of torch's (old TorchScript, a pickle, or cut short); plain pickles are never "
            "loaded: save it with torch.jit.save, or export it to ONNX"
        )
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def _check_archive(path: Path, *, trust: bool) -> None:
    """Refuse what torch.save wrote, as a TorchScript archive has code beside its constants, and code on files."""
    code = [name for name in _check_zip(path) if name.split("/", 1)[-1].startswith("code/")]
    if not code:
        raise BadInputError(
            f"{path}: is no TorchScript but a plain pickle (torch.save) or another archive, which could run code and "
            "is never loaded; save the module with torch.jit.script or trace, and torch.jit.save"
        )
    with zipfile.ZipFile(path) as archive:
        found = [match for name in code if (match := FILE_OPERATORS.search(archive.read(name)))]
    if found and not trust:
        raise BadInputError(
            f"its code names '{found[0][0].decode()}', which reads or writes files; a classifier has no need to. Set "
            "teacher.trust = true if you know where the file comes from"
        )


def _last_line(err: BaseException) -> str:
    """TorchScript's errors end with what went wrong, after a traceback of its own."""
    lines = [line for line in str(err).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(err).__name__
