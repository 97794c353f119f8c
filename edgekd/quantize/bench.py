"""The bench of the search: builds a candidate, probes it, keeps the best file of each variant and notes every try."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError
from edgekd.progress import Listener, Progress
from edgekd.quantize.calibrate import Histogram, observe, ranges
from edgekd.quantize.convert import CONVERTED
from edgekd.quantize.front_end import front_end
from edgekd.quantize.portable import saturating
from edgekd.quantize.prepare import failures
from edgekd.quantize.probe import Probe, Probes
from edgekd.quantize.scheme import Method, Scheme
from edgekd.quantize.write import write
from edgekd.session import SessionOptions, first_line

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A file that was built and probed. scheme: None where it is no static int8 file; fp32: what it was made of."""

    variant: str
    scheme: Scheme | None
    fp32: Path
    path: Path
    probe: Probe

    def sentence(self) -> str:
        """How it was quantized, in words."""
        return self.scheme.sentence() if self.scheme else CONVERTED[self.variant][1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One thing that was tried. kept: it went on from there; ratio: latency over fp32's, below 1 is faster.

    sqnr_db, drop: as `Probe`. seconds: what the try took.
    """

    stage: str
    variant: str
    tried: str
    kept: bool
    reason: str
    ratio: float | None = None
    sqnr_db: float | None = None
    drop: float | None = None
    seconds: float = 0.0


class Bench:
    """One network on the bench. Times come from `clock` (seconds), so that a budget is tested without waiting."""

    def __init__(
        self,
        prepared: Path,
        calibration: npt.NDArray[Any],
        probes: Probes,
        options: SessionOptions,
        *,
        input_name: str,
        metadata: Mapping[str, str],
        folder: Path,
        budget_seconds: float,
        max_memory_bytes: int | None,
        fix_saturation: bool = False,
        refuse_saturation: bool = False,
        listener: Listener,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.prepared, self.calibration, self.probes, self.options = prepared, calibration, probes, options
        self.input_name, self.metadata, self.folder, self.listener = input_name, metadata, folder, listener
        self.budget_seconds, self.max_memory_bytes, self.clock = budget_seconds, max_memory_bytes, clock
        self.fix_saturation, self.refuse_saturation = fix_saturation, refuse_saturation
        self.started = self.last = clock()
        self.seconds_a_probe = min(0.6, budget_seconds / 60)
        self.best: dict[str, Candidate] = {}
        self.lost: dict[str, str] = {}
        self.decisions: list[Decision] = []
        self.out_of_time = False
        self.front_end = _front_end(prepared)
        self._observed: dict[Path, Mapping[str, Histogram]] = {}

    def build(
        self, variant: str, scheme: Scheme | None, *, fp32: Path | None = None, ratio: float | None = None
    ) -> Candidate | str:
        """A candidate, or why there is none. ratio: known from a file with the same kernels, so it is not timed."""
        source = fp32 or self.prepared
        path = self.folder / f"{variant}-{len(self.decisions)}.onnx"
        try:
            if scheme is None:
                CONVERTED[variant][0](source, path, self.ranges(source, "minmax"), self.front_end)
                self._name(path)
            else:
                scheme = self.write(source, path, scheme)
            probe = self.probes.probe(path, seconds=self.seconds_a_probe, ratio=ratio)
        except BadInputError as err:
            path.unlink(missing_ok=True)
            return str(err)
        except failures() as err:
            path.unlink(missing_ok=True)
            return f"could not be built: {type(err).__name__}: {first_line(err)}"
        return Candidate(variant=variant, scheme=scheme, fp32=source, path=path, probe=probe)

    def write(self, fp32: Path, path: Path, scheme: Scheme) -> Scheme:
        """`fp32` quantized as the scheme says, with the network's own metadata; the scheme that it came to.

        A layer that no choice of weights keeps from saturating, such as a product of two activations, stays in fp32,
        and so does the front end.

        Raises:
            BadInputError: a layer can saturate, and the search is to refuse that.
        """
        ranges = self.ranges(fp32, scheme.method)
        exclude = tuple(sorted({*scheme.exclude, *self.front_end}))
        scheme = replace(scheme, exclude=exclude, front_end=self.front_end)
        write(fp32, path, scheme, ranges)
        heavy = saturating(path) if self.fix_saturation or self.refuse_saturation else ()
        if heavy and self.fix_saturation:
            scheme = replace(scheme, exclude=tuple(sorted({*scheme.exclude, *heavy})))
            write(fp32, path, scheme, ranges)
            heavy = saturating(path)
        if heavy:
            raise BadInputError(f"not portable: {len(heavy)} layer(s) can saturate on AVX2, such as {heavy[0]}")
        self._name(path)
        return scheme

    def save(self, model: "onnx.ModelProto", name: str) -> Path:
        """An fp32 network of the search's own making, as a file on the bench."""
        path = self.folder / f"{name}.onnx"
        path.write_bytes(model.SerializeToString(deterministic=True))
        return path

    def same_ranges(self, fp32: Path, other: Path) -> None:
        """`fp32` is quantized with the ranges of `other`: only its biases differ, to make up for these very ranges."""
        self._observed[fp32] = self._observed[other]

    def ranges(self, fp32: Path, method: Method) -> Mapping[str, tuple[float, float]]:
        """The ranges of a network's activations; it is run once, whatever the number of methods."""
        if fp32 not in self._observed:
            self._observed[fp32] = observe(
                fp32,
                self.calibration,
                input_name=self.input_name,
                threads=self.options.threads,
                max_memory_bytes=self.max_memory_bytes,
                listener=self.listener,
            )
        return ranges(self._observed[fp32], method)

    def keep(self, candidate: Candidate) -> None:
        """This one is its variant's best from now on."""
        before = self.best.get(candidate.variant)
        self.best[candidate.variant] = candidate
        if before is not None:
            before.path.unlink(missing_ok=True)

    def drop(self, candidate: Candidate) -> None:
        """This one lost: its file is not needed any more."""
        candidate.path.unlink(missing_ok=True)

    def note(
        self, stage: str, variant: str, tried: str, *, kept: bool, reason: str, probe: Probe | None = None
    ) -> None:
        """Write down what was tried; the time since the last note is its cost."""
        now = self.clock()
        numbers = {} if probe is None else {"ratio": probe.ratio, "sqnr_db": probe.sqnr_db, "drop": probe.drop}
        self.decisions.append(
            Decision(
                stage=stage, variant=variant, tried=tried, kept=kept, reason=reason, seconds=now - self.last, **numbers
            )
        )
        self.last = now

    def say(self, note: str) -> None:
        """Tell whoever listens what is being tried; the budget is the total, since nobody knows the number of tries."""
        done = min(self.clock() - self.started, self.budget_seconds)
        self.listener(Progress(stage="quantize", done=done, total=self.budget_seconds, note=note))

    def left(self) -> float:
        """Seconds of the budget that are left; at 0 the search ends and keeps what it has."""
        left = self.budget_seconds - (self.clock() - self.started)
        self.out_of_time |= left <= 0
        return max(0.0, left)

    def _name(self, path: Path) -> None:
        """What the network's file says of itself, its variants say too."""
        import onnx

        proto = onnx.load(str(path))
        del proto.metadata_props[:]
        for key, value in self.metadata.items():
            proto.metadata_props.add(key=key, value=value)
        path.write_bytes(proto.SerializeToString(deterministic=True))


def _front_end(prepared: Path) -> tuple[str, ...]:
    import onnx

    return front_end(onnx.load(str(prepared), load_external_data=False))


def finite_and_different(samples: npt.NDArray[Any]) -> None:
    """Refuse calibration data that tells nothing. Raises BadInputError."""
    if len(samples) == 0 or bool(np.all(samples[:1] == samples)):
        raise BadInputError(
            f"calibration data has {len(samples)} sample(s), all equal; expected real, different ones "
            "(some hundreds): ranges taken from a constant are worth nothing"
        )
