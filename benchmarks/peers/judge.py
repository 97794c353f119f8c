"""Answers of each file on the held-out samples: accuracy, agreement with fp32, and the same under AVX2 kernels."""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.peers.build import Built
from benchmarks.peers.nets import Net
from benchmarks.peers.score import SCORES, right
from benchmarks.turns import say
from edgekd.errors import EdgekdError, EnvironmentFault
from edgekd.files import sha256, write_atomic
from edgekd.isa import output_step, run_on
from edgekd.runner import runner
from edgekd.session import SessionOptions, create_session, facts

Outputs = npt.NDArray[np.float32]

VALGRIND_SLOWER = 60.0
"""How much longer an inference takes under valgrind, from above; only chooses how many samples fit the time."""

FEWEST, MOST = 8, 64
VALGRIND_LIMIT_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A file on the n held-out samples, both named by `key`.

    avx2_*: on the first avx2_n of them, AVX2's kernels against this machine's own.
    accuracy: None without labels. agreement: mean score against fp32. avx2_difference and output_step: as shares of the
    range of the fp32 outputs. error: why the file, or its AVX2 run, gave nothing.
    """

    key: str
    n: int
    accuracy: float | None
    agreement: float | None
    avx2_n: int
    avx2_agreement: float | None
    avx2_difference: float | None
    output_step: float | None
    error: str


def judge(net: Net, built: Mapping[str, Built], folder: Path, *, avx2_seconds: float) -> dict[str, Judged]:
    """Every file of the net, `fp32` among them; kept results are used where the files are the same.

    avx2_seconds: about the time of one file under valgrind.
    """
    data = sha256(net.folder / "held_out.npz")
    files = {name: one for name, one in built.items() if one.path is not None}
    places = {name: folder / net.name / f"judged-{name}.json" for name in files}
    kept = {name: _kept(places[name], f"{one.sha256} {data}") for name, one in files.items()}
    found = {name: one for name, one in kept.items() if one is not None}
    missing = [name for name in files if name not in found]
    if not missing:
        return found
    x, y = net.read("held_out")
    started = time.monotonic()
    reference = outputs(files["fp32"], x)
    each = (time.monotonic() - started) / len(x)
    count = found["fp32"].avx2_n if "fp32" in found else _samples(avx2_seconds, each=each, most=len(x))
    for name in missing:
        say(f"{net.name}: judging {name}")
        key = f"{files[name].sha256} {data}"
        found[name] = _judge(net, files[name], x, y, reference, count, key)
        write_atomic(places[name], json.dumps(asdict(found[name]), indent=2))
    return {name: found[name] for name in files}


def outputs(built: Built, x: npt.NDArray[Any]) -> Outputs:
    """The first output of all samples, one at a time as on a device."""
    path = Path(str(built.path))
    session = create_session(path, options_of(built))
    run = runner(session, facts(session, path))
    return np.concatenate([run(x[i : i + 1]) for i in range(len(x))])


def options_of(built: Built) -> SessionOptions:
    """One thread, and what the tool asks for."""
    return SessionOptions(session_config=built.session_config)


def portable(judged: Judged, fp32: Judged) -> bool | None:
    """Whether AVX2's kernels give the same: the issue's rule, None where it was not measured.

    199 of 200 answers are the same, and no output is further off than fp32's own, plus one step by which the output is
    rounded (1/255 of its range where it is not).
    """
    if judged.avx2_agreement is None or judged.avx2_difference is None:
        return None
    step = judged.output_step if judged.output_step is not None else 1 / 255
    allowed = (fp32.avx2_difference or 0.0) + 1.001 * step  # a step is a float32: a thousandth for its rounding
    return judged.avx2_agreement >= 0.995 and judged.avx2_difference <= allowed


def _judge(
    net: Net, built: Built, x: npt.NDArray[Any], y: npt.NDArray[Any] | None, reference: Outputs, count: int, key: str
) -> Judged:
    score, width = SCORES[net.score], float(np.ptp(reference))
    empty: dict[str, Any] = dict.fromkeys(Judged.__slots__)
    empty |= {"key": key, "n": len(x), "avx2_n": 0, "error": ""}
    try:
        own = outputs(built, x)
    except EdgekdError as err:
        return Judged(**empty | {"error": str(err)})
    empty |= {"agreement": float(score(reference, own).mean()), "accuracy": None if y is None else right(own, y)}
    if not count:
        return Judged(**empty)
    path = Path(str(built.path))
    try:
        other = run_on(path, x[:count], options_of(built), isa="avx2", timeout_seconds=VALGRIND_LIMIT_SECONDS).values
    except EnvironmentFault as err:
        return Judged(**empty | {"error": str(err)})
    step = output_step(path)
    avx2 = {
        "avx2_n": count,
        "avx2_agreement": float(score(own[:count], other).mean()),
        "avx2_difference": float(np.abs(own[:count] - other).max()) / width,
        "output_step": None if step is None else step / width,
    }
    return Judged(**empty | avx2)


def _samples(seconds: float, *, each: float, most: int) -> int:
    if not seconds:
        return 0
    return min(most, MOST, max(FEWEST, math.floor(seconds / (each * VALGRIND_SLOWER))))


def _kept(file: Path, key: str) -> Judged | None:
    if not file.is_file():
        return None
    judged = Judged(**json.loads(file.read_text(encoding="utf-8")))
    return judged if judged.key == key else None
