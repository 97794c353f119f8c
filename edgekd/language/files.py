"""model.onnx -> every variant with its score on the test, as ONNX Runtime computes it, and its speed. No torch here."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError
from edgekd.files import sha256
from edgekd.language.corpus import Corpus, Windows
from edgekd.language.runtime import Runner
from edgekd.language.score import score
from edgekd.progress import Listener, Progress, silent
from edgekd.session import SessionOptions

COMPARED_TEXTS = 3
"""Texts of the validation part that export and speed are fed with."""


def build(
    source: Path,
    folder: Path,
    *,
    names: Sequence[str],
    corpus: Corpus,
    context: int,
    options: SessionOptions,
    listener: Listener = silent,
) -> tuple[dict[str, Any], list[Path]]:
    """fp32, a copy of `source`, and the variants `names` beside it in `folder`, each scored on the test blocks.

    Gives for each its path (below folder's parent), hash, size and scores, or the reason why it is left out; and the
    files that were written.

    Raises:
        BadInputError: not even fp32 can be scored.
    """
    folder.mkdir(exist_ok=True)
    wanted = dict.fromkeys(("fp32", *names))
    found: dict[str, Any] = {}
    paths = []
    for done, name in enumerate(wanted):
        listener(Progress(stage="files", done=done, total=len(wanted), note=name))
        path = folder / f"{name}.onnx"
        try:
            _write(name, source, path)
            scores = score(Runner(path, options), corpus.test, context=context)
        except BadInputError as err:
            path.unlink(missing_ok=True)
            found[name] = {"reason": f"left out: {err}"}
            continue
        paths.append(path)
        found[name] = {
            "path": str(path.relative_to(folder.parent)),
            "sha256": sha256(path),
            "size_bytes": path.stat().st_size,
            "scores": asdict(scores),
        }
    listener(Progress(stage="files", done=len(wanted), total=len(wanted)))
    if not paths:
        raise BadInputError("; ".join(entry["reason"] for entry in found.values()))
    return found, paths


def _write(name: str, source: Path, path: Path) -> None:
    from edgekd.quantize.convert import CONVERTED

    if name == "fp32":
        shutil.copyfile(source, path)
    else:
        CONVERTED[name][0](source, path, {}, ())


def texts(corpus: Corpus, *, context: int) -> npt.NDArray[np.int64]:
    """Some windows of the validation part: (3, context)."""
    windows = Windows(corpus.validation, context=context)
    return windows.batch(np.arange(COMPARED_TEXTS) % max(1, len(windows)))[0]


def built(files: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    """Name -> path of what `build` wrote. folder: that which the paths are below."""
    return {name: folder / entry["path"] for name, entry in files.items() if "path" in entry}
