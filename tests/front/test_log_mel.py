"""The log-mel front end against an FFT and triangles written another way, against librosa's numbers, and in ONNX."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
import scipy.signal
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgekd.errors import BadInputError
from edgekd.front.log_mel import LogMel, LogMelSettings, filter_bank, hertz, mel

SETTINGS = LogMelSettings(sample_rate=16_000, window=480, hop=320, fmax=4_000.0)


def sound(seconds: float = 1.0, *, seed: int = 0) -> npt.NDArray[np.int16]:
    """A rising tone over noise, in int16."""
    time = np.arange(round(16_000 * seconds)) / 16_000
    noise = np.random.default_rng(seed).normal(0, 200, len(time))
    return np.asarray(12_000 * scipy.signal.chirp(time, 100, seconds, 6_000) + noise, dtype=np.int16)


def build(settings: LogMelSettings = SETTINGS) -> LogMel:
    return LogMel(settings, mean=(0.0,), std=(1.0,))


def reference(samples: npt.NDArray[np.int16], settings: LogMelSettings) -> npt.NDArray[np.float64]:
    """(mels, frames) by scipy's FFT in float64, triangles by interpolation."""
    frames = np.lib.stride_tricks.sliding_window_view(samples / 32768, settings.window)[:: settings.hop]
    windowed = frames * scipy.signal.get_window("hann", settings.window)
    power = np.abs(np.fft.rfft(windowed, axis=-1)) ** 2
    low, high = (2595 * np.log10(1 + f / 700) for f in (settings.fmin, settings.fmax))
    mels = np.linspace(low, high, settings.mels + 2)
    points = 700 * (10 ** (mels / 2595) - 1)
    axis = np.fft.rfftfreq(settings.window, 1 / settings.sample_rate)
    bank = [np.interp(axis, points[k : k + 3], [0, 1, 0], left=0, right=0) for k in range(settings.mels)]
    return np.asarray(np.log(power @ np.array(bank).T + settings.offset).T)


@pytest.mark.parametrize("window", [400, 480, 481, 512])
def test_energies_are_those_of_an_fft(window: int) -> None:
    settings = LogMelSettings(sample_rate=16_000, window=window, hop=160, mels=32, fmax=7_600.0)
    samples = sound()
    ours = build(settings).energies(torch.from_numpy(samples)[None])[0, 0].numpy()
    # float32 sums of 480 products; the quietest bands of a loud clip lose most.
    assert np.abs(ours - reference(samples, settings)).max() < 2e-3


def test_a_full_scale_tone_has_the_energy_worked_by_hand() -> None:
    # 1 kHz is bin 30 of 480 at 16 kHz: amplitude x window sum / 2 = 0.5 x 240 / 2 = 60 there, half of it on each side.
    time = np.arange(480) / 16_000
    tone = np.round(16_384 * np.cos(2 * np.pi * 1_000 * time)).astype(np.int16)
    bank = filter_bank(SETTINGS)
    expected = np.log(bank[:, 30] * 3_600 + (bank[:, 29] + bank[:, 31]) * 900 + 1e-6)
    ours = build().energies(torch.from_numpy(tone)[None])[0, 0, :, 0].numpy()
    loud = expected > 0
    assert loud.sum() >= 2
    assert np.abs(ours[loud] - expected[loud]).max() < 1e-3


def test_silence_is_the_logarithm_of_the_offset() -> None:
    quiet = build().energies(torch.zeros(1, 480, dtype=torch.int16))
    assert torch.allclose(quiet, torch.full_like(quiet, np.log(1e-6)))


def test_the_filter_bank_is_librosas() -> None:
    # librosa 0.11.0: filters.mel(sr=16000, n_fft=480, n_mels=40, fmin=20, fmax=4000, htk=True, norm=None), and
    # n_fft=512, n_mels=32, fmin=0, fmax=8000, htk=False, norm=None; over all numbers they differ by less than 4e-15.
    htk = filter_bank(SETTINGS)
    assert [htk[0, 1], htk[0, 2], htk[10, 15], htk.sum()] == pytest.approx(
        [0.39551940936934366, 0.6328713106945519, 0.8394128042502162, 115.72544146770147], abs=1e-12
    )
    slaney = filter_bank(
        LogMelSettings(sample_rate=16_000, window=512, hop=160, mels=32, fmin=0.0, fmax=8_000.0, scale="slaney")
    )
    assert [slaney[0, 1], slaney.sum()] == pytest.approx([0.3418837668923793, 243.01045192224905], abs=1e-11)


