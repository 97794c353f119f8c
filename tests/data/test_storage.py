"""Every source gives the same data set in memory and on disk: the same hashes, the same bytes."""

import csv
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgekd import data
from edgekd.data import Dataset
from edgekd.data.dataset import SPLITS
from edgekd.data.npz import read_npz
from edgekd.data.read_picture import Resize
from edgekd.data.saved_dataset import read_saved_dataset
from edgekd.data.series import read_series_npz
from edgekd.data.series_csv import Windows
from edgekd.data.text_source import TextSettings
from edgekd.data.wav_folder import Clips
from edgekd.decoded import Storage
from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.rows import Rows

SAVED = Path(__file__).parent / "hugging_face"
N = 60
GENERATOR = np.random.default_rng(0)
LABELS = np.arange(N) % 2
PIXELS = GENERATOR.integers(0, 256, (N, 6, 5, 3), dtype=np.uint8)
READINGS = GENERATOR.normal(size=(N, 7, 2))

Made = tuple[Path, dict[str, Any]]


def pictures(folder: Path) -> Made:
    for number, pixels in enumerate(PIXELS):
        place = folder / "images" / f"c{LABELS[number]}" / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(pixels[: 4 + number % 3])  # of several heights, some grey
        (picture.convert("L") if number % 4 else picture).save(place)
    return folder / "images", {"resize": Resize(6, 5)}


def grey_pictures(folder: Path) -> Made:
    for number, pixels in enumerate(PIXELS):
        place = folder / "grey" / ("train", "test")[number % 4 == 0] / f"c{number // 4 % 2}" / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        turned = Image.Exif()
        turned[0x0112] = 6  # lies on its side
        Image.fromarray(pixels[..., 0]).save(place, exif=turned)
    return folder / "grey", {}


def manifest(folder: Path) -> Made:
    source, _ = pictures(folder)
    path = folder / "table.csv"
    with path.open("w", newline="") as file:
        rows = [
            (p.relative_to(folder), p.parent.name, f"g{n % 12}") for n, p in enumerate(sorted(source.rglob("*.png")))
        ]
        csv.writer(file).writerows([("path", "label", "group"), *rows])
    return path, {"resize": Resize(6, 5)}


def sounds(folder: Path) -> Made:
    for number in range(N):
        place = folder / "sounds" / f"c{LABELS[number]}" / f"{number}.wav"
        place.parent.mkdir(parents=True, exist_ok=True)
        with wave.open(str(place), "wb") as file:
            file.setparams((1, 2, 1000, 0, "NONE", ""))
            file.writeframes(GENERATOR.integers(-3000, 3000, 90 + number % 20, dtype=np.int16).tobytes())
    return folder / "sounds", {"audio": Clips(mels=4, hop_ms=10)}


def readings(folder: Path, *, name: str = "readings.csv", **windows: Any) -> Made:
    path = folder / name
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("x", "label", "y", "group"))
        for number in range(N * 8):
            if number == 31:
                file.write("\n")  # an empty line: from here on lines and rows go apart
            writer.writerow((f"{number / 7:.3f}", f"c{number // 12 % 2}", number % 5, f"g{number // 48}"))
    return path, {"series": Windows(**{"window": 4, "stride": 2} | windows)}


def npz(folder: Path, *, packed: bool) -> Made:
    (np.savez_compressed if packed else np.savez)(folder / "x.npz", x=PIXELS, y=LABELS)
    return folder / "x.npz", {}


def grey_npz(folder: Path) -> Made:
    parts = {
        "x_train": PIXELS[:40, ..., 0],
        "y_train": LABELS[:40],
        "x_test": PIXELS[40:, ..., 0],
        "y_test": LABELS[40:],
    }
    np.savez(folder / "x.npz", **parts)
    return folder / "x.npz", {}


