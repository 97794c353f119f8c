"""Spoken digits from Debian's espeak-ng (synthesised speech, not recordings), a speaker a voice, as WAV folders.

    apt-get install espeak-ng
    python -m benchmarks.spoken_digits runs/digits

writes runs/digits/DIGIT/SPEAKER_TAKE.wav: one second at 8 kHz, each speaker an accent with a voice of its own, each
take with another pace, pitch, start and background noise. The same espeak-ng gives the same bytes again.
A network that is good on them has learned to tell synthetic digits apart across voices, and not more than that.
"""

import argparse
import io
import subprocess
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.signal import resample_poly

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-rp", "en-gb-x-gbcwmd", "en-029", "en-us-nyc")
VOICES = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5",
          "Andy", "Annie", "Gene", "Hugo", "Jacky", "Lee", "Linda", "Mario", "Michael", "Steph3", "Storm",
          "belinda", "benjamin", "boris", "caleb", "croak", "ed", "edward", "klatt", "klatt3", "max", "pablo", "paul",
          "quincy", "rob", "travis", "zac")  # fmt: skip
RATE = 8_000
"""Samples a second of what is written, the telephone's; espeak-ng speaks at 22,050."""


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder to write; there is one folder a digit in it afterwards")
    parser.add_argument("--speakers", type=int, default=len(VOICES), help=f"at most {len(VOICES)}")
    parser.add_argument("--takes", type=int, default=8, help="of each digit by each speaker")
    parser.add_argument("--noise-db", type=float, nargs=2, default=(0.0, 20.0), help="least and most signal to noise")
    given = parser.parse_args()
    count = write(given.out, speakers=given.speakers, takes=given.takes, noise_db=tuple(given.noise_db))
    print(f"{count} WAV files of synthesised speech in {given.out}")


def write(out: Path, *, speakers: int, takes: int, noise_db: tuple[float, float] = (0.0, 20.0)) -> int:
    """Synthesise what is not there yet; how many files there are. noise_db: range of the signal to noise ratio."""
    count = 0
    for number, voice in enumerate(VOICES[:speakers]):
        speaker = f"{ACCENTS[number % len(ACCENTS)]}+{voice}"
        for word in DIGITS:
            (out / word).mkdir(parents=True, exist_ok=True)
            for take in range(takes):
                path = out / word / f"{speaker}_{take}.wav"
                if not path.exists():
                    _save(path, one(word, speaker, np.random.default_rng([number, DIGITS.index(word), take]), noise_db))
                count += 1
    return count


def one(word: str, speaker: str, random: np.random.Generator, noise_db: tuple[float, float]) -> npt.NDArray[np.int16]:
    """A second of one spoken word over pink noise, int16."""
    spoken = _speak(word, speaker, pace=int(random.integers(120, 220)), pitch=int(random.integers(30, 75)))
    loud = np.flatnonzero(np.abs(spoken) > 0.02 * np.abs(spoken).max())
    spoken = spoken[loud[0] : loud[-1] + 1][: RATE - 1]
    start = int(random.integers(0, RATE - len(spoken)))
    clip = np.zeros(RATE)
    clip[start : start + len(spoken)] = spoken / np.sqrt(np.mean(spoken**2))
    clip += 10 ** (-random.uniform(*noise_db) / 20) * _pink(random)
    return np.asarray(np.round(clip / np.abs(clip).max() * 32_767 * random.uniform(0.1, 0.9)), dtype=np.int16)


def _speak(word: str, speaker: str, *, pace: int, pitch: int) -> npt.NDArray[np.float64]:
    command = ["espeak-ng", "-v", speaker, "-s", str(pace), "-p", str(pitch), "--stdout", word]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    with wave.open(io.BytesIO(raw)) as file:
        rate = file.getframerate()
    samples = np.frombuffer(raw[44:], dtype="<i2").astype(np.float64)  # streamed: its header does not know the length
    return np.asarray(resample_poly(samples, RATE, rate))


def _pink(random: np.random.Generator) -> npt.NDArray[np.float64]:
    """A second of noise with equal energy an octave from 50 Hz on, as rooms have it, of mean square 1."""
    spectrum = np.fft.rfft(random.standard_normal(RATE))
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 50)), RATE)
    return np.asarray(noise / np.sqrt(np.mean(noise**2)))


def _save(path: Path, samples: npt.NDArray[np.int16]) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.astype("<i2").tobytes())


if __name__ == "__main__":
    main()
