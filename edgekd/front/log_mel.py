"""Sound -> a picture of it: the logarithm of the energy in mel bands over time, inside the exported graph.

The short-time Fourier transform is one convolution whose filters are windowed cosines and sines, the filter bank a
second one. So the front end runs wherever ONNX's Conv, Mul and Log do, and needs no DFT operator.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edgekd.data import read_wav
from edgekd.errors import BadInputError
from edgekd.front.base import Front
from edgekd.rows import Inputs

FULL_SCALE = 32_768.0

HTK, SLANEY_HZ, SLANEY_STEP = 2595.0, 200.0 / 3.0, np.log(6.4) / 27.0

CHUNK = 256
"""Clips whose energies are in memory at a time while statistics are taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogMelSettings:
    """Of one front end. window, hop: samples. fmin, fmax: hertz, the ends of the lowest and the highest band.

    offset: added to a band's energy before the logarithm, in units of full scale squared; the default 1e-6 is that of
    TensorFlow's log-mel example (https://www.tensorflow.org/api_docs/python/tf/signal/mfccs_from_log_mel_spectrograms).
    scale: of the mel axis, as librosa's `htk` tells.
    """

    sample_rate: int
    window: int
    hop: int
    mels: int = 40
    fmin: float = 20.0
    fmax: float
    offset: float = 1e-6
    scale: Literal["htk", "slaney"] = "htk"

    def frames(self, samples: int) -> int:
        """Windows that fit into a clip, whole ones only: nothing is padded."""
        return 1 + (samples - self.window) // self.hop if samples >= self.window else 0


