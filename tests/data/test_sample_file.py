"""Sample files made of numbers, and those that sources give for a sample."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays
from PIL import Image

from edgekd.data import load, read_picture, read_text, read_wav, read_window
from edgekd.data.sample_file import encoded, png
from edgekd.data.saved_dataset import read_saved_dataset
from edgekd.data.tokens import train_tokenizer

SAVED = Path(__file__).parent / "hugging_face"


@given(arrays(np.uint8, (5, 3, 3)))
def test_pillow_reads_the_pixels_of_a_png_back(pixels: np.ndarray) -> None:
    for picture in (pixels, pixels[..., :1]):
        with Image.open(io.BytesIO(png(picture))) as image:
            assert np.array_equal(np.asarray(image).reshape(picture.shape), picture)


def test_other_numbers_become_an_npy() -> None:
    sample = np.arange(6, dtype=np.float32).reshape(3, 2)
    file = encoded(sample)
    assert file.suffix == ".npy" and np.array_equal(np.load(io.BytesIO(file.content)), sample)
    assert encoded(np.zeros((4, 4, 3), np.uint8)).suffix == ".png"
    assert encoded(np.zeros((4, 4, 2), np.uint8)).suffix == ".npy"


@pytest.mark.parametrize("name", ["pictures", "shards"])
def test_a_saved_data_set_gives_the_bytes_of_a_picture(name: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    pool = read_saved_dataset(SAVED / name, resize=None, channels=None, classes=None)
    alone = pool.test is None and pool.validation is None
    assert pool.original is not None
    facts = read_picture.describe(pool.train.inputs.shape[1:], resize=None)
    for row, picture in enumerate(np.asarray(pool.train.inputs)):
        named = f"{row}" if alone else f"train/{row}"
        file = pool.original(named if pool.train.ids is None else str(pool.train.ids[row]))
        (tmp_path / f"one{file.suffix}").write_bytes(file.content)
        assert np.array_equal(read_picture.read(tmp_path / f"one{file.suffix}", facts), picture)


def test_a_window_of_a_table_is_a_table_of_its_channels_alone(tmp_path: Path) -> None:
    from edgekd.data.series_csv import Windows

    rows = [f"{k}.25,{'ab'[k // 4 % 2]},{-k}e-3" for k in range(80)]
    (tmp_path / "all.csv").write_text("\n".join(["y,label,x", *rows, ""]))
    data = load(str(tmp_path / "all.csv"), series=Windows(window=4, columns=("x", "y")), calibration_samples=2)
    assert data.original is not None and data.test.ids is not None
    for row, name in enumerate(data.test.ids):
        file = data.original(str(name))
        (tmp_path / "one.csv").write_bytes(file.content)
        assert file.content.decode().splitlines()[0] == "x,y" and str(name) in file.origin
        window = read_window.read(tmp_path / "one.csv", read_window.describe(4, ["x", "y"]))
        assert window.dtype == np.float32 and np.array_equal(window, data.test.inputs[row])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x\n1\n", "has no column 'y'; expected x, y"),
        ("x,y\n1,2\n", "has 1 readings; expected 2"),
        ("x,y\n1,2\n3\n", "expected a number in every column"),
        ("x,y\n1,2\n3,four\n", "expected a number in every column"),
        ("x,y\n1,2\n3,inf\n", "found inf in reading 1, channel 1"),
        ('x,y\n"1,2\n', "not a readable table"),
    ],
)
def test_a_table_that_is_no_window_is_an_error(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_window.read(tmp_path / "one.csv", read_window.describe(2, ["x", "y"]))


def test_a_text_file_is_numbered_as_training_numbers_texts(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    rows = [
        {"text": f"{'Größe Élan ' * (1 + k % 5)}{k}\r\nzwei", "label": "ab"[k % 2], "id": f"t{k}"} for k in range(40)
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    from edgekd.data.text_source import TextSettings

    given_ = tmp_path / "tokenizer.json"
    given_.write_text(train_tokenizer([row["text"] for row in rows], vocabulary_size=270), encoding="utf-8")
    settings = TextSettings(max_tokens=9, tokenizer=given_)
    data = load(str(tmp_path / "t.jsonl"), text=settings, calibration_samples=4)
    assert data.original is not None and data.test.ids is not None
    (tmp_path / "read_text.py").write_text(Path(read_text.__file__).read_text())
    beside: dict[str, object] = {"__file__": str(tmp_path / "read_text.py"), "__name__": "beside"}
    exec((tmp_path / "read_text.py").read_text(), beside)
    facts = read_text.describe(data.front["tokenizer"], vocabulary=270, max_tokens=9, tokenizer_sha256="")
    assert facts["lowercase"] is True
    for row, name in enumerate(data.test.ids):
        (tmp_path / "one.txt").write_bytes(data.original(str(name)).content)
        assert np.array_equal(beside["read"](tmp_path / "one.txt", facts), data.test.inputs[row])  # type: ignore[operator]
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="expected a text in UTF-8"):
        read_text.read(tmp_path / "bad.txt", facts)
    with pytest.raises(ValueError, match="cut_at is 'start'"):
        beside["read_words"]("a", facts | {"cut_at": "start"})  # type: ignore[operator]


def test_lower_case_is_found_in_the_normalizers_of_other_tokenizers() -> None:
    assert read_text.lowercases('{"normalizer": {"type": "BertNormalizer", "lowercase": true}}')
    assert not read_text.lowercases('{"normalizer": {"type": "BertNormalizer", "lowercase": false}}')
    assert read_text.lowercases('{"normalizer": {"type": "Sequence", "normalizers": [{"type": "Lowercase"}]}}')
    assert not read_text.lowercases('{"normalizer": null}') and not read_text.lowercases("{}")


def test_another_rate_is_refused_by_the_files_name(tmp_path: Path) -> None:
    import wave

    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 8_000, 0, "NONE", ""))
        file.writeframes(b"\1\0\2\0\3\0")
    facts = read_wav.describe(2, sample_rate=8_000, mono="refuse")
    assert read_wav.read(tmp_path / "a.wav", facts).tolist() == [1, 2]
    with pytest.raises(ValueError, match=r"a\.wav: 8000 samples a second; expected 4000"):
        read_wav.read(tmp_path / "a.wav", facts | {"sample_rate": 4_000})
