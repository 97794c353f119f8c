"""A network that is there already gets the same samples of a source as training reads, its classes by their names."""

import csv
import hashlib
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgekd import data
from edgekd.data import tokens
from edgekd.data.for_model import ModelData, data_for_model
from edgekd.data.reading import Reading
from edgekd.data.series_csv import Windows
from edgekd.data.takes import Takes
from edgekd.data.text_source import TextSettings
from edgekd.data.wav_folder import Clips
from edgekd.errors import BadInputError

LONG = 8
GENERATOR = np.random.default_rng(0)
SERIES = Takes(
    shape=(None, LONG, 2),
    dtype="float32",
    classes=("run", "walk"),
    preprocessing={"series": {"channels": ["ay", "ax"], "length": LONG}},
)
SOUND = Takes(
    shape=(None, 120),
    dtype="int16",
    classes=("yes", "no"),
    preprocessing={"audio": {"sample_rate": 8_000, "mono": "refuse"}, "log_mel": {"window": 40}},
)
PIXELS = Takes(shape=(None, 4, 4, 1), dtype="uint8", classes=("b", "a"), preprocessing={"inside_graph": True})


def table(path: Path, rows: list[list[Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def readings(path: Path, *, split: bool = False) -> Path:
    """Three windows of walking and three of running, ax and ay in another order than the network takes."""
    rows = [
        [label, *GENERATOR.normal(size=2).round(3), *(["train" if w else "test"] if split else [])]
        for label in ("walk", "run")
        for w in range(3)
        for _ in range(LONG)
    ]
    return table(path, [["label", "ax", "ay", *(["split"] if split else [])], *rows])


def error(source: Path, takes: Takes, reading: Reading | None = None) -> str:
    with pytest.raises(BadInputError) as caught:
        data_for_model(source, takes, reading=reading)
    return str(caught.value)


def found(source: Path, takes: Takes, **reading: Any) -> ModelData:
    return data_for_model(source, takes, reading=Reading(**reading))


def test_a_table_of_readings_gives_windows_with_the_network_s_channels_and_classes(tmp_path: Path) -> None:
    test = found(source := readings(tmp_path / "a.csv"), SERIES).test
    assert test.inputs.shape == (6, LONG, 2)
    assert test.labels is not None and test.labels.tolist() == [1, 1, 1, 0, 0, 0]
    first = [line.split(",") for line in source.read_text().splitlines()[1:]]
    np.testing.assert_allclose(test.inputs[0, 0], [float(first[0][2]), float(first[0][1])], rtol=1e-6)


def test_the_same_table_as_parquet_gives_the_same_bytes(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    source = readings(tmp_path / "a.csv")
    parquet.write_table(arrow_csv.read_csv(source), tmp_path / "a.parquet")
    assert pyarrow is not None
    one, other = (found(path, SERIES).test.inputs for path in (source, tmp_path / "a.parquet"))
    np.testing.assert_array_equal(one, other)


def test_which_samples_are_judged_is_said(tmp_path: Path) -> None:
    whole, parted = readings(tmp_path / "a.csv"), readings(tmp_path / "b.csv", split=True)
    assert found(whole, SERIES).evaluated(whole) == (
        f"all 6 samples of {whole} (no test part: what the network learned from it counts too)"
    )
    data = found(parted, SERIES)
    assert data.train is not None and len(data.train.inputs) == 4
    assert data.evaluated(parted) == f"the 2 test samples of {parted}"


def test_a_network_from_elsewhere_needs_the_columns_and_gets_them_in_its_layout(tmp_path: Path) -> None:
    source = readings(tmp_path / "a.csv")
    foreign = Takes(shape=(None, 2, LONG), dtype="float32")
    assert "--set data.series.columns" in error(source, foreign)
    windows = Windows(columns=("ax", "ay"))
    data = found(source, foreign, series=windows)
    assert data.test.inputs.shape == (6, 2, LONG) and data.test.classes == ("run", "walk")
    assert "which axis holds the channels" in error(
        source, Takes(shape=(None, 2, 2), dtype="float32"), Reading(series=windows)
    )


def test_windows_of_another_size_than_the_network_s_are_refused(tmp_path: Path) -> None:
    source = readings(tmp_path / "a.csv")
    wanted = Reading(series=Windows(window=4), given=("data.series.window",))
    assert "the model takes windows of 8 readings; remove it" in error(source, SERIES, wanted)
    unnamed = Takes(**{**{n: getattr(SERIES, n) for n in ("dtype", "classes")}, "shape": (None, LONG, 3)},
                    preprocessing={"series": {"channels": []}})  # fmt: skip
    assert "windows have 2 channels (ax, ay); the model takes 3" in error(source, unnamed)


def test_windows_of_an_npz_are_labelled_by_name(tmp_path: Path) -> None:
    x = GENERATOR.normal(size=(3, LONG, 2)).astype(np.float32)
    np.savez(tmp_path / "a.npz", x=x, y=np.array(["walk", "run", ""]))
    data = found(tmp_path / "a.npz", SERIES)
    assert data.test.labels is not None and data.test.labels.tolist() == [1, 0] and data.left_out == 1
    np.savez(tmp_path / "b.npz", x=x, y=np.array(["walk", "run", "sit"]))
    assert "class 'sit' is none of the model's" in error(tmp_path / "b.npz", SERIES)


def clip(path: Path, *, rate: int = 8_000, samples: int = 100, channels: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, 2, rate, samples, "NONE", ""))
        file.writeframes(np.arange(samples * channels, dtype="<i2").tobytes())


def test_sound_is_cut_to_the_network_s_length_and_its_folders_are_matched_by_name(tmp_path: Path) -> None:
    for name in ("no", "yes"):
        clip(tmp_path / "words" / name / "0.wav", samples=200)
    test = found(tmp_path / "words", SOUND).test
    assert (test.inputs.shape, str(test.inputs.dtype)) == ((2, 120), "int16")
    assert test.labels is not None and test.labels.tolist() == [1, 0]  # no, yes
    clip(tmp_path / "words" / "no" / "1.wav", rate=16_000)
    message = error(tmp_path / "words", SOUND)
    assert "no/1.wav: has 16000 samples a second" in message and "ffmpeg -i IN -ar 8000" in message


def test_a_network_of_sound_from_elsewhere_needs_the_rate(tmp_path: Path) -> None:
    for name in ("no", "yes"):
        clip(tmp_path / name / "0.wav")
    foreign = Takes(shape=(None, 50), dtype="int16")
    assert "--set data.audio.sample_rate=16000" in error(tmp_path, foreign)
    assert found(tmp_path, foreign, audio=Clips(sample_rate=8_000)).test.inputs.shape == (2, 50)


def test_texts_are_numbered_by_the_tokenizer_beside_the_network(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    rows = [["text", "label"], *([f"{word} in line {k}", word] for k, word in enumerate(("rain", "goal") * 20))]
    source = table(tmp_path / "texts.csv", rows)
    trained = data.load(str(source), calibration_samples=4, text=TextSettings(max_tokens=9, vocabulary_size=300))
    text = trained.front["tokenizer"]
    facts = {"max_tokens": 9, "tokenizer_sha256": hashlib.sha256(text.encode()).hexdigest()}
    takes = Takes(shape=(None, None), dtype="int32", classes=("rain", "goal"), preprocessing={"text": facts},
                  model=tmp_path / "run" / "variants" / "int8.onnx")  # fmt: skip
    assert "its tokenizer.json is not there (looked for" in error(source, takes)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "tokenizer.json").write_text(text, encoding="utf-8")
    test = found(source, takes).test
    np.testing.assert_array_equal(test.inputs, tokens.encode(text, [row[0] for row in rows[1:]], max_tokens=9))
    assert test.labels is not None and test.labels.tolist() == [0, 1] * 20
    other = tokens.train_tokenizer(["other words"], vocabulary_size=300)
    (tmp_path / "other.json").write_text(other, encoding="utf-8")
    named = Reading(text=TextSettings(tokenizer=tmp_path / "other.json"))
    assert "the tokenizer that the model was trained with" in error(source, takes, named)


def test_a_table_of_pictures_is_labelled_by_name_and_the_unlabelled_are_left_out(tmp_path: Path) -> None:
    for k in range(5):
        Image.fromarray(np.full((4, 4), 50 * k, dtype=np.uint8)).save(tmp_path / f"{k}.png")
    rows = [["path", "label"], ["0.png", "a"], ["1.png", "b"], ["2.png", ""], ["3.png", "b"]]
    found_ = found(source := table(tmp_path / "a.csv", rows), PIXELS)
    assert found_.test.labels is not None and found_.test.labels.tolist() == [1, 0, 0]
    np.testing.assert_array_equal(found_.test.inputs[:, 0, 0, 0], [0, 50, 150])
    assert "1 without a label are left out" in found_.evaluated(source)
    assert "label 'c' is none of the classes" in error(table(tmp_path / "b.csv", [*rows, ["4.png", "c"]]), PIXELS)


def test_a_saved_data_set_is_read_with_its_classes_by_name() -> None:
    pytest.importorskip("pyarrow")
    saved = Path(__file__).parent / "hugging_face" / "pictures"
    dogs = found(saved, Takes(shape=(None, 8, 8, 3), dtype="uint8", classes=("dog", "cat")))
    assert dogs.own_test and dogs.train is not None and dogs.test.labels is not None
    cats = found(saved, Takes(shape=(None, 8, 8, 3), dtype="uint8", classes=("cat", "dog"))).test
    np.testing.assert_array_equal(dogs.test.labels, 1 - np.asarray(cats.labels))


@pytest.mark.parametrize(
    ("takes", "message"),
    [
        (SERIES, r"holds sound, and the model takes float32 of shape \(any, 8, 2\); expected sensor readings: a table"),
        (PIXELS, "holds sound, and the model takes uint8 .*expected images: a folder"),
        (Takes(shape=(None, 7), dtype="float32"), "holds sound.*expected an array in its own input layout"),
    ],
)
def test_data_of_another_kind_than_the_network_s_is_refused(takes: Takes, message: str, tmp_path: Path) -> None:
    for name in ("no", "yes"):
        clip(tmp_path / name / "0.wav")
    with pytest.raises(BadInputError, match=message):
        data_for_model(tmp_path, takes)


def test_keys_that_have_no_effect_on_this_network_are_refused(tmp_path: Path) -> None:
    source = readings(tmp_path / "a.csv")
    other = error(source, SERIES, Reading(given=("data.audio.mono",)))
    assert "--set data.audio.mono: has no effect here, the model takes sensor readings; expected one of:" in other
    clip(tmp_path / "w" / "a" / "0.wav")
    clip(tmp_path / "w" / "b" / "0.wav")
    own = error(tmp_path / "w", SOUND, Reading(audio=Clips(), given=("data.audio.mels",)))
    assert "--set data.audio.mels: has no effect here, the model's file says it" in own
