"""Each tool on each net, once: what it wrote and what that took, kept in a folder so that a killed run goes on."""

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers import process
from benchmarks.peers.contenders import CONTENDERS, python_of
from benchmarks.peers.nets import Net
from benchmarks.peers.task import Task
from benchmarks.turns import ROOT, say
from edgekd.errors import EnvironmentFault, ExitCode
from edgekd.files import sha256, write_atomic

OURS = "edgekd"
NO_LIMITS = (
    "max_p50_ms=1e6",
    "max_p90_ms=1e6",
    "max_load_ms=1e6",
    "max_size_bytes=1_000_000_000_000",
    "max_peak_rss_bytes=1_000_000_000_000",
    "max_top1_drop=0.03",
)
"""The target's budgets are for small classifiers; here the choice is asked for, not the gate. 500 samples cannot prove
that a file loses less than the default's one point, and then fp32 would be chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What one tool made of one net. path: the file, None where there is none, for this `reason`.

    size_bytes: with its external data. session_config: the session options that the tool hands over with the file.
    """

    net: str
    tool: str
    key: str
    path: str | None
    size_bytes: int | None
    sha256: str | None
    seconds: float | None
    cpu_seconds: float | None
    peak_bytes: int | None
    versions: Mapping[str, str]
    session_config: Mapping[str, str]
    chosen: str
    reason: str


def build(net: Net, tool: str, folder: Path, *, environments: Path, limit_seconds: float, budget: float) -> Built:
    """The tool's file for the net; kept results are used where net and data are the same.

    limit_seconds: for the tool. budget: edgekd's own --time-budget.
    """
    place = folder / net.name / tool
    key = f"{sha256(net.model)} {sha256(net.folder / 'quantize.npz')} {budget if tool == OURS else ''}".strip()
    kept = _kept(place, key)
    if kept is not None:
        return kept
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    say(f"{net.name}: {tool}")
    shutil.copy(net.model, place / "fp32.onnx")  # some tools write beside what they read
    try:
        command = _command(net, tool, place, environments, budget)
    except EnvironmentFault as err:
        return _keep(_nothing(net, tool, key, str(err)), place)
    ran = process.run(command, folder=ROOT, log=place / "log.txt", limit_seconds=limit_seconds)
    return _keep(_describe(net, tool, key, place, ran), place)


def baseline(net: Net) -> Built:
    """The fp32 file itself."""
    empty = asdict(_nothing(net, "fp32", sha256(net.model), ""))
    return Built(**empty | {"path": str(net.model), "size_bytes": net.model.stat().st_size, "sha256": empty["key"]})


def _command(net: Net, tool: str, place: Path, environments: Path, budget: float) -> Sequence[str]:
    model, data = str(place / "fp32.onnx"), str((net.folder / "quantize.npz").absolute())
    if tool == OURS:
        limits = [part for limit in NO_LIMITS for part in ("--limit", limit)]
        target = ["--target", "x86-1t", "--out", str(place / "run"), "--time-budget", f"{budget:g}"]
        return [sys.executable, "-P", "-m", "edgekd.cli", "quantize", model, "--data", data, *target, *limits]
    contender = CONTENDERS[tool]
    task = Task(model=model, data=data, out=str(place / "model.onnx"), preset=contender.preset)
    python = str(python_of(contender, environments))
    return [python, "-m", f"benchmarks.peers.{contender.module}", json.dumps(asdict(task))]


def _describe(net: Net, tool: str, key: str, place: Path, ran: process.Ran) -> Built:
    cost = {"seconds": ran.seconds, "cpu_seconds": ran.cpu_seconds, "peak_bytes": ran.peak_bytes}
    found = _ours(place) if tool == OURS else {"path": place / "model.onnx"}
    path = found["path"]
    accepted = {0, ExitCode.GATE_FAILED, ExitCode.INCONCLUSIVE} if tool == OURS else {0}
    if ran.code not in accepted or path is None or not path.is_file():
        reason = "ended at its time limit" if ran.code is None else _last_line(ran.output)
        return Built(**asdict(_nothing(net, tool, key, reason)) | cost)
    shutil.rmtree(place / "scratch", ignore_errors=True)
    beside = [path, *path.parent.glob(f"{path.name}*data")]
    facts = {"path": str(path), "size_bytes": sum(file.stat().st_size for file in beside), "sha256": sha256(path)}
    versions = {} if tool == OURS else json.loads(ran.output.strip().splitlines()[-1])["versions"]
    known = cost | found | facts | {"versions": versions}
    return Built(**asdict(_nothing(net, tool, key, "")) | known)


def _ours(place: Path) -> dict[str, Any]:
    """The variant that edgekd chose, and the session options of its bundle."""
    report = place / "run" / "report.json"
    if not report.is_file():
        return {"path": None}
    variants = json.loads(report.read_text(encoding="utf-8"))["variants"]
    chosen = next((variant for variant in variants if variant["selected"]), None)
    if chosen is None:
        return {"path": None}
    bundled = place / "run" / "bundle" / "session.json"
    options = json.loads(bundled.read_text(encoding="utf-8"))["options"] if bundled.is_file() else {}
    path = place / "run" / chosen["path"]
    return {"path": path, "chosen": chosen["name"], "session_config": options.get("session_config", {})}


def _nothing(net: Net, tool: str, key: str, reason: str) -> Built:
    none: dict[str, Any] = dict.fromkeys(("path", "size_bytes", "sha256", "seconds", "cpu_seconds", "peak_bytes"))
    return Built(
        net=net.name,
        tool=tool,
        key=key,
        versions={},
        session_config={},
        chosen="",
        reason=reason,
        **none,
    )


def _kept(place: Path, key: str) -> Built | None:
    file = place / "built.json"
    if not file.is_file():
        return None
    built = Built(**json.loads(file.read_text(encoding="utf-8")))
    return built if built.key == key else None


def _keep(built: Built, place: Path) -> Built:
    write_atomic(place / "built.json", json.dumps(asdict(built), indent=2))
    return built


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no word"
