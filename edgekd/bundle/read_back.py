"""Runs a bundle's own infer.py on its sample files: does what stands before the network do what training did?"""

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.bundle.infer import NOT_INSTALLED
from edgekd.bundle.manifest import INFER, Manifest, SampleEntry
from edgekd.bundle.outputs import Outputs, run_here
from edgekd.bundle.preprocessing import kind_of
from edgekd.bundle.tolerance import difference
from edgekd.data import read_picture
from edgekd.data.npz import read_arrays
from edgekd.errors import BadInputError

Array = npt.NDArray[Any]

TIMEOUT_SECONDS = 600


def read_back(folder: Path, manifest: Manifest, inputs: Array, expected: Outputs) -> list[tuple[str, bool | None, str]]:
    """(name, whether it is right, detail) of: what infer.py feeds for the files, and what it answers to them.

    infer.py runs in a process of its own, outside the bundle's folder, and writes nothing into it. inputs, expected:
    of samples.npz, (n, ...).
    """
    names = ", ".join(entry.name for entry in manifest.sample_files)
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "samples.npz"
        # -P: the folder of infer.py holds no modules. -B: and gets no bytecode.
        command = [sys.executable, "-P", "-B", str((folder / INFER).resolve()), "--samples", str(out)]
        try:
            done = subprocess.run(
                command,
                cwd=place,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=TIMEOUT_SECONDS,
            )
        except subprocess.TimeoutExpired:
            return [("sample files", False, f"{INFER} read {names} for {TIMEOUT_SECONDS} s without an end")]
        if done.returncode or not out.is_file():
            why = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            return [("sample files", None if done.returncode == NOT_INSTALLED else False, f"{INFER}, {names}: {why}")]
        try:
            arrays = read_arrays(out)
        except BadInputError as err:
            return [("sample files", False, f"{INFER}, {names}: {err}")]
    wrong = [
        text for k, entry in enumerate(manifest.sample_files) if (text := _fed(folder, manifest, k, arrays, inputs))
    ]
    right = f"{INFER} makes of {names} what the network was evaluated on"
    checks: list[tuple[str, bool | None, str]] = [("sample files", not wrong, "; ".join(wrong) or right)]
    if "output_0_0" in arrays:  # onnxruntime is here
        wrong = [
            text
            for k, entry in enumerate(manifest.sample_files)
            if (
                text := _answered(
                    manifest, k, arrays, _expected(folder, entry, arrays.get(f"input_{k}", np.empty(0)), expected)
                )
            )
        ]
        right = f"{INFER} answers to {names} as expected"
        checks.append((INFER, not wrong, "; ".join(wrong) or right))
    return checks


def _fed(folder: Path, manifest: Manifest, k: int, arrays: Mapping[str, Array], inputs: Array) -> str:
    """How what infer.py feeds for a file differs from what it has to; empty where it does not."""
    entry = manifest.sample_files[k]
    found, expected = arrays.get(f"input_{k}", np.empty(0)), inputs[entry.row]
    if found.shape != expected.shape or found.dtype != expected.dtype:
        what = f"{found.dtype} {list(found.shape)}, not {expected.dtype} {list(expected.shape)}"
        return f"{entry.name}: the decoded tensor is {what}"
    apart = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    if apart.max(initial=0.0) <= entry.largest and apart.mean() <= entry.mean:
        return ""
    count = f"{int((apart > 0).sum())} of {apart.size} numbers, by at most {apart.max():g}"
    allowed = f" (allowed {entry.largest:g})" if entry.largest else ""
    why = _reason(folder / entry.name, entry, manifest.preprocessing or {}, found, expected)
    return f"{entry.name}: the decoded tensor differs in {count}{allowed}{why}"


def _reason(path: Path, entry: SampleEntry, said: Mapping[str, Any], found: Array, expected: Array) -> str:
    """What was done instead, where that can be told."""
    kind = kind_of(said)
    if kind in ("image", "series"):
        axis = -1 if kind == "series" or expected.shape[-1] in (1, 3) else 0
        ours, theirs = ([plane.tobytes() for plane in np.moveaxis(array, axis, 0)] for array in (found, expected))
        if ours != theirs and sorted(ours) == sorted(theirs):
            order = [theirs.index(plane) for plane in ours]
            return f": its channels stand in another order, {order}"
    facts = said.get("image")
    if kind == "image" and facts and facts["resize"] and path.suffix != ".npy":
        for name, mode in product(read_picture.FILTERS, read_picture.MODES):
            other = {**facts, "resize": {"filter": name, "mode": mode}}
            try:
                tried = read_picture.read(path, other)
            except (ImportError, ValueError):
                return ""
            tried = tried if tried.shape == found.shape else tried.transpose(2, 0, 1)
            if np.array_equal(tried, found):
                right = f"'{facts['resize']['filter']}', '{facts['resize']['mode']}'"
                return f": it was resized by '{name}', '{mode}' and not by {right}"
    return ""


def _expected(folder: Path, entry: SampleEntry, found: Array, expected: Outputs) -> Outputs:
    """What infer.py has to answer to a file: the outputs in samples.npz; of a JPEG, to the pixels that it decoded."""
    if entry.largest > 0 and found.shape:
        try:
            outputs, _ = run_here(folder, found[None])
        except BadInputError:
            outputs = None  # a tensor that the network does not take
        if outputs is not None:
            return tuple(output[0] for output in outputs)
    return tuple(output[entry.row] for output in expected)


def _answered(manifest: Manifest, k: int, arrays: Mapping[str, Array], expected: Outputs) -> str:
    """How infer.py's answer to a file differs from the expected one by more than is allowed; empty where not."""
    entry = manifest.sample_files[k]
    for i, (wanted, limit) in enumerate(zip(expected, manifest.tolerance.outputs, strict=True)):
        found = arrays.get(f"output_{k}_{i}", np.empty(0))
        if found.shape != wanted.shape:
            return f"{entry.name}: output {i + 1} is of shape {found.shape}, expected {wanted.shape}"
        apart = difference(limit.measure, found[None], wanted[None])
        if not apart <= limit.allowed:
            return f"{entry.name}: network outputs differ, by {apart:.2e}, allowed {limit.allowed:.2e}"
    return ""
