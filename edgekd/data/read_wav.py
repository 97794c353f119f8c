"""A WAV file -> 16-bit samples of one channel and one length. Bundles carry this file: it needs numpy alone."""

import wave
from pathlib import Path
from typing import Any

import numpy as np

FIXED = {"longer": "cut at the end", "shorter": "zeros at the end"}
"""How a clip gets its length."""


def read_wav(path: Path, *, mix: bool = False) -> tuple[Any, int]:
    """The samples (n,) int16 of a PCM file of 8, 16, 24 or 32 bits, and its rate in hertz.

    More than 16 bits keep their upper 16, 8 bits become the upper ones. mix: several channels become one, their mean
    rounded down; without it they are an error.

    Raises:
        ValueError: the file is no whole PCM file, is empty, or has several channels; the message names it.
    """
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate, count = file.getparams()[:4]
            raw = file.readframes(count)
    except (wave.Error, EOFError, OSError, RuntimeError) as err:
        cause = str(err) or "it ends before its header does"
        raise ValueError(
            f"{path}: not a readable PCM WAV file ({cause}); convert it: ffmpeg -i IN -c:a pcm_s16le OUT.wav"
        ) from err
    if count == 0:
        raise ValueError(f"{path}: has no samples; expected sound: record it again or delete it")
    if width not in (1, 2, 3, 4) or rate < 1 or channels < 1:
        found = f"{channels} channels of {8 * width} bits at {rate} Hz"
        raise ValueError(f"{path}: found {found}; expected 8, 16, 24 or 32 bits: convert it with -c:a pcm_s16le")
    if len(raw) != count * width * channels:
        there = len(raw) // (width * channels)
        raise ValueError(
            f"{path}: the header tells of {count} samples, {there} are there; the file was cut off or streamed: "
            "write it again"
        )
    if channels > 1 and not mix:
        raise ValueError(
            f"{path}: has {channels} channels; expected 1: convert it (ffmpeg -i IN -ac 1 OUT.wav), or mix them with "
            'data.audio.mono = "mix"'
        )
    samples = _decode(raw, width).reshape(-1, channels)
    if channels > 1:
        samples = (samples.astype(np.int64).sum(axis=1) // channels).astype(np.int16)
    return samples.reshape(-1), rate


def describe(length: int, *, sample_rate: int, mono: str) -> dict[str, Any]:
    """What `read` needs to know, JSON-ready. length: samples of a clip; mono: `mix`, or `refuse` several channels."""
    return {"sample_rate": sample_rate, "mono": mono, "samples": length, **FIXED}


def read(path: Path, facts: dict[str, Any]) -> Any:
    """The clip (samples,) int16 of a WAV file: its beginning, or all of it and silence. facts: of `describe`.

    Raises:
        ValueError: as `read_wav`, or another rate.
    """
    samples, rate = read_wav(path, mix=facts["mono"] == "mix")
    if rate != facts["sample_rate"]:
        raise ValueError(f"{path}: {rate} samples a second; expected {facts['sample_rate']}: resample it")
    return fit(samples, facts["samples"])


def fit(samples: Any, length: int) -> Any:
    """The first `length` samples, zeros after them where there are fewer."""
    return np.pad(samples[:length], (0, max(0, length - len(samples))))


def _decode(raw: bytes, width: int) -> Any:
    """Little-endian PCM (Microsoft and IBM, Multimedia Programming Interface, 1991): 8 bits unsigned, else signed."""
    if width == 1:
        return (np.frombuffer(raw, np.uint8).astype(np.int16) - 128) * 256
    whole = np.frombuffer(raw, np.uint8).reshape(-1, width)
    return np.ascontiguousarray(whole[:, -2:]).view("<i2").astype(np.int16)
