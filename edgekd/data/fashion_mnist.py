"""Fashion-MNIST (Xiao, Rasul, Vollgraf 2017, arXiv 1708.07747): a vendored subset, and the whole from Debian."""

import gzip
import math
import zlib
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekd.data.dataset import Pool, Samples
from edgekd.data.npz import read_npz
from edgekd.errors import BadInputError, EnvironmentFault

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")


def read_vendored() -> Pool:
    """The balanced subset that ships with edgekd: 5,000 train and 1,000 test images, 28x28 grey."""
    with as_file(files("edgekd.data") / "fashion_mnist.npz") as path:
        return read_npz(path, classes=CLASSES)


def read_debian(folder: Path = DEBIAN_FOLDER) -> Pool:
    """All 60,000 + 10,000 images, from Debian's package dataset-fashion-mnist.

    Raises:
        EnvironmentFault: the package is not installed.
    """
    if not folder.is_dir():
        raise EnvironmentFault(
            f"fashion-mnist-full: {folder} does not exist; install Debian's package dataset-fashion-mnist "
            "(apt-get install dataset-fashion-mnist), or use the built-in subset source = 'fashion-mnist'"
        )
    return Pool(classes=CLASSES, train=_read_part(folder, "train"), test=_read_part(folder, "t10k"))


def _read_part(folder: Path, prefix: str) -> Samples:
    images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz")
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise BadInputError(
            f"{folder}: {prefix} images are {images.shape}, labels {labels.shape}; expected (n, height, width) and "
            "(n,). Install dataset-fashion-mnist again"
        )
    return Samples(inputs=images[..., None], labels=labels.astype(np.int64))


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """A gzipped IDX file of unsigned bytes (the MNIST format): big-endian magic, sizes, then the bytes.

    Raises:
        BadInputError: the file is missing, truncated or of another type.
    """
    try:
        raw = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as err:
        raise BadInputError(f"cannot read {path}: {err}; expected a gzipped IDX file") from err
    start = 4 + 4 * raw[3] if len(raw) >= 4 else 4
    shape = tuple(int.from_bytes(raw[i : i + 4], "big") for i in range(4, start, 4))
    body = raw[start:]
    if raw[:3] != b"\x00\x00\x08" or len(raw) < start or len(body) != math.prod(shape):
        raise BadInputError(f"{path}: found {len(body)} bytes for shape {shape}; expected a whole IDX file of uint8")
    return np.frombuffer(body, dtype=np.uint8).reshape(shape).copy()  # a view of bytes would be read-only
