"""Folders of WAV files: labels, lengths, speakers, and every folder that is refused."""

import re
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd.data import load
from edgekd.data.wav_folder import Clips, holds_sound, read_wav_folder
from edgekd.errors import BadInputError


def clips(**keys: Any) -> Clips:
    """With windows that fit into these short clips."""
    return Clips(window_ms=5.0, hop_ms=5.0, **keys)


SHORT = clips()


def clip(path: Path, *, samples: int = 100, rate: int = 8_000, channels: int = 1, value: int = 7) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.full(samples * channels, value, dtype="<i2").tobytes())
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two words by two speakers, of 100 and 150 samples."""
    root = tmp_path / "words"
    for word, samples in (("no", 100), ("yes", 150)):
        for speaker in ("ann", "bob"):
            clip(root / word / f"{speaker}_0.wav", samples=samples)
    return root


def error(root: Path, asked: Clips | None = None) -> str:
    with pytest.raises(BadInputError) as caught:
        read_wav_folder(root, asked or SHORT)
    return str(caught.value)


def test_every_clip_is_as_long_as_the_longest_unless_a_length_is_asked_for(folder: Path) -> None:
    read = read_wav_folder(folder, SHORT)
    train = read.train
    assert (read.kind, read.front["sample_rate"], read.classes, read.test) == ("audio", 8_000, ("no", "yes"), None)
    assert (train.inputs.shape, str(train.inputs.dtype), train.labels.tolist()) == ((4, 150), "int16", [0, 0, 1, 1])
    assert (train.inputs[0] != 0).sum() == 100
    assert read_wav_folder(folder, clips(seconds=0.02)).train.inputs.shape == (4, 160)
    assert read_wav_folder(folder, clips(seconds=0.01)).train.inputs.shape == (4, 80)


def test_ids_are_paths_below_the_source_and_groups_come_from_the_pattern(folder: Path) -> None:
    train = read_wav_folder(folder, clips(group_pattern=r"([a-z]+)_\d")).train
    assert train.ids is not None and train.groups is not None
    assert train.ids.tolist() == ["no/ann_0.wav", "no/bob_0.wav", "yes/ann_0.wav", "yes/bob_0.wav"]
    assert train.groups.tolist() == ["ann", "bob", "ann", "bob"]


def test_groups_come_from_a_csv_file_too(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "speakers.csv"
    names = ["no/ann_0.wav", "no/bob_0.wav", "yes/ann_0.wav", "yes/bob_0.wav"]
    table.write_text("path,group\n" + "".join(f"{name},s{k % 2}\n" for k, name in enumerate(names)))
    train = read_wav_folder(folder, clips(group_file=table)).train
    assert train.groups is not None and train.groups.tolist() == ["s0", "s1", "s0", "s1"]
    table.write_text("path,group\nno/ann_0.wav,s0\n")
    assert "has no group for 3 of 4 files, such as 'no/bob_0.wav'" in error(folder, clips(group_file=table))
    table.write_text("file,speaker\n")
    assert "has the columns file, speaker; expected path and group" in error(folder, clips(group_file=table))
    table.write_text("path,group\nno/ann_0.wav,s0\nno/ann_0.wav,s1\n")
    assert "'no/ann_0.wav' is in the groups 's0' and 's1'" in error(folder, clips(group_file=table))
    assert "nowhere.csv" in error(folder, clips(group_file=tmp_path / "nowhere.csv"))


def test_mixed_rates_name_both_files_and_the_conversion(folder: Path) -> None:
    odd = clip(folder / "yes" / "odd.wav", rate=16_000)
    text = error(folder)
    assert text.startswith(f"{odd}: has 16000 samples a second, {folder}/no/ann_0.wav has 8000;")
    assert "-ar 8000" in text


def test_a_rate_that_the_recipe_asks_for_is_not_made_up(folder: Path) -> None:
    assert "has 8000 samples a second, data.audio.sample_rate = 16000;" in error(folder, clips(sample_rate=16_000))


def test_a_file_without_samples_and_a_stereo_one_are_named(folder: Path) -> None:
    empty = clip(folder / "no" / "empty.wav", samples=0)
    assert error(folder).startswith(f"{empty}: has no samples")
    empty.unlink()
    stereo = clip(folder / "no" / "stereo.wav", channels=2)
    assert error(folder).startswith(f"{stereo}: has 2 channels")
    assert len(read_wav_folder(folder, clips(mono="mix")).train) == 5


def test_sound_in_another_format_is_an_error_and_not_left_out(folder: Path) -> None:
    (folder / "no" / "song.MP3").write_bytes(b"ID3")
    assert "song.MP3: found a .MP3 file; expected PCM WAV" in error(folder)


def test_a_folder_without_sound_is_refused(tmp_path: Path) -> None:
    for word in ("no", "yes"):
        (tmp_path / word).mkdir()
    assert "found no WAV files" in error(tmp_path)
    assert not holds_sound(tmp_path)


def test_a_very_long_file_asks_for_a_length(folder: Path) -> None:
    long = clip(folder / "no" / "meeting.wav", samples=61 * 8_000)
    assert error(folder).startswith(f"{long}: 61.0 s long, and data.audio.seconds is not set")
    assert read_wav_folder(folder, clips(seconds=0.5)).train.inputs.shape == (5, 4_000)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [("(", "expected a regular expression"), ("ann", "has 0 groups"), (r"(zoe)", "finds no speaker in 'no/ann_0.wav'")],
)
def test_a_pattern_that_finds_no_speaker_is_an_error(folder: Path, pattern: str, words: str) -> None:
    assert re.search(re.escape(words), error(folder, clips(group_pattern=pattern)))


def test_clips_shorter_than_a_window_are_refused(folder: Path) -> None:
    assert "clips of 150 samples are shorter than a window of 240 (data.audio.window_ms = 30)" in error(folder, Clips())


def test_front_facts_are_in_samples_and_hertz_of_the_files() -> None:
    front = Clips().front(16_000)
    assert (front["window"], front["hop"], front["fmax"]) == (480, 320, 4_000.0)
    assert Clips().front(4_000)["fmax"] == 2_000.0


def test_a_folder_of_sound_is_told_from_one_of_pictures(folder: Path, tmp_path: Path) -> None:
    assert holds_sound(folder)
    (tmp_path / "pictures" / "cat").mkdir(parents=True)
    (tmp_path / "pictures" / "cat" / "a.png").touch()
    (tmp_path / "pictures" / "cat" / "meow.wav").touch()
    assert not holds_sound(tmp_path / "pictures")


def test_no_speaker_stands_on_both_sides_of_a_split(tmp_path: Path) -> None:
    for k, name in enumerate(f"{word}/s{speaker}_{take}" for word in "ab" for speaker in range(12) for take in "xy"):
        clip(tmp_path / f"{name}.wav", value=k + 1)
    data = load(str(tmp_path), audio=clips(group_pattern=r"/(s\d+)_"), validation_fraction=0.2, calibration_samples=4)
    speakers = [
        set(part.groups.tolist()) for part in (data.train, data.validation, data.test) if part.groups is not None
    ]
    assert len(speakers) == 3 and not (
        speakers[0] & speakers[1] or speakers[0] & speakers[2] or speakers[1] & speakers[2]
    )
    assert (data.kind, data.channels, data.repeated) == ("audio", 1, 0)


def test_a_speaker_in_train_and_test_is_an_error(tmp_path: Path) -> None:
    for part, speakers in (("train", ("ann", "bob", "eve")), ("test", ("bob",))):
        for word in ("no", "yes"):
            for speaker in speakers:
                clip(tmp_path / part / word / f"{speaker}_0.wav")
    with pytest.raises(BadInputError, match="group 'bob' is in train and in test"):
        load(str(tmp_path), audio=clips(group_pattern=r"([a-z]+)_\d"), calibration_samples=2)


def test_settings_of_sound_for_pictures_are_an_error() -> None:
    with pytest.raises(BadInputError, match=r"data.audio is set, but fashion-mnist is not a source that takes it"):
        load("fashion-mnist", audio=SHORT)
