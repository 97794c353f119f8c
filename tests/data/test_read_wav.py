"""WAV files of every width, and the ones that are refused, each by its name."""

import struct
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.data.read_wav import fit, read_wav


def write(path: Path, raw: bytes, *, width: int = 2, channels: int = 1, rate: int = 16_000) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(raw)
    return path


@pytest.mark.parametrize(
    ("width", "raw", "expected"),
    [
        (1, bytes([0, 127, 128, 255]), [-32_768, -256, 0, 32_512]),
        (2, struct.pack("<4h", -32_768, -1, 0, 32_767), [-32_768, -1, 0, 32_767]),
        (3, b"\x00\x00\x80\xff\xff\xff\xff\x00\x00\xff\xff\x7f", [-32_768, -1, 0, 32_767]),
        (4, struct.pack("<4i", -(2**31), -1, 65_535, 2**31 - 1), [-32_768, -1, 0, 32_767]),
    ],
)
def test_each_width_becomes_its_upper_sixteen_bits(tmp_path: Path, width: int, raw: bytes, expected: list[int]) -> None:
    samples, rate = read_wav(write(tmp_path / "a.wav", raw, width=width, rate=8_000))
    assert (samples.dtype, samples.tolist(), rate) == (np.int16, expected, 8_000)


def test_stereo_is_refused_with_the_two_ways_out(tmp_path: Path) -> None:
    path = write(tmp_path / "both ears.wav", struct.pack("<4h", 1, 2, 3, 4), channels=2)
    with pytest.raises(ValueError, match=r"both ears.wav: has 2 channels; .*-ac 1.*data.audio.mono = \"mix\""):
        read_wav(path)


def test_mixed_stereo_is_the_mean_rounded_down_without_overflow(tmp_path: Path) -> None:
    raw = struct.pack("<6h", 32_767, 32_767, -32_768, -32_767, 1, 2)
    assert read_wav(write(tmp_path / "a.wav", raw, channels=2), mix=True)[0].tolist() == [32_767, -32_768, 1]


def test_a_file_without_samples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a.wav: has no samples"):
        read_wav(write(tmp_path / "a.wav", b""))


def test_a_file_that_was_cut_off_says_how_much_is_there(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", bytes(200))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"a.wav: the header tells of 100 samples, 50 are there"):
        read_wav(path)


@pytest.mark.parametrize("raw", [b"", b"RIFF", b"ID3\x03 an mp3", b"RIFF\x10\0\0\0WAVEjunk\xff\xff\xff\xff"])
def test_what_is_no_wav_file_is_refused_by_name(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "song.wav"
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"song.wav: not a readable PCM WAV file .*ffmpeg"):
        read_wav(path)


def test_floating_point_samples_are_refused_by_their_format_number(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", bytes(8))
    whole = bytearray(path.read_bytes())
    whole[20:22] = struct.pack("<H", 3)  # WAVE_FORMAT_IEEE_FLOAT
    path.write_bytes(bytes(whole))
    with pytest.raises(ValueError, match=r"a.wav: .*unknown format: 3.*pcm_s16le"):
        read_wav(path)


@given(st.lists(st.integers(-32_768, 32_767), min_size=1, max_size=20), st.integers(1, 30))
def test_a_clip_keeps_its_beginning_and_ends_in_zeros(values: list[int], length: int) -> None:
    fitted = fit(np.array(values, dtype=np.int16), length)
    assert fitted.dtype == np.int16
    assert fitted.tolist() == (values + [0] * length)[:length]
