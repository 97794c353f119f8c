"""Folders of images: what is read, and every picture or folder that cannot be."""

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekd.data.image_folder import class_folders, read_folder, read_labelled_folder
from edgekd.data.read_picture import Resize
from edgekd.errors import BadInputError

GREY = np.arange(6 * 5, dtype=np.uint8).reshape(6, 5)
COLOUR = np.arange(6 * 5 * 3, dtype=np.uint8).reshape(6, 5, 3)


def put(path: Path, pixels: np.typing.NDArray[np.generic] = GREY) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def read(folder: Path, *, resize: tuple[int, int] | None = None, channels: int | None = None):  # type: ignore[no-untyped-def]
    return read_folder(folder, resize=resize, channels=channels)


def test_class_folders_become_classes_in_sorted_order(image_folder: Path) -> None:
    pool = read(image_folder)
    assert pool.classes == ("bottom", "middle", "top")
    assert pool.test is None
    assert pool.train.inputs.shape == (36, 8, 8, 1)
    assert np.bincount(pool.train.labels).tolist() == [12, 12, 12]
    first = sorted((image_folder / "bottom").iterdir())[0]
    assert np.array_equal(pool.train.inputs[0, ..., 0], np.asarray(Image.open(first)))


def test_train_and_test_folders_are_kept_apart(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in ("a", "b"):
            put(tmp_path / part / name / "1.png", GREY + (part == "test"))
    pool = read(tmp_path)
    assert pool.test is not None
    assert pool.classes == ("a", "b")
    assert np.array_equal(pool.train.inputs[0, ..., 0], GREY)
    assert np.array_equal(pool.test.inputs[0, ..., 0], GREY + 1)


def test_class_names_with_spaces_unicode_and_markup_are_kept_as_they_are(tmp_path: Path) -> None:
    names = ("<script>alert(1)<", "a b", "größe", "猫 & 犬")
    for name in names:
        put(tmp_path / name / "bild 1 ü.png")
    assert read(tmp_path).classes == tuple(sorted(names))


def test_a_class_name_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "a" / "1.png")
    try:
        (tmp_path / os.fsdecode(b"caf\xe9")).mkdir()
    except OSError:
        pytest.skip("this file system keeps UTF-8 names only")
    with pytest.raises(BadInputError, match=r"name is not UTF-8, b'caf\\xe9'; expected the name of a class; rename it"):
        read(tmp_path)


def test_hidden_folders_and_other_files_are_no_classes(tmp_path: Path) -> None:
    put(tmp_path / "a" / "1.png")
    put(tmp_path / "b" / "1.JPG")
    put(tmp_path / "b" / "deeper" / "2.jpeg")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "README.txt").write_text("no picture")
    (tmp_path / "a" / "notes.txt").write_text("no picture")
    pool = read(tmp_path)
    assert pool.classes == ("a", "b")
    assert pool.train.labels.tolist() == [0, 1, 1]


def test_grey_is_one_channel_and_one_coloured_picture_makes_all_three(tmp_path: Path) -> None:
    put(tmp_path / "a" / "1.png", GREY)
    put(tmp_path / "b" / "1.png", COLOUR)
    images = read(tmp_path).train.inputs
    assert images.shape == (2, 6, 5, 3)
    assert np.array_equal(images[0], np.repeat(GREY[..., None], 3, axis=-1))
    assert np.array_equal(images[1], COLOUR)


def test_one_channel_of_a_coloured_picture_is_its_luma(tmp_path: Path) -> None:
    put(tmp_path / "a" / "1.png", COLOUR)
    put(tmp_path / "b" / "1.png", GREY)
    images = read(tmp_path, channels=1).train.inputs
    assert images.shape == (2, 6, 5, 1)
    pillow = np.asarray(Image.fromarray(COLOUR).convert("L"), dtype=np.int64)
    assert np.abs(images[0, ..., 0].astype(np.int64) - pillow).max() <= 1  # Pillow rounds its weights to 1/65536


def test_palettes_black_and_white_and_transparency_are_decoded(tmp_path: Path) -> None:
    for name, mode in (("bit", "1"), ("palette", "P"), ("alpha", "RGBA"), ("grey-alpha", "LA")):
        path = tmp_path / name / "1.png"
        path.parent.mkdir()
        Image.fromarray(COLOUR).convert(mode if mode != "LA" else "L").convert(mode).save(path)
    assert read(tmp_path).train.inputs.shape == (4, 6, 5, 3)


def test_grey_with_transparency_is_grey(tmp_path: Path) -> None:
    for name in ("a", "b"):
        put(tmp_path / name / "1.png", np.stack([GREY, np.full_like(GREY, 255)], axis=-1))
    assert np.array_equal(read(tmp_path).train.inputs[0, ..., 0], GREY)


def test_sixteen_bits_a_pixel_are_refused_and_not_clipped_to_white(tmp_path: Path) -> None:
    put(tmp_path / "a" / "1.png")
    put(tmp_path / "b" / "deep.png", GREY.astype(np.uint16) * 2000)
    with pytest.raises(BadInputError, match=r"deep\.png: has 16 bits a pixel; expected 8"):
        read(tmp_path)


