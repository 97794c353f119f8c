"""Data that is wrong, as users have it: exit code 2, a message with the file and the line, and nothing written."""

import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .conftest import Edgekd

RECIPE = """
name = "a"
data.source = "{source}"
data.calibration_samples = 6
{more}
student.model = "{model}"
distill.method = "ce"
"""

Make = Callable[[Path], Path]

TEXTS = [f"{word} number {k},{word}" for k, word in enumerate(("rain", "goal") * 15)]
READINGS = [f"{k % 7},{k % 5},{label},{group}" for group in "abcd" for label in ("run", "sit") for k in range(16)]


def sound(path: Path, *, rate: int = 8_000, samples: int = 800, channels: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, 2, rate, samples, "NONE", ""))
        file.writeframes(bytes(2 * samples * channels))


def words(**wrong: int) -> Make:
    """A folder of sound whose last file is like this."""

    def make(folder: Path) -> Path:
        for name in ("no", "yes"):
            for take in range(3):
                sound(folder / "words" / name / f"{take}.wav")
        sound(folder / "words" / "yes" / "9.wav", **wrong)
        return folder / "words"

    return make


def lines(name: str, header: str, rows: list[str], more: bytes = b"", *, mark: bytes = b"") -> Make:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(mark + "\n".join([header, *rows]).encode() + b"\n" + more)
        return folder / name

    return make


def pictures(more: str, header: str = "path,label") -> Make:
    def make(folder: Path) -> Path:
        rows = []
        for k in range(12):
            Image.fromarray(np.full((8, 8), 20 * k, dtype=np.uint8)).save(folder / f"{k}.png")
            rows.append(f"{k}.png,{'ab'[k % 2]}")
        (folder / "broken.png").write_bytes(b"no picture")
        return lines("a.csv", header, [*rows, more])(folder)

    return make


def windows(*, bad: bool) -> Make:
    def make(folder: Path) -> Path:
        x = np.ones((20, 16, 2), dtype=np.float32)
        x[3, 2, 1] = np.nan if bad else 1.0
        np.savez(folder / "a.npz", x=x, y=np.array(["run", "sit"] * 10))
        return folder / "a.npz"

    return make


SERIES = "data.series.window = 16"
TEXT = "data.text.max_tokens = 6"


@pytest.mark.parametrize(
    ("make", "more", "model", "fragments"),
    [
        (words(rate=16_000), "", "ds_cnn", ("yes/9.wav: has 16000 samples a second", "expected one rate", "ffmpeg")),
        (words(samples=0), "", "ds_cnn", ("yes/9.wav: has no samples; expected sound",)),
        (words(channels=2), "", "ds_cnn", ("yes/9.wav: has 2 channels; expected 1", 'data.audio.mono = "mix"')),
        (lines("a.csv", "x,y,label,group", READINGS), "data.series.window = 40", "ds_cnn_1d",
         ("no window of 40 rows fits", "16 rows; lower data.series.window")),
        (lines("a.csv", "x,x,label,group", READINGS), SERIES, "ds_cnn_1d", ("two columns are called 'x'",)),
        (lines("a.csv", "x,y,label,group", READINGS, b"nan,1,run,d"), SERIES, "ds_cnn_1d",
         ("line 130, column 'x': found 'nan'", "expected finite float32 numbers: fill them in")),
        (lines("a.csv", "x,y,label,group,split", [f"{row},{'test' if k % 2 else 'train'}" for k, row in
         enumerate(READINGS)]), "data.series.window = 1", "ds_cnn_1d", ("group 'a' is in train and in test",)),
        (windows(bad=True), "", "ds_cnn_1d", ("'x' holds nan in window 3, row 2, channel 1",)),
        (windows(bad=False), "", "resnet8", ("takes data of kind image", "images are raw uint8 pixels", "ds_cnn_1d")),
        (lines("a.csv", "text,label", TEXTS, b"caf\xe9,rain"), TEXT, "text_mean", ("a.csv:32: byte 4", "iconv -f")),
        (lines("a.csv", "text,label", TEXTS, b"  ,rain"), TEXT, "text_mean", ("a.csv:32: column 'text' is empty",)),
        (lines("a.csv", "text,label", TEXTS, b"x" * 1_100_000 + b",rain"), TEXT, "text_mean",
         ("a.csv:32: the record that starts here is longer than 1,000,000 bytes",)),
        (lines("a.csv", "text,label", TEXTS, b"odd one,rare"), TEXT, "text_mean",
         ("none of class 2 ('rare')", "leave the class out: it has 1 in all")),
        (lines("a.csv", "text,label,label", [f"{row},a" for row in TEXTS]), TEXT, "text_mean", ("stands twice",)),
        (pictures("gone.png,a"), "", "resnet8", ("1 of 13 files are not there (line 14: gone.png)",)),
        (pictures("../../gone.png,a"), "", "resnet8", ("line 14: ../../gone.png", "expected paths relative to the")),
        (pictures("broken.png,a"), "", "resnet8", ("a.csv, line 14", "broken.png: not a readable PNG or JPEG")),
        (pictures("0.png,a", "path,path"), "", "resnet8", ("two columns are called 'path'; expected one",)),
    ],
)  # fmt: skip
def test_data_that_is_wrong_is_refused_before_anything_is_written(
    make: Make, more: str, model: str, fragments: tuple[str, ...], tmp_path: Path, edgekd: Edgekd
) -> None:
    source = make(tmp_path)
    (tmp_path / "a.toml").write_text(RECIPE.format(source=source, more=more, model=model))
    answer = edgekd("run", tmp_path / "a.toml", "--out", tmp_path / "out")
    assert answer.code == 2, answer.err
    assert answer.err.count("error: ") == 1 and "Traceback" not in answer.err
    for fragment in fragments:
        assert fragment in answer.err
    assert not answer.out and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("make", "fragments"),
    [
        (lines("a.csv", "text,label", [row.replace(",", ",", 1) + "\r" for row in TEXTS], mark=b"\xef\xbb\xbf"), 30),
        (lines("a.tsv", "text\tlabel", [row.replace(",", "\t") for row in TEXTS], mark=b"\xef\xbb\xbf"), 30),
    ],
)
def test_a_byte_order_mark_and_carriage_returns_change_nothing(make: Make, fragments: int, tmp_path: Path) -> None:
    from edgekd.data.text import Columns, read_texts

    found = read_texts(make(tmp_path), Columns())
    assert (found.texts[0], found.labels[0], len(found.texts)) == ("rain number 0", "rain", fragments)
