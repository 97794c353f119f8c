"""A file on a target -> where the time of an inference goes, as one JSON-ready document."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgekd import __version__, environment, targets
from edgekd.errors import BadInputError
from edgekd.files import sha256
from edgekd.kernels import Kernels, by_op_type, profile_feeds, sentence
from edgekd.progress import Listener, Progress, silent
from edgekd.roofline.advice import worth_changing
from edgekd.roofline.beside import beside
from edgekd.roofline.judge import Placed, place
from edgekd.roofline.peaks import Peaks, peaks_for
from edgekd.roofline.work import shapes
from edgekd.session import SessionOptions, chosen_options
from edgekd.timing import Contestant, Feeds, Host, feeds_for, warm_up

FORMAT = 1
WARM_UP_SECONDS, TURNS = 1.0, 5

FAR_APART = 1.5
"""An inference that takes so many times the sum of its kernels is not explained by them."""


def profile_file(
    model: Path,
    *,
    target: str,
    source: Path | None = None,
    base: Path | None = None,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    batch_size: int = 1,
    session: Path | None = None,
    runs: int = 50,
    measure_again: bool = False,
    timeout_seconds: float = 60.0,
    listener: Listener = silent,
) -> dict[str, Any]:
    """The profile of `model` on a target, with `base` beside it where one is given; {"edgekd_profile": 1, ...}.

    source: data as `edgekd validate` takes it; None feeds random numbers of a fixed seed, and "inputs" says so.
    input_shapes: of inputs with open sizes. session: a session.json in place of the target's options. measure_again:
    the machine's peaks, though they are in the cache. timeout_seconds: for one inference. There are no peaks, and no
    verdicts, for a provider other than the CPU: its profile times launches.

    Raises:
        BadInputError: a file, data or a shape that does not fit.
        EnvironmentFault: the provider is not there or did not start, or a file hangs or crashes ONNX Runtime.
    """
    if runs < 1:
        raise BadInputError(f"--runs {runs}: expected at least 1")
    wanted = targets.load(target)
    machine = environment.describe()
    options = chosen_options(wanted, cores=machine.cores_granted, session=session)
    paths = {"file": model} | ({"base_file": base} if base else {})
    fed = {
        name: feeds_for(path, source=source, shapes=input_shapes, batch_size=batch_size) for name, path in paths.items()
    }
    taken = _inference_ms({name: (path, fed[name][0]) for name, path in paths.items()}, options, runs, timeout_seconds)
    ran = {}
    for index, (name, path) in enumerate(paths.items()):
        listener(Progress(stage="profile", done=index, total=len(paths), note=path.name))
        ran[name] = profile_feeds(path, fed[name][0], options, runs=runs)
    listener(Progress(stage="profile", done=len(paths), total=len(paths)))
    fingerprint = environment.fingerprint(machine)
    peaks = None
    if options.provider == "CPUExecutionProvider":
        memory = machine.memory_available_bytes // 2
        peaks = peaks_for(options, fingerprint=fingerprint, again=measure_again, memory=memory, listener=listener)
    described = {name: _described(kernels, taken[name], peaks) for name, kernels in ran.items()}
    rows = beside(base, ran["base_file"].nodes, ran["file"].nodes) if base else ()
    names = Counter(node.name for node in ran["file"].nodes)
    before = {row.name: 1e3 * row.before_ms for row in rows if row.before_ms is not None and names[row.name] == 1}
    placed = [place(node, peaks) for node in ran["file"].nodes]
    return {
        "edgekd_profile": FORMAT,
        "name": model.stem,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "edgekd": __version__,
        "model": _identity(model),
        "base": _identity(base) if base else None,
        "target": {"name": wanted.name, "title": wanted.title, "proxy": wanted.proxy},
        "environment": machine.as_dict(),
        "fingerprint": fingerprint,
        "conditions": {
            **options.as_dict(),
            "inputs": fed["file"][1],
            "input_shapes": {name: list(value.shape[1:]) for name, value in fed["file"][0].items()},
            "runs": runs,
            "isa": machine.isa,
            "onnxruntime": machine.packages.get("onnxruntime") or machine.packages.get("onnxruntime-gpu"),
            "warnings": _warnings(options, peaks, described["file"]),
        },
        "peaks": _peaks(peaks),
        "file": described["file"],
        "base_file": described.get("base_file"),
        "beside": [asdict(row) for row in rows],
        "worth_changing": [asdict(advice) for advice in worth_changing(placed, peaks, before_us=before)],
    }


def _inference_ms(
    files: Mapping[str, tuple[Path, Feeds]], options: SessionOptions, runs: int, timeout_seconds: float
) -> dict[str, float]:
    """Name -> the median of an inference that nobody profiles: what the kernels' sum is to be compared with.

    In a process of its own, before this one opens the files: a network that hangs or crashes ONNX Runtime ends there.
    The files take turns. That is no verdict on which is faster, which `edgekd compare` gives.
    """
    contestants = {name: Contestant(path=path, options=options, feeds=feeds) for name, (path, feeds) in files.items()}
    samples: dict[str, list[int]] = {name: [] for name in files}
    with Host(contestants, timeout_seconds=timeout_seconds) as host:
        warm_up(dict.fromkeys(files, host), seconds=WARM_UP_SECONDS)
        for _ in range(TURNS):
            for name in files:
                samples[name] += host.block(name, -(-runs // TURNS)).ns
    return {name: statistics.median(found) / 1e6 for name, found in samples.items()}


def _described(kernels: Kernels, inference_ms: float, peaks: Peaks | None) -> dict[str, Any]:
    """One file's profile: totals, shares of the kinds, by op type, and every kernel, slowest first."""
    kinds: dict[str, float] = defaultdict(float)
    for node in kernels.nodes:
        kinds[node.kind] += node.share
    slowest = sorted(kernels.nodes, key=lambda node: -node.total_us)
    return {
        "kernels_ms": sum(node.total_us for node in kernels.nodes) / 1e3,
        "inference_ms": inference_ms,
        "kinds": dict(kinds),
        "sentence": sentence(kernels),
        "by_op_type": by_op_type(kernels.nodes),
        "nodes": [_node(place(node, peaks)) for node in slowest],
    }


