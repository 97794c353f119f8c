"""The reader of pictures that training and bundles share: every kind of PNG and JPEG, every way to resize."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekd.data import load
from edgekd.data.image_folder import read_folder
from edgekd.data.read_picture import FILTERS, MODES, Resize, describe, read, resize_of

FILLED = np.random.default_rng(0).integers(0, 256, (12, 10, 4), dtype=np.uint8)


def save(path: Path, mode: str) -> Path:
    """A picture of 12 x 10 pixels in one of Pillow's modes; `rotated` is an RGB JPEG that has to be turned."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(FILLED[..., :3]).convert("L" if mode == "1" else "RGB")
    if mode == "rotated":
        exif = Image.Exif()
        exif[0x0112] = 6  # a quarter turn clockwise is needed
        picture.save(path.with_suffix(".jpg"), exif=exif)
        return path.with_suffix(".jpg")
    if mode in ("RGBA", "LA"):
        picture = Image.fromarray(FILLED if mode == "RGBA" else FILLED[..., :2])
    elif mode == "P transparent":
        picture = picture.quantize(16)
        picture.info["transparency"] = 3
    else:
        picture = picture.quantize(16) if mode == "P" else picture.convert(mode)
    picture.save(path.with_suffix(".png"))
    return path.with_suffix(".png")


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "P", "P transparent", "1", "rotated"])
@pytest.mark.parametrize("resize", [None, Resize(5, 7), Resize(6, 6, "lanczos", "crop"), Resize(8, 4, "box", "pad")])
def test_every_kind_of_file_is_read_as_training_reads_it(mode: str, resize: Resize | None, tmp_path: Path) -> None:
    path = save(tmp_path / "source" / "a" / "one", mode)
    save(tmp_path / "source" / "b" / "two", mode)
    pool = read_folder(tmp_path / "source", resize=resize, channels=None)
    facts = describe(pool.train.inputs.shape[1:], resize=resize)
    found = read(path, facts)
    assert found.dtype == np.uint8 and np.array_equal(found, pool.train.inputs[0])
    assert resize_of(facts) == resize
    grey = {**facts, "colour": "grey"}
    alone = read_folder(tmp_path / "source", resize=resize, channels=1)
    assert np.array_equal(read(path, grey), alone.train.inputs[0])


def test_a_rotated_jpeg_stands_upright(tmp_path: Path) -> None:
    path = save(tmp_path / "one", "rotated")
    with Image.open(path) as image:
        assert image.size == (10, 12)
        expected = np.rot90(np.asarray(image), -1)
    assert np.array_equal(read(path, describe((10, 12, 3), resize=None)), expected)


def test_transparency_is_dropped_and_not_laid_on_a_colour(tmp_path: Path) -> None:
    path = save(tmp_path / "one", "RGBA")
    assert np.array_equal(read(path, describe((12, 10, 3), resize=None)), FILLED[..., :3])


@pytest.mark.parametrize(("by", "mode"), list(product(FILTERS, MODES)))
def test_every_filter_and_mode_keeps_a_constant_picture_constant(by: str, mode: str, tmp_path: Path) -> None:
    Image.fromarray(np.full((12, 30, 3), (10, 100, 200), np.uint8)).save(tmp_path / "one.png")
    found = read(tmp_path / "one.png", describe((6, 6, 3), resize=Resize(6, 6, by, mode)))
    rows = found[2:4] if mode == "pad" else found  # 6 x 2.4 pixels of it are no black border
    assert (rows == (10, 100, 200)).all()
    assert mode != "pad" or (not found[:2].any() and not found[4:].any())


def test_crop_takes_the_middle_and_pad_puts_the_picture_there(tmp_path: Path) -> None:
    """By hand: 4 x 8 pixels to 4 x 4 need no resampling in crop: columns 2 to 5. In pad, 2 rows of pairs' means."""
    columns = np.repeat(np.arange(8, dtype=np.uint8)[None] * 10, 4, axis=0)
    Image.fromarray(columns).save(tmp_path / "one.png")
    cropped = read(tmp_path / "one.png", describe((4, 4, 1), resize=Resize(4, 4, "box", "crop")))
    assert cropped[..., 0].tolist() == [[20, 30, 40, 50]] * 4
    padded = read(tmp_path / "one.png", describe((4, 4, 1), resize=Resize(4, 4, "box", "pad")))
    assert padded[..., 0].tolist() == [[0] * 4, [5, 25, 45, 65], [5, 25, 45, 65], [0] * 4]


def test_filters_differ_and_shrinking_is_antialiased_by_all_but_nearest(tmp_path: Path) -> None:
    stripes = np.zeros((32, 32), np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(tmp_path / "one.png")
    found = {by: read(tmp_path / "one.png", describe((4, 4, 1), resize=Resize(4, 4, by))) for by in FILTERS}
    assert all(abs(int(found[by].mean()) - 127) <= 4 for by in FILTERS if by != "nearest")
    assert found["nearest"].min() in (0, 255)
    Image.fromarray(FILLED[..., 0]).save(tmp_path / "two.png")
    each = {read(tmp_path / "two.png", describe((5, 5, 1), resize=Resize(5, 5, by))).tobytes() for by in FILTERS}
    assert len(each) == len(FILTERS)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"colour": "BGR"}, "of colour 'BGR'"),
        ({"orientation": "ignored"}, "orientation is 'ignored'"),
        ({"alpha": "white"}, "alpha is 'white'"),
        ({"resize": {"filter": "mitchell", "mode": "stretch"}}, "resized by 'mitchell'"),
        ({"resize": {"filter": "box", "mode": "tile"}}, "'tile'"),
        ({"size": [9, 9]}, "is 10x12 pixels; expected 9x9: the network was trained on pictures of that size"),
    ],
)
def test_what_the_reader_does_not_do_is_an_error(facts: dict[str, object], message: str, tmp_path: Path) -> None:
    path = save(tmp_path / "one", "RGB")
    with pytest.raises(ValueError, match=message):
        read(path, describe((12, 10, 3), resize=None) | facts)


def test_a_data_set_says_how_its_pictures_were_made_and_gives_the_file_behind_each(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for k in range(6):
            save(tmp_path / name / str(k), "RGB")
    data = load(str(tmp_path), resize=Resize(6, 6, "box", "pad"), calibration_samples=2)
    assert data.front["resize"] == {"filter": "box", "mode": "pad"} and data.front["size"] == [6, 6]
    assert data.original is not None and data.test.ids is not None
    for row, name in enumerate(data.test.ids):
        (tmp_path / "copy.png").write_bytes(data.original(str(name)).content)
        assert np.array_equal(read(tmp_path / "copy.png", dict(data.front)), data.test.inputs[row])
