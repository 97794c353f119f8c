"""Arrays from an .npz file, without ever unpickling."""

import math
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.data.dataset import UNLABELLED, Pool, Samples
from edgekd.errors import BadInputError

Array = npt.NDArray[Any]

CHUNK_BYTES = 1 << 20


def read_arrays(path: Path, *, map_bytes: int | None = None) -> dict[str, Array]:
    """Every array of an .npz file by name.

    map_bytes: arrays of at least so many bytes that are not compressed (numpy.savez, not savez_compressed) stay in the
    file, memory-mapped, copied on write. None reads all.

    Raises:
        BadInputError: missing, empty, corrupt or truncated file, or object arrays (pickles, never loaded).
    """
    if not path.is_file():
        raise BadInputError(f"{path}: no such file; expected an .npz file of arrays")
    if not zipfile.is_zipfile(path):  # numpy would take anything else for a pickle
        raise BadInputError(f"{path}: empty, truncated or not an .npz file; write it with numpy.savez")
    try:
        # Opened here: numpy leaves a file that it opened itself open when the archive turns out broken.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            mapped = {} if map_bytes is None else _mapped(path, map_bytes)
            arrays = {name: mapped[name] if name in mapped else archive[name] for name in archive.files}
    except ValueError as err:
        if "allow_pickle" in str(err):
            raise BadInputError(
                f"{path}: holds Python objects (pickles), which are never loaded; save plain number arrays"
            ) from err
        raise BadInputError(f"{path}: {err}; expected an .npz file written by numpy.savez") from err
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, KeyError, RuntimeError, MemoryError) as err:
        raise BadInputError(f"{path}: corrupt or truncated ({err}); write the file again with numpy.savez") from err
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # numpy hands out a member without an array's header as bytes
            raise BadInputError(f"{path}: '{name}' is not an array; write the file again with numpy.savez")
    return arrays


def read_array(path: Path) -> Array:
    """The array of an .npy file, memory-mapped, copied on write.

    Raises:
        BadInputError: missing, empty, corrupt or truncated file, or an array of objects (a pickle, never loaded).
    """
    if not path.is_file():
        raise BadInputError(f"{path}: no such file; expected an .npy file of one array")
    try:
        array = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, EOFError, ValueError, OverflowError, zipfile.BadZipFile) as err:
        raise BadInputError(
            f"{path}: not a whole .npy file of plain numbers ({err}); write it with numpy.save"
        ) from err
    if not isinstance(array, np.ndarray):  # an .npz under another name
        array.close()
        raise BadInputError(f"{path}: is an archive of arrays; expected one array: name it .npz")
    return array


def _mapped(path: Path, least: int) -> dict[str, Array]:
    """The arrays of at least `least` bytes that lie in the file as they are, by name, after a check of their sums."""
    found = {}
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.compress_type == zipfile.ZIP_STORED and info.file_size >= least and info.filename.endswith(".npy"):
                with archive.open(info) as member:
                    while member.read(CHUNK_BYTES):  # to its end: there zipfile compares the sum
                        pass
                array = _map_member(path, info)
                if array is not None and array.nbytes >= least:
                    found[info.filename.removesuffix(".npy")] = array
    return found


def _map_member(path: Path, info: zipfile.ZipInfo) -> Array | None:
    """The array of a member that is stored as it is; None where its header is one for numpy to judge."""
    with path.open("rb") as file:
        file.seek(
            info.header_offset + 26
        )  # APPNOTE.TXT 4.3.7: two lengths, after which name, extra field and data come
        start = info.header_offset + 30 + sum(struct.unpack("<HH", file.read(4)))
        file.seek(start)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        reader = readers.get(np.lib.format.read_magic(file))
        if reader is None:
            return None
        shape, fortran, dtype = reader(file)
        offset = file.tell()
    size = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or size == 0 or offset + size > start + info.file_size:
        return None
    return np.memmap(path, dtype=dtype, mode="c", offset=offset, shape=shape, order="F" if fortran else "C")


def read_npz(path: Path, *, classes: tuple[str, ...] | None) -> Pool:
    """A dataset from arrays x_train, y_train, x_test, y_test, or x and y alone.

    x: (n, height, width) or (n, height, width, channels) uint8, 1 or 3 channels; y: (n,) integers from 0, -1 where
    there is no label. Without y_train, or y, no sample has one. Class names come from `classes`, else from an array
    `classes` of strings, else they are the numbers.

    Raises:
        BadInputError: what `read_arrays` raises, a missing array, a wrong shape or dtype, or no labels and no classes.
    """
    arrays = read_arrays(path)
    test = None
    if "x_train" in arrays:
        if "x_test" in arrays and "y_train" in arrays and "y_test" not in arrays:
            raise BadInputError(
                f"{path}: array 'y_test' is missing, and y_train is there; expected labels to test with"
            )
        train = _samples(path, arrays, "x_train", "y_train")
        test = _samples(path, arrays, "x_test", "y_test") if "x_test" in arrays else None
    else:
        train = _samples(path, arrays, "x", "y")
    labels = train.labels if test is None else np.concatenate([train.labels, test.labels])
    return Pool(classes=_classes(path, arrays, classes, labels), train=train, test=test)


def _samples(path: Path, arrays: dict[str, Array], x: str, y: str) -> Samples:
    if x not in arrays:
        found = ", ".join(sorted(arrays)) or "none"
        raise BadInputError(f"{path}: array '{x}' is missing (found: {found}); expected x and y, or x_train, …")
    images = arrays[x]
    images = images[..., None] if images.ndim == 3 else images
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape[1:]:
        raise BadInputError(
            f"{path}: '{x}' is {images.dtype} of shape {arrays[x].shape}; expected raw uint8 pixels, "
            "(n, height, width) or (n, height, width, 1 or 3). Scaling belongs into the network, not into the data"
        )
    labels = arrays[y] if y in arrays else np.full(len(images), UNLABELLED)
    if not np.issubdtype(labels.dtype, np.integer) or labels.shape != (len(images),):
        raise BadInputError(
            f"{path}: '{y}' is {labels.dtype} of shape {labels.shape}; expected {len(images)} integers, one an image"
        )
    return Samples(inputs=images, labels=labels.astype(np.int64))


def _classes(
    path: Path, arrays: dict[str, Array], classes: tuple[str, ...] | None, labels: npt.NDArray[np.int64]
) -> tuple[str, ...]:
    if classes is not None:
        return classes
    if "classes" in arrays:
        names = arrays["classes"]
        if names.dtype.kind != "U" or names.ndim != 1:
            raise BadInputError(
                f"{path}: 'classes' is {names.dtype} of shape {names.shape}; expected a list of strings, (classes,)"
            )
        return tuple(str(name) for name in names)
    count = int(labels.max(initial=UNLABELLED)) + 1
    if count == 0:
        raise BadInputError(
            f"{path}: array 'y' is missing (found: {', '.join(sorted(arrays))}), and without labels nothing says which "
            "classes there are; expected y, or what the teacher tells apart as data.classes or an array 'classes'"
        )
    if count > len(labels):
        raise BadInputError(
            f"{path}: label {count - 1} among {len(labels)} samples leaves classes without any; count classes from 0, "
            "without gaps"
        )
    return tuple(str(number) for number in range(count))