@given(st.floats(0, 24_000), st.sampled_from(["htk", "slaney"]))
def test_hertz_undoes_mel(frequency: float, scale: str) -> None:
    back = hertz(mel(np.array([frequency]), scale), scale)
    assert np.allclose(back, frequency, rtol=1e-9, atol=1e-6)


def test_a_kilohertz_is_a_thousand_mel_in_one_scale_and_fifteen_in_the_other() -> None:
    assert mel(np.array([1_000.0]), "htk")[0] == pytest.approx(999.9855, abs=1e-3)
    assert mel(np.array([1_000.0, 6_400.0]), "slaney").tolist() == pytest.approx([15.0, 42.0])


@given(st.integers(8, 40), st.floats(0, 300), st.floats(2_000, 8_000), st.sampled_from(["htk", "slaney"]))
def test_every_frequency_between_the_outer_peaks_is_shared_out_whole(
    mels: int, fmin: float, fmax: float, scale: str
) -> None:
    settings = LogMelSettings(sample_rate=16_000, window=2_048, hop=512, mels=mels, fmin=fmin, fmax=fmax, scale=scale)  # type: ignore[arg-type]
    bank = filter_bank(settings)
    low, high = mel(np.array([fmin, fmax]), scale)
    points = hertz(np.linspace(low, high, mels + 2), scale)
    axis = np.arange(1_025) * 16_000 / 2_048
    between = (axis >= points[1]) & (axis <= points[-2])
    assert np.allclose(bank[:, between].sum(axis=0), 1.0)
    assert (bank >= 0).all() and bank.max() <= 1


def test_the_exported_graph_gives_the_same_numbers_and_has_no_exotic_operator(tmp_path: Path) -> None:
    path = tmp_path / "front.onnx"
    front = LogMel(SETTINGS, mean=tuple(range(40)), std=tuple(range(1, 41))).eval()
    samples = torch.from_numpy(np.stack([sound(seed=0), sound(seed=1)]))
    torch.onnx.export(
        front, (samples,), str(path), dynamo=True, opset_version=18, dynamic_shapes=({0: torch.export.Dim("n", min=1)},)
    )
    kinds = {node.op_type for node in onnx.load(str(path)).graph.node}
    assert kinds <= {"Cast", "Unsqueeze", "Reshape", "Conv", "Mul", "Add", "Log", "Sub", "Div", "Transpose"}
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for count in (1, 2):
        (answer,) = session.run(None, {session.get_inputs()[0].name: samples[:count].numpy()})
        assert np.abs(answer - front(samples[:count]).numpy()).max() < 1e-3


def test_statistics_make_each_band_mean_nought_and_deviation_one() -> None:
    facts = json.loads(json.dumps({"sample_rate": 16_000, "window": 480, "hop": 320, "fmax": 4_000.0, "mels": 20}))
    clips = np.stack([sound(seed=seed) for seed in range(6)])
    front = LogMel.build(facts, **dict(zip(("mean", "std"), LogMel.statistics(clips, facts), strict=True)))
    bands = front(torch.from_numpy(clips))
    assert bands.shape == (6, 1, 20, 49)
    assert bands.mean(dim=(0, 1, 3)).abs().max() < 1e-4
    assert (bands.std(dim=(0, 1, 3), unbiased=False) - 1).abs().max() < 1e-4


def test_windows_that_fit_are_counted() -> None:
    assert [SETTINGS.frames(n) for n in (479, 480, 799, 800, 16_000)] == [0, 1, 1, 2, 49]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fmax": 9_000.0}, "half of the 16000"),
        ({"fmin": 5_000.0}, "fmin < fmax"),
        ({"mels": 200}, "fewer mels or a longer data.audio.window_ms"),
    ],
)
def test_what_the_rate_or_the_window_cannot_hold_is_an_error(changes: dict[str, float], words: str) -> None:
    facts = {"sample_rate": 16_000, "window": 480, "hop": 320, "fmax": 4_000.0} | changes
    with pytest.raises(BadInputError, match=words):
        LogMel.build(facts, mean=(0.0,), std=(1.0,))
