"""Arrays from an .npz file, without ever unpickling."""

import math
import struct
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.data import label_sets
from edgekd.data.dataset import UNLABELLED, Pool, Samples
from edgekd.data.npz_rows import Header, read_headers, stored_rows
from edgekd.decoded import MEMORY, Storage
from edgekd.errors import BadInputError
from edgekd.rows import Inputs

Array = npt.NDArray[Any]

CHUNK_BYTES = 1 << 20

X_NAMES = ("x", "x_train", "x_validation", "x_test")
"""Arrays of samples, which alone are large."""


def read_arrays(path: Path, *, map_bytes: int | None = None, without: Collection[str] = ()) -> dict[str, Array]:
    """Every array of an .npz file by name, except those `without`.

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
            wanted = [name for name in archive.files if name not in without]
            arrays = {name: mapped[name] if name in mapped else archive[name] for name in wanted}
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


def read_npz(path: Path, *, classes: tuple[str, ...] | None, storage: Storage = MEMORY) -> Pool:
    """A dataset from arrays x_train, y_train, x_test, y_test, or x and y alone.

    x: (n, height, width) or (n, height, width, channels) uint8, 1 or 3 channels; y: (n,) integers from 0, -1 where
    there is no label; or, of a multi-label task, (n, K) of 1, 0 and -1. Without y_train, or y, no sample has one. Class
    names come from `classes`, else from an array `classes` of strings, else they are the numbers.

    Raises:
        BadInputError: what `read_arrays` raises, a missing array, a wrong shape or dtype, or no labels and no classes.
    """
    large = large_inputs(path, storage)
    arrays: dict[str, Inputs] = {**read_arrays(path, without=large)}
    for name, header in large.items():
        arrays[name] = _stored(path, name, header, storage)
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
    if test is not None and test.labels.shape[1:] != train.labels.shape[1:]:
        raise BadInputError(
            f"{path}: y_train is {train.labels.shape}, y_test {test.labels.shape}; expected a label, or one column a "
            "class, in both"
        )
    labels = train.labels if test is None else np.concatenate([train.labels, test.labels])
    return Pool(classes=_classes(path, arrays, classes, labels), train=train, test=test)


def large_inputs(path: Path, storage: Storage, *, itemsize: int | None = None) -> dict[str, Header]:
    """Names and headers of the arrays x…, where they are together too large for memory, else nothing.

    itemsize: bytes a number of the decoded arrays; None: as in the file.
    """
    if storage.mode == "memory":
        return {}
    found = {name: header for name, header in read_headers(path).items() if name in X_NAMES and header.shape}
    numbers = {name: math.prod(header.shape) for name, header in found.items()}
    size = sum(numbers[name] * (itemsize or header.dtype.itemsize) for name, header in found.items())
    return found if storage.on_disk(size) else {}


def _stored(path: Path, name: str, header: Header, storage: Storage) -> Inputs:
    row = header.shape[1:] if len(header.shape) == 4 else (*header.shape[1:], 1)
    if _is_wrong((header.shape[0], *row), header.dtype):
        raise _wrong_images(path, name, header.dtype, header.shape)
    return stored_rows(path, name, header, row=row, dtype=np.uint8, storage=storage)


def _is_wrong(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    return dtype != np.uint8 or len(shape) != 4 or shape[-1] not in (1, 3) or 0 in shape[1:]


def _wrong_images(path: Path, x: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> BadInputError:
    return BadInputError(
        f"{path}: '{x}' is {dtype} of shape {shape}; expected raw uint8 pixels, (n, height, width) or (n, height, "
        "width, 1 or 3). Scaling belongs into the network, not into the data"
    )


def _samples(path: Path, arrays: Mapping[str, Inputs], x: str, y: str) -> Samples:
    if x not in arrays:
        found = ", ".join(sorted(arrays)) or "none"
        raise BadInputError(f"{path}: array '{x}' is missing (found: {found}); expected x and y, or x_train, …")
    images = arrays[x]
    images = images[..., None] if images.ndim == 3 else images
    if _is_wrong(images.shape, images.dtype):
        raise _wrong_images(path, x, images.dtype, arrays[x].shape)
    labels = np.asarray(arrays[y]) if y in arrays else np.full(len(images), UNLABELLED)
    if labels.ndim == 2:
        return Samples(inputs=images, labels=label_sets.from_array(f"{path}: '{y}'", labels, len(images)))
    if not np.issubdtype(labels.dtype, np.integer) or labels.shape != (len(images),):
        raise BadInputError(
            f"{path}: '{y}' is {labels.dtype} of shape {labels.shape}; expected {len(images)} integers, one an image"
        )
    return Samples(inputs=images, labels=labels.astype(np.int64))


def _classes(
    path: Path, arrays: Mapping[str, Inputs], classes: tuple[str, ...] | None, labels: npt.NDArray[Any]
) -> tuple[str, ...]:
    if classes is not None:
        return classes
    if "classes" in arrays:
        names = np.asarray(arrays["classes"])
        if names.dtype.kind != "U" or names.ndim != 1:
            raise BadInputError(
                f"{path}: 'classes' is {names.dtype} of shape {names.shape}; expected a list of strings, (classes,)"
            )
        return tuple(str(name) for name in names)
    if labels.ndim == 2:
        return tuple(str(number) for number in range(labels.shape[1]))
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
