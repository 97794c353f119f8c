"""Runs a network with taps on a piece of the inputs, and names the tensor and the sample that are not finite."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError
from edgekd.quantize.calibrate.taps import STRATA, Taps
from edgekd.session import first_line, import_onnxruntime, native_errors

if TYPE_CHECKING:
    import onnx

GOLDEN = (5**0.5 - 1) / 2
"""Its multiples, modulo 1, fill the unit interval evenly however many there are (Weyl, 1916)."""

GRAIN = 2.0**24
"""u is a multiple of 2 ** -24, at most 1 - 2 ** -24: i + u is exact, and never rounds up to the next element."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one tap gives for one batch. values: (samples, up to k) float32, (1, ...) where samples share it."""

    low: float
    high: float
    magnitude: float
    values: npt.NDArray[np.float32]

    @property
    def finite(self) -> bool:
        """Whether all elements of the tensor are."""
        return bool(np.isfinite(self.low) and np.isfinite(self.high) and not np.isnan(self.magnitude))


class Tapped:
    """A session of a network with taps.

    batch: the only number of samples that the network takes, None where it takes any. least: the fewest samples of a
    batch; smaller pieces are filled up with copies of their last sample, which are the last rows of `Reading.values`
    and move no extreme. Two where any number runs, because ONNX Runtime multiplies a single row by a matrix with other
    code, and rounds otherwise.
    """

    def __init__(
        self,
        model: "onnx.ModelProto",
        path: Path,
        taps: Taps,
        *,
        input_name: str,
        count: int,
        batch: int | None,
        least: int,
        threads: int,
    ) -> None:
        """model: with the taps; its external data lies beside the file `path`.

        Raises:
            BadInputError: ONNX Runtime cannot load it.
        """
        self.taps, self.batch, self.least = taps, batch, least
        self._input_name = input_name
        self._places = np.random.default_rng(0).random(count)
        ort = import_onnxruntime()
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # The kernels that the network will run with, a fifth faster than without. A tensor with a tap has two readers,
        # so that no fusion can swallow it.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(path.absolute().parent)
        )
        try:
            self._session = ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
        except native_errors() as err:
            raise BadInputError(f"model {path}: ONNX Runtime cannot load it: {first_line(err)}") from err

    def runs(self, piece: npt.NDArray[Any]) -> bool:
        """Whether the network takes a batch of the least size."""
        try:
            self._run(piece, 0)
        except BadInputError:
            return False
        return True

    def measure(self, piece: npt.NDArray[Any], first: int) -> dict[str, Reading]:
        """Tapped tensor -> its reading, in the graph's order. first: the index of the piece's first sample.

        Raises:
            BadInputError: ONNX Runtime cannot run it, or a tensor is not finite.
        """
        readings = self._run(piece, first)
        if not all(reading.finite for reading in readings.values()):
            raise self._blame(piece, first)
        return readings

    def _run(self, piece: npt.NDArray[Any], first: int) -> dict[str, Reading]:
        missing = max(0, self.least - len(piece))
        filled = np.concatenate([piece, np.repeat(piece[-1:], missing, axis=0)]) if missing else piece
        feeds = {self._input_name: filled, STRATA: self._strata(first, len(filled))}
        try:
            outputs = self._session.run(self.taps.outputs, feeds)
        except native_errors() as err:
            raise BadInputError(f"ONNX Runtime cannot run the model on {filled.shape}: {first_line(err)}") from err
        parts = (outputs[part::4] for part in range(4))
        return {
            name: Reading(low=float(low), high=float(high), magnitude=float(magnitude), values=values)
            for name, low, high, magnitude, values in zip(self.taps.tensors, *parts, strict=True)
        }

    def _strata(self, first: int, samples: int) -> npt.NDArray[np.float64]:
        """(samples, k): in each stratum another place for each sample, evenly over many samples."""
        shifts = (np.arange(first, first + samples) * GOLDEN)[:, None]
        places = np.floor((self._places + shifts) % 1 * GRAIN) / GRAIN
        strata: npt.NDArray[np.float64] = places + np.arange(len(self._places))
        return strata

    def _blame(self, piece: npt.NDArray[Any], first: int) -> BadInputError:
        """The error that names the first tensor of the first sample which is not finite."""
        for index in range(len(piece)):
            readings = self._run(piece[index : index + 1], first + index)
            for name, reading in readings.items():
                if not reading.finite:
                    return BadInputError(
                        f"calibration sample {first + index} makes tensor '{name}' NaN or infinite; expected finite "
                        "numbers: leave the sample out, or repair the network"
                    )
        return BadInputError(
            f"calibration samples {first} to {first + len(piece) - 1} make a tensor NaN or infinite together, and none "
            "alone; expected a network that treats its samples one by one"
        )
