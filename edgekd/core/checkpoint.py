"""A training checkpoint: weights, optimiser, seed, versions and recipe hash in one file, replaced atomically."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError  # noqa: TID251  only its name: weights_only raises it instead of unpickling
from typing import Any

import torch

from edgekd.errors import BadInputError

FORMAT = 1


def save(path: Path, state: Mapping[str, Any], *, key: str) -> None:
    """Write `state` under `key`, the hash of all that the run depends on. A kill leaves the old file or the new.

    Raises:
        OSError: the disk is full or the folder is read-only; the old checkpoint stays.
    """
    temporary = path.with_suffix(".tmp")
    try:
        torch.save({"format": FORMAT, "key": key, "torch": str(torch.__version__), **state}, temporary)
        temporary.replace(path)
    except RuntimeError as err:  # torch's zip writer reports a full disk as RuntimeError
        raise OSError(f"cannot write {path}: {err}") from err
    finally:
        temporary.unlink(missing_ok=True)


def load(path: Path, *, key: str) -> dict[str, Any] | None:
    """The state saved under `key`; None when there is none or it belongs to another recipe or torch version.

    Read with `weights_only`: no pickle is executed.

    Raises:
        BadInputError: the file is there but cannot be read.
    """
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()  # torch does not compare the checksums: a flipped bit would go into the weights
        if broken is not None:
            raise zipfile.BadZipFile(f"wrong checksum of {broken}")
        state = torch.load(path, weights_only=True, map_location="cpu")
    except (RuntimeError, ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error, UnpicklingError) as err:
        reason = str(err).partition("\n")[0]
        raise BadInputError(f"{path} is not a whole checkpoint ({reason}); delete it and run again") from err
    if not isinstance(state, dict) or (state.get("format"), state.get("key"), state.get("torch")) != (
        FORMAT,
        key,
        str(torch.__version__),
    ):
        return None
    return state
