"""The user's own network, loaded from `path/to/file.py:callable`."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

from torch import nn

from edgekd.errors import BadInputError

# What the user's code can raise by itself; memory, interruption and exit pass through.
USER_FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)


def load_own(name: str, *, num_classes: int, in_channels: int, options: Mapping[str, float | int | str]) -> nn.Module:
    """The network that the user's callable returns for (num_classes=, in_channels=, **options).

    The file is executed. It may import installed packages, not the files beside it.

    Args:
        name: `path/to/file.py:callable`.
        num_classes: K, the number of logits.
        in_channels: channels of the input image.
        options: further keywords for the callable.

    Raises:
        BadInputError: no such file or callable, it does not take these keywords, it raises, or what it
            returns is not an `nn.Module`.
    """
    path, attribute = _split(name)
    function = _callable(_execute(path), path=path, attribute=attribute)
    keywords = {"num_classes": num_classes, "in_channels": in_channels, **options}
    _check_signature(function, name=name, keywords=keywords)
    try:
        network = function(**keywords)
    except USER_FAULTS as err:
        raise BadInputError(_fault(path, f"{attribute}(...) failed", err)) from err
    if not isinstance(network, nn.Module):
        raise BadInputError(
            f"{name} returned a {type(network).__name__}; expected a torch.nn.Module; return the network"
        )
    return network


def _split(name: str) -> tuple[Path, str]:
    """The existing file and the name in it."""
    file, _, attribute = name.rpartition(":")
    if not file.endswith(".py") or not attribute.isidentifier():
        raise BadInputError(
            f"model '{name}' is not of the form path/to/file.py:callable; "
            "name a Python file and a function or class in it"
        )
    path = Path(file)
    if not path.is_file():
        raise BadInputError(
            f"{path} of model '{name}' is not a file; expected a Python file; correct the path "
            f"(looked in {path.absolute().parent})"
        )
    return path, attribute


def _execute(path: Path) -> ModuleType:
    """The module in the file, under a name of its own so that dataclasses in it resolve."""
    module_name = "edgekd_own_" + hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None and spec.loader is not None, "a .py path always has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except USER_FAULTS as err:
        del sys.modules[module_name]
        raise BadInputError(_fault(path, "it cannot be imported", err)) from err
    return module


def _callable(module: ModuleType, *, path: Path, attribute: str) -> Callable[..., object]:
    """The function or class of that name in the module."""
    found: object = getattr(module, attribute, None)
    if callable(found):
        return found
    offered = [
        key
        for key, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", None) == module.__name__
    ]
    what = "has no" if found is None else f"has a {type(found).__name__}, not a callable, named"
    raise BadInputError(
        f"{path} {what} '{attribute}'; it defines: {', '.join(offered) or 'no function or class'}; name one"
    )


def _check_signature(function: Callable[..., object], *, name: str, keywords: Mapping[str, object]) -> None:
    """Refuse a callable that cannot be called with these keywords, before it runs."""
    try:
        inspect.signature(function).bind(**keywords)
    except (TypeError, ValueError) as err:
        raise BadInputError(
            f"{name} cannot be called with {', '.join(f'{key}=' for key in keywords)}: {err}; "
            "give it the keyword parameters num_classes and in_channels, and one for each option"
        ) from err


def _fault(path: Path, what: str, err: Exception) -> str:
    """A message with the line of the user's file where the exception passed last."""
    passed = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(err.__traceback__)]
    if isinstance(err, SyntaxError):
        passed.append((err.filename or "", err.lineno))
    lines = [line for filename, line in passed if Path(filename) == path.absolute()]
    where = f"{path}:{lines[-1]}" if lines else str(path)
    return f"{where}: {what}: {type(err).__name__}: {err}; expected a network; correct this file"
