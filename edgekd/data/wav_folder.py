"""A folder of WAV files in class folders -> int16 samples of one rate and one length, with a speaker each."""

import csv
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgekd.data.dataset import Pool, Samples
from edgekd.data.image_folder import class_folders, evaluation_root
from edgekd.data.read_wav import fit, read_wav
from edgekd.data.sample_file import SampleFile, of_path
from edgekd.decoded import MEMORY, Storage
from edgekd.errors import BadInputError
from edgekd.rows import CHUNK_BYTES, Inputs

OTHER_SOUNDS = frozenset((".aac", ".aif", ".aiff", ".amr", ".au", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".wma"))

PICTURES = frozenset((".png", ".jpg", ".jpeg"))

USUAL_FMAX = 4_000.0

LONGEST_SECONDS = 60.0
"""Without data.audio.seconds every clip becomes as long as the longest; beyond a minute that was hardly meant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clips:
    """How WAV files become samples of one length.

    seconds: of every clip: longer ones are cut, shorter ones get zeros, both at the end, as the Speech Commands recipe
    does (Warden 2018, arXiv 1804.03209, section 7); None takes the longest file's. sample_rate: hertz that every file
    must have; None takes what they agree on. mono: `mix` makes one channel of several, `refuse` does not.
    group_pattern: a regular expression with one group, searched in a file's path below the source, that finds its
    speaker. group_file: a CSV file with the columns `path` (below the source) and `group`.

    The rest is of the log-mel front end (`edgekd.front.log_mel`): window_ms, hop_ms in milliseconds, fmin, fmax in
    hertz; fmax None takes 4,000 or half the rate, whichever is less.
    """

    seconds: float | None = None
    sample_rate: int | None = None
    mono: Literal["refuse", "mix"] = "refuse"
    group_pattern: str | None = None
    group_file: Path | None = None
    window_ms: float = 30.0
    hop_ms: float = 20.0
    mels: int = 40
    fmin: float = 20.0
    fmax: float | None = None
    log_offset: float = 1e-6
    mel_scale: Literal["htk", "slaney"] = "htk"

    def front(self, rate: int) -> dict[str, Any]:
        """The facts of the front end for clips of this rate, JSON-ready: windows in samples."""
        return {
            "sample_rate": rate,
            "mono": self.mono,
            "window": max(2, round(self.window_ms * rate / 1000)),
            "hop": max(1, round(self.hop_ms * rate / 1000)),
            "mels": self.mels,
            "fmin": self.fmin,
            "fmax": min(USUAL_FMAX, rate / 2) if self.fmax is None else self.fmax,
            "offset": self.log_offset,
            "scale": self.mel_scale,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Clip:
    """A file. name: its path below the source, with forward slashes. count: its samples. samples: those, where they are
    kept.
    """

    path: Path
    name: str
    label: int
    count: int
    samples: npt.NDArray[np.int16] | None


def holds_sound(folder: Path) -> bool:
    """Whether the first file below the folder that is a sound or a picture is a sound, PCM WAV or not."""
    for _, folders, files in os.walk(folder):
        folders.sort()
        for suffix in (Path(name).suffix.lower() for name in sorted(files)):
            if suffix in OTHER_SOUNDS | PICTURES | {".wav"}:
                return suffix not in PICTURES
    return False


def read_wav_folder(folder: Path, clips: Clips, *, storage: Storage = MEMORY) -> Pool:
    """The WAV files anywhere below `folder/CLASS`, or the same below `folder/train` and `folder/test`.

    Raises:
        BadInputError: no class folders, no sound or one in another format in them, a file that cannot be read, is
            empty, has several channels or another rate; clips shorter than a window; a file without a speaker where
            speakers are asked for. The message names the file.
    """
    train_root = folder / "train" if evaluation_root(folder) != folder else folder
    test_root = evaluation_root(folder)
    classes = class_folders(train_root)
    if class_folders(test_root) != classes:
        raise BadInputError(
            f"{folder}: train/ has the classes {classes}, test/ {class_folders(test_root)}; expected the same"
        )
    train, rate = _read(folder, train_root, classes, clips, rate=clips.sample_rate, storage=storage)
    test: list[_Clip] = []
    if test_root != folder:
        test, rate = _read(folder, test_root, classes, clips, rate=rate, storage=storage)
    length = _length([*train, *test], clips, rate)
    front = clips.front(rate)
    if length < front["window"]:
        raise BadInputError(
            f"{folder}: clips of {length} samples are shorter than a window of {front['window']} (data.audio.window_ms "
            f"= {clips.window_ms:g}); set data.audio.seconds, or a shorter window"
        )
    groups = _groups(folder, [*train, *test], clips)
    return Pool(
        classes=classes,
        train=_samples(folder, train, length, groups, clips, storage),
        test=_samples(folder, test, length, groups, clips, storage) if test else None,
        kind="audio",
        front=front,
        original=partial(_original, folder),
    )


def _original(folder: Path, name: str) -> SampleFile:
    """The sound behind a sample. name: its id, the path below the source."""
    return of_path(folder / name, name)


def _read(
    folder: Path, root: Path, classes: tuple[str, ...], clips: Clips, *, rate: int | None, storage: Storage
) -> tuple[list[_Clip], int]:
    """Every clip below `root`, and the rate that all have. Samples are kept only while all of them fit in memory."""
    found: list[_Clip] = []
    paths = [(k, p) for k, name in enumerate(classes) for p in _sounds(root / name)]
    longest, limit = 0, storage.most_bytes() / (2 * max(1, len(paths)))
    for label, path in paths:
        try:
            samples, own = read_wav(path, mix=clips.mono == "mix")
        except ValueError as err:
            raise BadInputError(str(err)) from err
        rate = rate or own
        if own != rate:
            expected = f"{found[0].path} has {rate}" if found else f"data.audio.sample_rate = {rate}"
            raise BadInputError(
                f"{path}: has {own} samples a second, {expected}; expected one rate: convert the file "
                f"(ffmpeg -i IN -ar {rate} OUT.wav)"
            )
        longest = max(longest, len(samples) if clips.seconds is None else round(clips.seconds * rate))
        kept = samples if longest <= limit else None
        name = path.relative_to(folder).as_posix()
        found.append(_Clip(path=path, name=name, label=label, count=len(samples), samples=kept))
        if kept is None and found[0].samples is not None:
            found = [replace(clip, samples=None) for clip in found]
    if rate is None or not found:
        raise BadInputError(f"{root}: found no WAV files; expected some in each class folder")
    return found, rate


def _sounds(folder: Path) -> Iterator[Path]:
    """The WAV files below a class folder; sound in another format is an error: leaving it out would say nothing."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.suffix.lower() in OTHER_SOUNDS:
            raise BadInputError(
                f"{path}: found a {path.suffix} file; expected PCM WAV; convert it: ffmpeg -i IN -c:a pcm_s16le OUT.wav"
            )
        if path.suffix.lower() == ".wav":
            yield path