def series_npz(folder: Path, *, dtype: str) -> Made:
    np.savez(folder / "x.npz", x=READINGS.astype(dtype), y=LABELS.astype(str), groups=LABELS + 2 * (np.arange(N) // 4))
    return folder / "x.npz", {}


def texts(folder: Path) -> Made:
    place = folder / "texts"
    place.mkdir()
    for name, count in (("train", N), ("test", 20)):
        lines = [f"c{n % 2}\twørd {n} of {name} {'yes' if n % 2 else 'no'} 日本\n" for n in range(count)]
        (place / f"{name}.tsv").write_text("".join(["label\ttext\n", *lines]), encoding="utf-8")
    return place, {"text": TextSettings(max_tokens=12, vocabulary_size=300)}


SOURCES: dict[str, Callable[[Path], Made]] = {
    "pictures": pictures,
    "grey pictures on their side": grey_pictures,
    "table": manifest,
    "sounds": sounds,
    "windows that overlap": readings,
    "windows of tabs": lambda folder: readings(folder, window=4, stride=None),
    "npz": lambda folder: npz(folder, packed=False),
    "compressed npz": lambda folder: npz(folder, packed=True),
    "grey npz with a test part": grey_npz,
    "series npz": lambda folder: series_npz(folder, dtype="<f4"),
    "series npz of doubles": lambda folder: series_npz(folder, dtype=">f8"),
    "texts": texts,
}


def load(source: Path, settings: dict[str, Any], storage: Storage) -> Dataset:
    return data.load(str(source), seed=3, calibration_samples=4, storage=storage, **settings)


@pytest.mark.parametrize("kind", SOURCES)
def test_a_source_is_the_same_in_memory_and_on_disk(kind: str, tmp_path: Path) -> None:
    if kind == "texts":
        pytest.importorskip("tokenizers")
    source, settings = SOURCES[kind](tmp_path)
    plain = load(source, settings, Storage(mode="memory"))
    assert plain.storage["place"] == "memory"
    for _ in ("decoded", "found"):
        filed = load(source, settings, Storage(mode="disk", folder=tmp_path / "cache"))
        assert filed.storage == plain.storage | {"place": "disk"}
        assert (filed.content_hash, filed.index_hash, filed.repeated, filed.classes, filed.front) == (
            plain.content_hash,
            plain.index_hash,
            plain.repeated,
            plain.classes,
            plain.front,
        )
        for name in SPLITS:
            ours, theirs = getattr(filed, name), getattr(plain, name)
            assert isinstance(ours.inputs, Rows)
            np.testing.assert_array_equal(ours.inputs[:], theirs.inputs)
            assert ours.inputs.dtype == theirs.inputs.dtype
            np.testing.assert_array_equal(ours.ids, theirs.ids)
            np.testing.assert_array_equal(ours.labels, theirs.labels)
    if plain.original is not None and filed.original is not None:
        assert plain.test.ids is not None
        one = str(plain.test.ids[-1])
        assert filed.original(one).content == plain.original(one).content


@pytest.mark.parametrize("name", ["pictures", "arrays"])
def test_a_saved_data_set_is_the_same_on_disk(name: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    settings: dict[str, Any] = {"resize": None, "channels": None, "classes": None}
    plain = read_saved_dataset(SAVED / name, **settings)
    filed = read_saved_dataset(SAVED / name, **settings, storage=Storage(mode="disk", folder=tmp_path))
    assert isinstance(filed.train.inputs, Rows) and filed.train.digest() == plain.train.digest()
    assert (filed.test is None) == (plain.test is None)


def test_a_table_of_parquet_is_the_same_on_disk(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {"x": np.arange(N) / 3, "y": np.arange(N), "label": [f"c{n // 6 % 2}" for n in range(N)]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "readings.parquet")
    settings = {"series": Windows(window=2)}
    both = [load(tmp_path / "readings.parquet", settings, s) for s in (Storage(mode="memory"), on_disk(tmp_path))]
    assert both[0].content_hash == both[1].content_hash and both[1].storage["place"] == "disk"


def on_disk(folder: Path) -> Storage:
    return Storage(mode="disk", folder=folder / "cache")


def test_auto_goes_to_disk_above_its_limit_by_the_headers(tmp_path: Path) -> None:
    source, settings = pictures(tmp_path)
    size = N * 6 * 5 * 3
    for limit, place in ((size, "memory"), (size - 1, "disk")):
        found = load(source, settings, Storage(folder=tmp_path / "cache", limit_bytes=limit))
        assert found.storage["place"] == place
    source, settings = grey_pictures(tmp_path)  # a third of what pictures in colour would take
    assert load(source, settings, Storage(folder=tmp_path / "c", limit_bytes=size // 3)).storage["place"] == "memory"


def test_plain_arrays_of_an_npz_are_read_where_they_are(tmp_path: Path) -> None:
    source, settings = npz(tmp_path, packed=False)
    load(source, settings, on_disk(tmp_path))
    assert not (tmp_path / "cache").exists()


def test_faults_are_named_as_in_memory(tmp_path: Path) -> None:
    source, settings = pictures(tmp_path)
    (source / "c1" / "7.png").write_bytes(b"not one")
    with pytest.raises(BadInputError, match=r"c1/7.png: not a readable PNG or JPEG"):
        load(source, settings, on_disk(tmp_path))
    with pytest.raises(BadInputError, match=r"is 5x[456] pixels, .* is 5x[456]; set data.resize"):
        load(source, {"channels": 3}, on_disk(tmp_path))
    windows = READINGS.copy()
    windows[40, 3, 1] = np.inf
    np.savez_compressed(tmp_path / "s.npz", x=windows, y=LABELS)
    for storage in (Storage(mode="memory"), on_disk(tmp_path)):
        with pytest.raises(BadInputError, match=r"'x' holds inf in window 40, row 3, channel 1 \(1 such readings\)"):
            read_series_npz(tmp_path / "s.npz", classes=None, storage=storage)
    np.savez_compressed(tmp_path / "f.npz", x=np.asfortranarray(PIXELS), y=LABELS)
    with pytest.raises(BadInputError, match="'x' is in Fortran order"):
        read_npz(tmp_path / "f.npz", classes=None, storage=on_disk(tmp_path))
    table, settings = readings(tmp_path)
    table.write_text(table.read_text().replace("7.000,c0", "oops,c0"))
    for storage in (Storage(mode="memory"), on_disk(tmp_path)):
        with pytest.raises(BadInputError, match=r"line 52, column 'x': found 'oops' \(1 such cells in the column\)"):
            load(table, settings, storage)


def test_a_compressed_npz_with_a_flipped_byte_is_refused(tmp_path: Path) -> None:
    source, settings = npz(tmp_path, packed=True)
    raw = bytearray(source.read_bytes())
    raw[len(raw) // 2] ^= 1
    source.write_bytes(raw)
    with pytest.raises(BadInputError, match="corrupt or truncated"):
        load(source, settings, on_disk(tmp_path))


def test_a_cache_that_is_a_file_is_the_machines_fault(tmp_path: Path) -> None:
    source, settings = pictures(tmp_path)
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(EnvironmentFault, match=r"cannot write decoded samples to .*cache: .*; set EDGEKD_CACHE"):
        load(source, settings, on_disk(tmp_path))
