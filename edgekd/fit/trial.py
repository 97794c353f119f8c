"""One size, untrained, as it would ship: built, exported with its front end, quantized, weighed and timed.

How long a network takes does not depend on what it has learned, as long as its numbers are of the usual size. So its
batch norms see some samples first, which trained ones have seen, too.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from edgekd import budget, gate, latency, versus
from edgekd.data import Dataset
from edgekd.fit.search import Answer, Fit
from edgekd.fit.sizes import FEW, Options, Size
from edgekd.gate import Check
from edgekd.quantize import Wanted, search
from edgekd.rows import Inputs
from edgekd.session import SessionOptions
from edgekd.timing import Contestant, inputs_of

if TYPE_CHECKING:
    from edgekd.network import Network

FITS: Mapping[str, Fit] = {"pass": "fits", "fail": "misses", "inconclusive": "unclear"}

LOOK_SECONDS = 0.1
"""Of timed inferences in the process whose memory is looked at; the times that decide are others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What has to hold. asked: as the recipe, the target and the user say; fitted: less the margin, which is what a
    trial is judged by; sources: who set each."""

    asked: Mapping[str, float]
    fitted: Mapping[str, float]
    sources: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Where and how all trials are made. variant: the file that is measured; batch_size: samples an inference."""

    dataset: Dataset
    model: str
    variant: str
    options: SessionOptions
    memory_bytes: int
    isa: str
    opset: int
    input_layout: str
    batch_size: int
    portable: bool
    saturation: Literal["safe", "7bit", "u8u8", "session-key", "refuse"]
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A size that was tried. variant: of the file that was measured; note: why it is fp32, where another was wanted.

    Numbers are None where the trial ended before they were measured, because a limit was missed already. fit, use: as
    in `Answer`, 0 where the number could not be measured; decided_by: of the limits with the worst verdict that of
    which most is used.
    """

    size: Size
    variant: str
    size_bytes: int
    p50_ms: float | None
    p90_ms: float | None
    load_ms: float | None
    peak_rss_bytes: int | None
    checks: tuple[Check, ...]
    fit: Fit
    use: float
    decided_by: str
    note: str
    seconds: float

    def answer(self) -> Answer:
        """What the search for the largest size wants to know of it."""
        return Answer(fit=self.fit, use=self.use)


def attempt(size: Size, here: Conditions, limits: Limits, *, folder: Path, seconds: float) -> Trial:
    """Make the network of that size and judge it.

    folder: of its own, for its files. seconds: of timing; what is not clear by then is unclear.

    Raises:
        EdgekdError: it cannot be built, exported or run, or the machine cannot time it.
    """
    started = time.monotonic()
    path, variant, note = _file(size.options, here, folder, most_bytes=limits.fitted.get("max_size_bytes", math.inf))
    weighed = gate.judge(
        accuracy=None, latency=None, size_bytes=path.stat().st_size, **_some(limits, "max_size_bytes")
    ).checks
    looked: latency.Latency | None = None
    timed: dict[str, float | None] = {}
    checks = weighed
    if all(check.verdict == "pass" for check in weighed):
        inputs = _samples(here)
        looked = _look(path, inputs, here)
        checks += gate.judge(
            accuracy=None, latency=asdict(looked), size_bytes=None, **_some(limits, "max_peak_rss_bytes", "max_load_ms")
        ).checks
        wanted = _some(limits, *budget.LIMITS)
        timed = {"p50_ms": looked.p50_ms, "p90_ms": looked.p90_ms}
        if wanted["limits"] and all(check.verdict == "pass" for check in checks):
            timed, more = _timed(path, inputs, here, **wanted, seconds=seconds)
            checks += more
    verdict = gate.conclude(checks).verdict
    used = {check.name: (check.value or 0.0) / check.limit for check in checks if check.verdict == verdict}
    most = max(used, key=lambda name: used[name])
    return Trial(
        size=size,
        variant=variant,
        size_bytes=path.stat().st_size,
        p50_ms=timed.get("p50_ms"),
        p90_ms=timed.get("p90_ms"),
        load_ms=None if looked is None else looked.load_ms,
        peak_rss_bytes=None if looked is None else looked.peak_rss_bytes,
        checks=checks,
        fit=FITS[verdict],
        use=used[most],
        decided_by=most,
        note=note,
        seconds=time.monotonic() - started,
    )


def _some(limits: Limits, *names: str) -> dict[str, Any]:
    """Those limits of these names that are set, less the margin, with who set them."""
    return {
        "limits": {name: limits.fitted[name] for name in names if name in limits.fitted},
        "sources": limits.sources,
    }


def _file(options: Options, here: Conditions, folder: Path, *, most_bytes: float) -> tuple[Path, str, str]:
    """The file to measure, its variant, and why it is another one than was wanted.

    Of small networks fp32 can be the faster one, and then it is what `edgekd run` ships, unless it is over most_bytes.
    """
    from edgekd.export import export, to_layout

    data = here.dataset
    inputs = _few(data.calibration.inputs)
    exported = folder / "model.onnx"
    # Of an untrained network logits may be of any size, so their difference from torch's says nothing here.
    export(
        _network(options, here),
        exported,
        inputs=inputs,
        opset=here.opset,
        input_layout=here.input_layout,
        tolerance=math.inf,
        metadata={"classes": data.classes, "input_layout": here.input_layout},
    )
    if here.variant == "fp32":
        return exported, "fp32", ""
    wanted = Wanted(
        variants=(here.variant,),
        method="minmax",
        per_channel=True,
        portable=here.portable,
        saturation=here.saturation,
        budget_seconds=1e-3,  # the first file of the variant is always made, and nothing after it
    )
    layout = to_layout(inputs, here.input_layout)
    searched = search(exported, layout, here.options, wanted=wanted, folder=folder / "variants")
    (built,), ratio = searched.built, searched.decisions[0].ratio
    if built.path is None:
        return exported, "fp32", f"fp32 in place of {here.variant}, which could not be made: {built.reason}"
    if ratio is not None and ratio > 1 and exported.stat().st_size <= most_bytes:
        return exported, "fp32", f"fp32, because {here.variant} takes {ratio:.2f} times as long"
    return folder / "variants" / built.path, here.variant, ""


def _network(options: Options, here: Conditions) -> "Network":
    import torch

    from edgekd import front
    from edgekd.network import Card, build

    data = here.dataset
    few = _few(data.train.inputs)
    mean, std = front.statistics(data.kind, few, data.front)
    card = Card(
        model=here.model,
        classes=data.classes,
        channels=data.channels,
        options=dict(options),
        facts={},
        kind=data.kind,
        front=data.front,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(here.seed)
        network = build(card, mean=mean, std=std)
        for part in network.modules():
            if isinstance(part, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d | torch.nn.BatchNorm3d):
                part.momentum = None  # the plain mean of what it sees
        with torch.no_grad():
            network.train()(front.of(data.kind).to_tensor(few, torch.device("cpu")))
    return network.eval()


def _few(inputs: Inputs) -> npt.NDArray[Any]:
    """Some samples, evenly spaced: the source may be sorted."""
    picked = np.unique(np.linspace(0, len(inputs) - 1, min(FEW, len(inputs)), dtype=np.int64))
    return np.asarray(inputs[picked])


def _samples(here: Conditions) -> npt.NDArray[Any]:
    """Batches for timing, (count, batch, ...): samples of the test split, which nothing is judged by here."""
    from edgekd.export import to_layout

    size = here.batch_size
    found = np.asarray(here.dataset.test.inputs[: FEW * size])
    while len(found) < size:
        found = np.concatenate([found, found])
    count = min(FEW, len(found) // size)
    laid = to_layout(found[: count * size], here.input_layout)
    batches: npt.NDArray[Any] = laid.reshape(count, size, *laid.shape[1:])
    return batches


def _look(path: Path, inputs: npt.NDArray[Any], here: Conditions) -> latency.Latency:
    """Peak memory and loading time, of a process that does nothing else."""
    found = latency.run_round(path, inputs, here.options, seconds=LOOK_SECONDS, min_samples=10)
    return latency.summarise([found], here.options, batch_size=here.batch_size, isa=here.isa)


def _timed(
    path: Path,
    inputs: npt.NDArray[Any],
    here: Conditions,
    *,
    limits: Mapping[str, float],
    sources: Mapping[str, str],
    seconds: float,
) -> tuple[dict[str, float | None], tuple[Check, ...]]:
    """The percentiles and a check for each limit of theirs, as `edgekd latency` makes them, until they are clear."""
    (only,) = inputs_of(path)
    timed = versus.time_both(
        Contestant(path=path, options=here.options, feeds={only.name: inputs}),
        budget.reference(here.options),
        decided=lambda cycles: budget.look(cycles, limits=limits),
        max_seconds=seconds,
        memory_bytes=here.memory_bytes,
        seed=here.seed,
        stage="fit",
    )
    # Whether all samples get the same answer is a fault of a trained network, and chance in one that is not.
    raw = timed.raw() | {"constant": {"new": False}}
    measured, found = budget.judge(raw, limits=limits, sources=sources)
    return measured, found.checks