class LogMel(Front):
    """int16 samples in, standardised log-mel energies out.

    mean, std: one number a band, of the training data, or one for all; kept as buffers, so they travel with the
    weights.
    """

    mean: Tensor
    std: Tensor
    mono: str
    samples: int | None
    fourier: Tensor
    bank: Tensor

    INPUT: ClassVar[str] = "audio"
    LAYOUT: ClassVar[str] = "samples"

    def __init__(self, settings: LogMelSettings, *, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """Build the filters.

        Raises:
            BadInputError: a band without a frequency of the window in it, or a frequency that the rate cannot hold.
        """
        super().__init__()
        self.settings, self.mono, self.samples = settings, "refuse", None
        bank = filter_bank(settings)
        used = np.flatnonzero(bank.any(axis=0))  # bins outside the bands are not computed: for 4 kHz of 8, half of all
        waves = fourier(settings, used) / FULL_SCALE
        both = np.concatenate([bank[:, used], bank[:, used]], axis=1)  # of the squares of cosine and sine parts
        self.register_buffer("fourier", torch.from_numpy(waves[:, None, None].astype(np.float32)), persistent=False)
        self.register_buffer("bank", torch.from_numpy(both[:, :, None, None].astype(np.float32)), persistent=False)
        for name, row in (("mean", mean), ("std", std)):
            bands = torch.tensor(row, dtype=torch.float32).expand(settings.mels)
            self.register_buffer(name, bands.reshape(1, 1, -1, 1).clone())

    def energies(self, samples: Tensor) -> Tensor:
        """(batch, samples) int16, or float in its range -> (batch, 1, mels, frames) float32, natural logarithms."""
        # Never in bfloat16: 8 bits of mantissa in 480 products drown the quiet bands.
        with torch.autocast(samples.device.type, enabled=False):
            # As pictures of height 1: ONNX Runtime's 2-D float kernels take a quarter less time than its 1-D ones.
            line = samples.float().unsqueeze(1).unsqueeze(1)
            parts = nn.functional.conv2d(line, self.fourier, stride=(1, self.settings.hop))
            energies = nn.functional.conv2d(parts * parts, self.bank)
            return torch.log(energies + self.settings.offset).transpose(1, 2)

    def forward(self, samples: Tensor) -> Tensor:
        """(batch, samples) int16 -> (batch, 1, mels, frames) float32, about mean 0 and deviation 1 in each band."""
        return (self.energies(samples) - self.mean) / self.std

    @classmethod
    def build(cls, facts: Mapping[str, Any], *, mean: tuple[float, ...], std: tuple[float, ...]) -> Self:
        """See `edgekd.front.Front`. facts: the fields of `LogMelSettings`; `mono`, what a file of two channels is;
        `samples`, the length of a clip."""
        own = {name: value for name, value in facts.items() if name not in ("mono", "samples")}
        front = cls(LogMelSettings(**own), mean=mean, std=std)
        front.mono, front.samples = facts.get("mono", "refuse"), facts.get("samples")
        return front

    @classmethod
    def statistics(cls, inputs: Inputs, facts: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each band over all windows, float64 sums; a constant band gets deviation 1."""
        front = cls.build(facts, mean=(0.0,), std=(1.0,))
        total = torch.zeros(2, front.settings.mels, dtype=torch.float64)
        count = 0
        with torch.no_grad():
            for start in range(0, len(inputs), CHUNK):
                bands = front.energies(torch.from_numpy(inputs[start : start + CHUNK])).double()
                total += torch.stack([bands.sum(dim=(0, 1, 3)), bands.square().sum(dim=(0, 1, 3))])
                count += len(bands) * bands.shape[-1]
        mean, square = (total / count).numpy()
        std = np.sqrt(np.maximum(square - mean**2, 0.0))
        return tuple(mean.tolist()), tuple(np.where(std > 1e-4, std, 1.0).tolist())

    def describe(self) -> dict[str, Any]:
        """See `edgekd.front.Front`."""
        mean, std = self.mean.flatten().tolist(), self.std.flatten().tolist()
        sound: dict[str, Any] = {"sample_rate": self.settings.sample_rate, "mono": self.mono}
        if self.samples is not None:  # older files do not tell
            sound = read_wav.describe(self.samples, **sound)
        numbers = {"inside_graph": True, "mean": mean, "std": std, "unit": "ln energy"}
        return numbers | {"audio": sound, "log_mel": asdict(self.settings)}


def fourier(settings: LogMelSettings, bins: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """(2 x bins, window): the cosines, then the sines, of the discrete Fourier transform times a periodic Hann window.

    Source of the window: Harris 1978, "On the use of windows for harmonic analysis with the DFT", eq. 27, its period
    the window's length, as in librosa and torch.stft.
    """
    time = np.arange(settings.window)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * time / settings.window)
    # The product modulo the window, in integers: a float angle of many turns loses digits.
    angle = 2 * np.pi * (np.outer(bins, time) % settings.window) / settings.window
    return np.concatenate([np.cos(angle), np.sin(angle)]) * hann


def filter_bank(settings: LogMelSettings) -> npt.NDArray[np.float64]:
    """(mels, window // 2 + 1): triangles over frequency, between points evenly spaced on the mel scale, each 1 high.

    A band's area is not divided out, as librosa's norm="slaney" does: after the logarithm that is a constant, which
    `mean` takes away.

    Raises:
        BadInputError: a band without a frequency of the window in it, or a frequency that the rate cannot hold.
    """
    half = settings.sample_rate / 2
    if not 0 <= settings.fmin < settings.fmax <= half:
        raise BadInputError(
            f"data.audio.fmin = {settings.fmin:g} and data.audio.fmax = {settings.fmax:g} Hz; expected "
            f"0 <= fmin < fmax <= {half:g}, half of the {settings.sample_rate} samples a second"
        )
    low, high = mel(np.array([settings.fmin, settings.fmax]), settings.scale)
    points = hertz(np.linspace(low, high, settings.mels + 2), settings.scale)
    frequencies = np.arange(settings.window // 2 + 1) * settings.sample_rate / settings.window
    rising = (frequencies - points[:-2, None]) / np.diff(points)[:-1, None]
    falling = (points[2:, None] - frequencies) / np.diff(points)[1:, None]
    bank = np.maximum(0.0, np.minimum(rising, falling))
    empty = np.flatnonzero(~bank.any(axis=1))
    if len(empty):
        a, b = points[empty[0]], points[empty[0] + 2]
        raise BadInputError(
            f"data.audio.mels = {settings.mels}: band {empty[0]} ({a:.0f} to {b:.0f} Hz) holds none of the frequencies "
            f"of a window of {settings.window} samples, {settings.sample_rate / settings.window:.1f} Hz apart; take "
            "fewer mels or a longer data.audio.window_ms"
        )
    return bank


def mel(frequency: npt.NDArray[np.float64], scale: str) -> npt.NDArray[np.float64]:
    """Hertz -> mel.

    htk: 2595 log10(1 + f / 700) (O'Shaughnessy 1987; HTK book, section 5.4). slaney: linear up to 1 kHz, logarithmic
    above (Slaney 1998, Auditory Toolbox), as librosa.hz_to_mel without `htk`.
    """
    if scale == "htk":
        return HTK * np.log10(1 + frequency / 700)
    above = np.log(np.maximum(frequency, 1000.0) / 1000.0) / SLANEY_STEP
    return np.where(frequency < 1000.0, frequency / SLANEY_HZ, 15.0 + above)


def hertz(mels: npt.NDArray[np.float64], scale: str) -> npt.NDArray[np.float64]:
    """Mel -> hertz, the inverse of `mel`."""
    if scale == "htk":
        return 700 * (10 ** (mels / HTK) - 1)
    return np.where(mels < 15.0, mels * SLANEY_HZ, 1000.0 * np.exp((np.maximum(mels, 15.0) - 15.0) * SLANEY_STEP))