def _node(placed: Placed) -> dict[str, Any]:
    node, done = placed.node, placed.work
    return {
        "name": node.name,
        "op_type": node.op_type,
        "kind": node.kind,
        "provider": node.provider,
        "calls": node.calls,
        "ms": node.total_us / 1e3,
        "share": node.share,
        "operations": done.operations if done else None,
        "macs": done.operations if done and done.macs else None,
        "bytes": done.bytes_moved if done else None,
        "rate": done.rate if done else None,
        "roof_ms": None if placed.roof_us is None else node.calls * placed.roof_us / 1e3,
        "verdict": placed.verdict,
        "attained": placed.attained,
        "inputs": shapes(node.inputs),
        "outputs": shapes(node.outputs),
    }


def _identity(path: Path) -> dict[str, Any]:
    return {"path": str(path), "sha256": sha256(path), "size_bytes": path.stat().st_size}


def _peaks(peaks: Peaks | None) -> dict[str, Any] | None:
    if peaks is None:
        return None
    found = peaks.as_dict() | {"unsteady": list(peaks.unsteady())}
    return found | {"measured": datetime.fromtimestamp(peaks.measured, UTC).isoformat(timespec="seconds")}


def _warnings(options: SessionOptions, peaks: Peaks | None, side: Mapping[str, Any]) -> list[str]:
    lines = []
    if side["inference_ms"] > FAR_APART * side["kernels_ms"]:
        lines.append(
            f"an inference takes {side['inference_ms']:.3g} ms, its kernels {side['kernels_ms']:.3g} ms: the machine "
            "is busy, or the time goes between the kernels"
        )
    if options.threads < options.threads_requested:
        lines.append(
            f"{options.threads} of the target's {options.threads_requested} threads: so many cores are granted"
        )
    if peaks is None:
        lines.append(f"no roofline for {options.provider}: its profile has the times of launches, not of the work")
    elif peaks.unsteady():
        lines.append(
            f"the machine was busy while its peaks were measured ({', '.join(peaks.unsteady())}); if they look low, "
            "say --measure-peaks on a quiet one"
        )
    return lines
