"""Windows of sensor readings from the arrays of an .npz file, and what those from a table share with them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.data import label_sets
from edgekd.data.dataset import UNLABELLED, Pool, Samples
from edgekd.data.npz import Array, large_inputs, read_arrays
from edgekd.data.npz_rows import Header, read_headers, stored_rows
from edgekd.decoded import MEMORY, Storage
from edgekd.errors import BadInputError, nearest
from edgekd.rows import Inputs

Names = npt.NDArray[np.str_]

ENDINGS = {"train": "_train", "validation": "_validation", "test": "_test"}


def holds_series(path: Path) -> bool:
    """Whether an .npz file holds readings: numbers with a point, (windows, length) or (windows, length, channels)."""
    headers = read_headers(path)
    first = next((headers[name] for name in ("x", "x_train") if name in headers), None)
    return first is not None and np.issubdtype(first.dtype, np.floating) and len(first.shape) in (2, 3)


def read_series_npz(path: Path, *, classes: tuple[str, ...] | None, storage: Storage = MEMORY) -> Pool:
    """Windows from arrays x and y; or x_train, y_train, x_test, … where the file brings its own splits.

    x: (n, length, channels) or (n, length) numbers, one window a sample. y: (n,) strings, the names of classes, or
    integers, numbers into `classes` where there are names, else names themselves; '' or -1 for no label; or, of a
    multi-label task, (n, K) of 1, 0 and -1. Optional:
    groups (n,), whom each window comes from, and ids (n,), with the same endings as x; `classes`, `channels`: names.

    Raises:
        BadInputError: what `read_arrays` raises, a missing array, a wrong shape or dtype, or a reading that is not
            finite.
    """
    large = large_inputs(path, storage, itemsize=4)
    arrays = read_arrays(path, without=large)
    endings = ENDINGS if "x_train" in {*arrays, *large} else {"train": ""}
    windows: dict[str, Inputs] = {}
    for part, end in endings.items():
        if f"x{end}" in large:
            windows[part] = _stored(path, f"x{end}", large[f"x{end}"], storage)
        elif _there(arrays, part, end):
            windows[part] = _windows(path, arrays, f"x{end}")
    written = tuple(str(name) for name in arrays["classes"].ravel()) if "classes" in arrays else None
    given = classes or written
    names, labels = _label_sets(path, arrays, endings, windows, given)
    if not labels:
        named = {part: _labels(path, arrays, f"y{endings[part]}", len(x), given) for part, x in windows.items()}
        names = given or class_names(path, (label for each in named.values() for label in each))
        labels = {part: numbered(path, each, names, where="window") for part, each in named.items()}
    parts = {
        part: Samples(
            inputs=x,
            labels=labels[part],
            ids=_column(path, arrays, f"ids{endings[part]}", len(x)),
            groups=_column(path, arrays, f"groups{endings[part]}", len(x)),
        )
        for part, x in windows.items()
    }
    channels = tuple(str(name) for name in arrays["channels"].ravel()) if "channels" in arrays else ()
    count = windows["train"].shape[2]
    if channels and len(channels) != count:
        raise BadInputError(f"{path}: 'channels' has {len(channels)} names for {count} channels; expected as many")
    return pool(path, parts, classes=names, channels=channels)


def pool(path: Path, parts: Mapping[str, Samples], *, classes: tuple[str, ...], channels: Sequence[str]) -> Pool:
    """What the source holds. parts: by name, `train` among them. channels: their names, empty where there are none.

    Raises:
        BadInputError: windows of several sizes.
    """
    train = parts["train"]
    for name, part in parts.items():
        if part.inputs.shape[1:] != train.inputs.shape[1:]:
            raise BadInputError(
                f"{path}: windows to train on are {train.inputs.shape[1:]}, those of {name} {part.inputs.shape[1:]} "
                "(length, channels); expected one size"
            )
    front = {"channels": list(channels)} if channels else {}
    test, validation = parts.get("test"), parts.get("validation")
    return Pool(classes=classes, train=train, test=test, validation=validation, kind="series", front=front)


def class_names(path: Path, labels: Iterable[str | None]) -> tuple[str, ...]:
    """The labels that occur, sorted: as numbers where all of them are.

    Raises:
        BadInputError: there is no label at all.
    """
    found = sorted({label for label in labels if label is not None})
    if not found:
        raise BadInputError(
            f"{path}: no window has a label, so nothing says which classes there are; expected labels, or what the "
            "teacher tells apart as data.classes"
        )
    plain = all(name.removeprefix("-").isdecimal() for name in found)
    return tuple(sorted(found, key=int) if plain else found)


def numbered(
    path: Path, labels: Sequence[str | None], classes: tuple[str, ...], *, where: str
) -> npt.NDArray[np.int64]:
    """The labels as numbers of classes, -1 for none. where: what a label belongs to, for the message.

    Raises:
        BadInputError: a label that is none of the classes.
    """
    known = {name: number for number, name in enumerate(classes)}
    for row, label in enumerate(labels):
        if label is not None and label not in known:
            raise BadInputError(
                f"{path}: label '{label}' of {where} {row} is none of the classes ({', '.join(classes)})"
                f"{nearest(label, list(classes))}; correct it, or data.classes"
            )
    return np.array([UNLABELLED if label is None else known[label] for label in labels], dtype=np.int64)


def _label_sets(
    path: Path,
    arrays: Mapping[str, Array],
    endings: Mapping[str, str],
    windows: Mapping[str, Inputs],
    classes: tuple[str, ...] | None,
) -> tuple[tuple[str, ...], dict[str, npt.NDArray[Any]]]:
    """Names and labels of a multi-label task, whose y is (n, K); nothing where it has one class a window."""
    y = arrays.get(f"y{endings['train']}")
    if y is None or y.ndim != 2:
        return (), {}
    labels: dict[str, npt.NDArray[Any]] = {}
    for part, x in windows.items():
        name = f"y{endings[part]}"
        if name in arrays:
            labels[part] = label_sets.from_array(f"{path}: '{name}'", arrays[name], len(x))
        else:
            labels[part] = np.full((len(x), y.shape[1]), UNLABELLED, dtype=np.int8)
    return classes or tuple(str(number) for number in range(y.shape[1])), labels


def _there(arrays: Mapping[str, Array], part: str, ending: str) -> bool:
    return part == "train" or f"x{ending}" in arrays


def _windows(path: Path, arrays: Mapping[str, Array], name: str) -> npt.NDArray[np.float32]:
    if name not in arrays:
        raise BadInputError(
            f"{path}: array '{name}' is missing (found: {', '.join(sorted(arrays)) or 'none'}); expected x and y, or "
            "x_train, …"
        )
    x = arrays[name]
    readings = x[..., None] if x.ndim == 2 else x
    _check_shape(path, name, x.dtype, x.shape)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is named below
        windows = np.ascontiguousarray(readings, dtype=np.float32)
    bad = np.argwhere(~np.isfinite(windows))
    if len(bad):
        raise _not_finite(path, name, readings[tuple(bad[0])], bad[0], len(bad))
    return windows


def _check_shape(path: Path, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    numbers = np.issubdtype(dtype, np.floating) or np.issubdtype(dtype, np.integer)
    if not numbers or len(shape) not in (2, 3) or 0 in shape[1:]:
        raise BadInputError(
            f"{path}: '{name}' is {dtype} of shape {shape}; expected numbers, (windows, length, channels) or "
            "(windows, length)"
        )


def _not_finite(path: Path, name: str, found: Any, place: npt.NDArray[Any], count: int) -> BadInputError:
    window, row, channel = place.tolist()
    return BadInputError(
        f"{path}: '{name}' holds {found} in window {window}, row {row}, channel {channel} ({count} such readings); "
        "expected finite float32 numbers: fill them in, or drop the window"
    )


def _stored(path: Path, name: str, header: Header, storage: Storage) -> Inputs:
    """Windows that are too large for memory, as float32."""
    _check_shape(path, name, header.dtype, header.shape)

    def check(chunks: Iterator[Array]) -> Iterator[Array]:
        count, seen = 0, 0
        first: tuple[Any, npt.NDArray[Any]] | None = None
        for chunk in chunks:
            bad = np.argwhere(~np.isfinite(chunk))
            if len(bad) and first is None:
                first = chunk[tuple(bad[0])], bad[0] + [seen, 0, 0]
            count, seen = count + len(bad), seen + len(chunk)
            if first is None:
                yield chunk
        if first is not None:
            raise _not_finite(path, name, *first, count)

    row = header.shape[1:] if len(header.shape) == 3 else (*header.shape[1:], 1)
    return stored_rows(path, name, header, row=row, dtype=np.float32, storage=storage, check=check)


def _labels(
    path: Path, arrays: Mapping[str, Array], name: str, count: int, classes: tuple[str, ...] | None
) -> list[str | None]:
    if name not in arrays:
        return [None] * count
    y = arrays[name]
    if y.shape != (count,) or not (np.issubdtype(y.dtype, np.integer) or y.dtype.kind == "U"):
        raise BadInputError(
            f"{path}: '{name}' is {y.dtype} of shape {y.shape}; expected {count} integers or strings, one a window"
        )
    if y.dtype.kind == "U":
        return [label or None for label in y.tolist()]
    if classes is None:
        return [None if number == UNLABELLED else str(number) for number in y.tolist()]
    wrong = np.flatnonzero((y < UNLABELLED) | (y >= len(classes)))
    if len(wrong):
        raise BadInputError(
            f"{path}: label {y[wrong[0]]} of window {wrong[0]} is outside 0..{len(classes) - 1}; count classes from 0"
        )
    return [None if number == UNLABELLED else classes[number] for number in y.tolist()]


def _column(path: Path, arrays: Mapping[str, Array], name: str, count: int) -> Names | None:
    if name not in arrays:
        return None
    column = arrays[name]
    if column.shape != (count,):
        raise BadInputError(f"{path}: '{name}' is of shape {column.shape}; expected {count} names, one a window")
    return column.astype(np.str_)