def _length(clips: list[_Clip], asked: Clips, rate: int) -> int:
    """Samples of every clip."""
    if asked.seconds is not None:
        return max(1, round(asked.seconds * rate))
    longest = max(clips, key=lambda clip: clip.count)
    if longest.count > LONGEST_SECONDS * rate:
        raise BadInputError(
            f"{longest.path}: {longest.count / rate:.1f} s long, and data.audio.seconds is not set: every clip "
            "would become as long; set it, for example to 1.0"
        )
    return longest.count


def _samples(
    folder: Path, clips: list[_Clip], length: int, groups: Mapping[str, str], asked: Clips, storage: Storage
) -> Samples:
    names = [clip.name for clip in clips]
    held = [fit(clip.samples, length) for clip in clips if clip.samples is not None]
    return Samples(
        inputs=np.stack(held) if len(held) == len(clips) else _kept(folder, clips, length, asked, storage),
        labels=np.array([clip.label for clip in clips], dtype=np.int64),
        ids=np.array(names),
        groups=np.array([groups[name] for name in names]) if groups else None,
    )


def _kept(folder: Path, clips: list[_Clip], length: int, asked: Clips, storage: Storage) -> Inputs:
    """The samples in a file, read a second time: the first one told how long they are."""
    step = max(1, CHUNK_BYTES // (2 * length))

    def read(start: int) -> Iterator[npt.NDArray[np.int16]]:
        for at in range(start, len(clips), step):
            some = clips[at : at + step]
            yield np.stack([fit(read_wav(clip.path, mix=asked.mono == "mix")[0], length) for clip in some])

    return storage.keep(
        source=folder,
        files=[(clip.name, clip.path) for clip in clips],
        settings={"kind": "sounds", "mono": asked.mono},
        row=(length,),
        dtype=np.int16,
        count=len(clips),
        read=read,
    )


def _groups(folder: Path, clips: list[_Clip], asked: Clips) -> Mapping[str, str]:
    """Name -> speaker; empty where none are asked for."""
    names = [clip.name for clip in clips]
    if asked.group_pattern is not None:
        return _by_pattern(folder, names, asked.group_pattern)
    if asked.group_file is not None:
        return _by_file(names, asked.group_file)
    return {}


def _by_pattern(folder: Path, names: list[str], pattern: str) -> Mapping[str, str]:
    try:
        compiled = re.compile(pattern)
    except re.error as err:
        raise BadInputError(f"data.audio.group_pattern '{pattern}': {err}; expected a regular expression") from err
    if compiled.groups != 1:
        raise BadInputError(
            f"data.audio.group_pattern '{pattern}' has {compiled.groups} groups; expected one in (parentheses), the "
            "speaker"
        )
    found = {}
    for name in names:
        match = compiled.search(name)
        if match is None or not match[1]:
            raise BadInputError(
                f"{folder / name}: data.audio.group_pattern '{pattern}' finds no speaker in '{name}'; rename the file "
                "or change the pattern"
            )
        found[name] = match[1]
    return found


def _by_file(names: list[str], path: Path) -> Mapping[str, str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            fields = reader.fieldnames or []
            rows: list[dict[str, Any]] = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise BadInputError(f"data.audio.group_file {path}: {err}; expected CSV in UTF-8, path and group") from err
    if not {"path", "group"} <= set(fields):
        raise BadInputError(
            f"data.audio.group_file {path}: has the columns {', '.join(fields) or 'none'}; expected path and group"
        )
    table: dict[str, str] = {}
    for row in rows:
        name, group = row["path"] or "", row["group"] or ""
        if table.setdefault(name, group) != group:
            raise BadInputError(
                f"data.audio.group_file {path}: '{name}' is in the groups '{table[name]}' and '{group}'; keep one row"
            )
    missing = [name for name in names if not table.get(name)]
    if missing:
        raise BadInputError(
            f"data.audio.group_file {path}: has no group for {len(missing)} of {len(names)} files, such as "
            f"'{missing[0]}'; add a row for each"
        )
    return table