def test_mixed_sizes_are_an_error_that_names_the_file_and_resize_cures_it(tmp_path: Path) -> None:
    put(tmp_path / "a" / "1.png", GREY)
    put(tmp_path / "b" / "big.png", np.zeros((9, 7), dtype=np.uint8))
    with pytest.raises(BadInputError, match=r"big\.png is 7x9 pixels, .*1\.png is 5x6; set data\.resize"):
        read(tmp_path)
    assert read(tmp_path, resize=Resize(4, 3)).train.inputs.shape == (2, 4, 3, 1)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_empty_corrupt_and_truncated_pictures_name_the_file(tmp_path: Path, suffix: str) -> None:
    put(tmp_path / "a" / "1.png")
    path = put(tmp_path / "b" / f"bad.{suffix}", COLOUR)
    raw = path.read_bytes()
    damaged = raw[: len(raw) // 3] + b"\xff" * 8 + raw[len(raw) // 3 + 8 :]
    for content in (
        b"",
        b"no picture",
        raw[:4],
        raw[:20],
        raw[: len(raw) // 2],
        damaged if suffix == "png" else b"\xff",
    ):
        path.write_bytes(content)
        with pytest.raises(BadInputError, match=rf"bad\.{suffix}: not a readable PNG or JPEG .*replace or delete"):
            read(tmp_path)


def test_damage_anywhere_is_bad_input_or_a_picture_but_no_other_error(tmp_path: Path) -> None:
    put(tmp_path / "a" / "1.png", COLOUR)
    for suffix, file_format in (("png", "PNG"), ("jpg", "JPEG")):
        path = tmp_path / "b" / f"bad.{suffix}"
        path.parent.mkdir(exist_ok=True)
        buffer = io.BytesIO()
        Image.fromarray(COLOUR).save(buffer, file_format)
        raw = buffer.getvalue()
        for place in range(0, len(raw), 5):
            path.write_bytes(raw[:place] + bytes([raw[place] ^ 0x55]) + raw[place + 1 :])
            try:
                read(tmp_path, resize=Resize(6, 5))
            except BadInputError as err:
                assert f"bad.{suffix}" in str(err)
        path.unlink()


def test_another_format_under_a_png_name_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "a" / "1.png")
    (tmp_path / "b").mkdir()
    Image.fromarray(GREY).save(tmp_path / "b" / "really.png", format="BMP")
    with pytest.raises(BadInputError, match=r"really\.png: not a readable PNG or JPEG"):
        read(tmp_path)


def one_class(folder: Path) -> None:
    put(folder / "only" / "1.png")


def no_images(folder: Path) -> None:
    for name in ("a", "b"):
        (folder / name).mkdir()


def train_alone(folder: Path) -> None:
    for name in ("a", "b"):
        put(folder / "train" / name / "1.png")


def train_and_val(folder: Path) -> None:
    train_alone(folder)
    put(folder / "val" / "a" / "1.png")


def three_parts(folder: Path) -> None:
    train_and_val(folder)
    put(folder / "test" / "a" / "1.png")


def other_test_classes(folder: Path) -> None:
    train_alone(folder)
    for name in ("a", "c"):
        put(folder / "test" / name / "1.png")


@pytest.mark.parametrize(
    ("lay_out", "message"),
    [
        (one_class, "found 1 class folder.*at least 2"),
        (no_images, r"found no images; expected \.jpeg, \.jpg, \.png"),
        (train_alone, "found the folders train; expected train and test, both"),
        (train_and_val, "found the folders train, val; expected train and test, both"),
        (three_parts, "found the folders test, train, val; .*nothing beside them"),
        (other_test_classes, r"train/ has the classes \('a', 'b'\), test/ \('a', 'c'\); expected the same"),
    ],
)
def test_a_folder_laid_out_otherwise_says_what_was_found_and_expected(
    tmp_path: Path, lay_out: Callable[[Path], None], message: str
) -> None:
    lay_out(tmp_path)
    with pytest.raises(BadInputError, match=message):
        read(tmp_path)


def test_a_missing_folder_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="gone: no such folder"):
        class_folders(tmp_path / "gone")


def test_labels_follow_the_order_of_the_models_classes_and_an_unknown_class_is_named(image_folder: Path) -> None:
    order = ("top", "spare", "middle", "bottom")
    samples = read_labelled_folder(image_folder, classes=order, resize=None, channels=None)
    assert np.bincount(samples.labels).tolist() == [12, 0, 12, 12]
    with pytest.raises(BadInputError, match="folder 'bottom' is none of the model's classes: top, middle"):
        read_labelled_folder(image_folder, classes=("top", "middle"), resize=None, channels=None)


def test_labelled_images_come_from_test_where_there_is_one(tmp_path: Path) -> None:
    for part, value in (("train", 1), ("test", 2)):
        for name in ("a", "b"):
            put(tmp_path / part / name / "1.png", np.full((3, 3), value, dtype=np.uint8))
    samples = read_labelled_folder(tmp_path, classes=None, resize=None, channels=None)
    assert set(samples.inputs.ravel().tolist()) == {2}
