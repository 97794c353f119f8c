"""Fashion-MNIST: the vendored subset and the IDX reader."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from edgekd.data.fashion_mnist import CLASSES, read_debian, read_idx, read_vendored
from edgekd.errors import BadInputError, EnvironmentFault

PIXELS = np.arange(2 * 3 * 4, dtype=np.uint8)
IMAGES = b"\x00\x00\x08\x03" + struct.pack(">3I", 2, 3, 4) + PIXELS.tobytes()
LABELS = b"\x00\x00\x08\x01" + struct.pack(">I", 2) + bytes([9, 0])


def write(path: Path, raw: bytes) -> Path:
    path.write_bytes(gzip.compress(raw))
    return path


def debian(folder: Path, *, images: bytes = IMAGES, labels: bytes = LABELS) -> Path:
    for prefix in ("train", "t10k"):
        write(folder / f"{prefix}-images-idx3-ubyte.gz", images)
        write(folder / f"{prefix}-labels-idx1-ubyte.gz", labels)
    return folder


def test_the_vendored_subset_is_balanced_grey_28x28_of_ten_classes() -> None:
    pool = read_vendored()
    assert pool.test is not None
    assert pool.classes == CLASSES
    assert pool.train.inputs.shape == (5000, 28, 28, 1)
    assert np.bincount(pool.train.labels).tolist() == [500] * 10
    assert np.bincount(pool.test.labels).tolist() == [100] * 10


def test_an_idx_file_is_read_in_the_order_of_its_bytes(tmp_path: Path) -> None:
    assert np.array_equal(read_idx(write(tmp_path / "i.gz", IMAGES)), PIXELS.reshape(2, 3, 4))
    assert read_idx(write(tmp_path / "l.gz", LABELS)).tolist() == [9, 0]
    assert read_idx(tmp_path / "i.gz").flags.writeable  # torch warns of shared read-only memory


def test_debians_four_files_become_a_pool(tmp_path: Path) -> None:
    pool = read_debian(debian(tmp_path))
    assert pool.test is not None
    assert pool.train.inputs.shape == pool.test.inputs.shape == (2, 3, 4, 1)
    assert pool.train.labels.tolist() == [9, 0]


def test_a_machine_without_the_package_is_told_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="apt-get install dataset-fashion-mnist"):
        read_debian(tmp_path / "absent")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x00\x00",
        b"\x00\x00\x08\x03\x00\x00",  # sizes cut off
        IMAGES[:-1],
        IMAGES + b"\x00",
        b"\x00\x00\x0d\x03" + IMAGES[4:],  # floats
        b"\x00\x00\x08\xff" + IMAGES[4:],  # 255 dimensions
        b"\x00\x00\x08\x02" + struct.pack(">2I", 2**31, 2**31),  # 2^62 pixels
    ],
)
def test_a_damaged_idx_file_is_bad_input(tmp_path: Path, raw: bytes) -> None:
    with pytest.raises(BadInputError, match=r"i\.gz: .*expected a whole IDX file of uint8"):
        read_idx(write(tmp_path / "i.gz", raw))


def test_a_missing_or_damaged_gzip_file_is_bad_input(tmp_path: Path) -> None:
    path = tmp_path / "i.gz"
    with pytest.raises(BadInputError, match=r"cannot read .*i\.gz"):
        read_idx(path)
    whole = gzip.compress(IMAGES)
    damaged = whole[:12] + bytes([whole[12] ^ 0xFF, whole[13] ^ 0xFF]) + whole[14:]
    for content in (b"", b"not gzip", whole[:-9], damaged, whole[:-5] + b"\x00" + whole[-4:]):
        path.write_bytes(content)
        with pytest.raises(BadInputError, match=r"i\.gz"):
            read_idx(path)


def test_images_and_labels_that_do_not_match_are_bad_input(tmp_path: Path) -> None:
    three = b"\x00\x00\x08\x01" + struct.pack(">I", 3) + bytes(3)
    for images, labels in ((IMAGES, three), (LABELS, LABELS), (IMAGES, IMAGES)):
        with pytest.raises(BadInputError, match=r"expected \(n, height, width\)"):
            read_debian(debian(tmp_path, images=images, labels=labels))
