"""A Hugging Face data set saved on disk (`Dataset.save_to_disk`), read from its Arrow files with pyarrow alone.

The layout, as datasets 5.2 writes it: a DatasetDict is a folder with `dataset_dict.json`, {"splits": [...]}, and one
folder a split; a Dataset is a folder with `state.json`, whose `_data_files` names the Arrow stream files in order, and
`dataset_info.json`, whose `features` say what each column is. An Image column is a struct of `bytes` (a PNG or JPEG)
and `path`; a ClassLabel column holds numbers, -1 where there is no label.
https://huggingface.co/docs/datasets/process#save
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.data.dataset import UNLABELLED, Pool, Samples
from edgekd.data.pictures import Picture, stack
from edgekd.data.read_picture import Resize
from edgekd.data.sample_file import SampleFile
from edgekd.decoded import MEMORY, Storage
from edgekd.decoded.storage import File
from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.rows import CHUNK_BYTES, Inputs

SPLITS = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
"""Names of splits that hubs use -> ours."""

GROUP, IDENTITY = "group", "id"
"""Columns that say whom a sample comes from, and its name elsewhere."""

PNG_MARK = b"\x89PNG"

LABEL_NAMES = ("label", "labels", "fine_label")
"""Names of a label column, where more than one could be it, or where it is no ClassLabel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Which columns are what. pixels: the shape of an Array3D or Array2D column; None for pictures as files.

    several: the label is a list of classes, of a multi-label task.
    """

    image: str
    pixels: tuple[int, ...] | None
    label: str | None
    classes: tuple[str, ...] | None
    several: bool = False


def is_saved_dataset(folder: Path) -> bool:
    """Whether a folder is what `save_to_disk` writes."""
    return (folder / "dataset_dict.json").is_file() or (
        (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()
    )


def class_names(folder: Path) -> tuple[str, ...] | None:
    """The names of the classes in their order, where the data set has them. Raises BadInputError for damaged files."""
    listed = _json(folder / "dataset_dict.json").get("splits") if (folder / "dataset_dict.json").is_file() else None
    return _columns(folder / str(listed[0]) if isinstance(listed, list) and listed else folder).classes


def read_saved_dataset(
    folder: Path,
    *,
    resize: Resize | None,
    channels: int | None,
    classes: tuple[str, ...] | None,
    storage: Storage = MEMORY,
) -> Pool:
    """The pictures of a saved Dataset, or of a DatasetDict's train, validation and test.

    The image column is the one Image (or Array3D/Array2D uint8) feature, the label column the one ClassLabel, else the
    one called label; a Sequence of ClassLabel makes a multi-label task, null is then a sample without labels. Classes:
    the ClassLabel's names, else `classes`, else the numbers. Columns `group` and `id` count where they are there;
    others are not read.

    Raises:
        BadInputError: missing or damaged files, no column or several that could be it, other splits, other classes in
            two splits, a label out of range, or a picture that cannot be read; the row is named.
        EnvironmentFault: pyarrow is not installed.
    """
    if not (folder / "dataset_dict.json").is_file():
        parts = {"train": folder}
        return _pool(folder, parts, resize=resize, channels=channels, classes=classes, storage=storage)
    listed = _json(folder / "dataset_dict.json").get("splits")
    if not isinstance(listed, list) or not listed:
        raise BadInputError(f"{folder}: dataset_dict.json lists no splits; save the data set again")
    unknown = [name for name in listed if name not in SPLITS]
    if unknown:
        raise BadInputError(
            f"{folder}: has the split '{unknown[0]}'; expected train, validation and test: rename it, or save those "
            "that count alone"
        )
    parts = {SPLITS[name]: folder / name for name in listed}
    if len(parts) < len(listed) or "train" not in parts:
        raise BadInputError(
            f"{folder}: has the splits {', '.join(listed)}; expected one train, and at most one of each"
        )
    return _pool(folder, parts, resize=resize, channels=channels, classes=classes, storage=storage)


def _pool(
    folder: Path,
    parts: Mapping[str, Path],
    *,
    resize: Resize | None,
    channels: int | None,
    classes: tuple[str, ...] | None,
    storage: Storage,
) -> Pool:
    own = {split: _columns(part) for split, part in parts.items()}
    named = own["train"].classes
    for split, found in own.items():
        if found.classes is not None and named is not None and found.classes != named:
            raise BadInputError(f"{folder}: train has the classes {named}, {split} {found.classes}; expected the same")
    if named is not None and classes is not None:
        raise BadInputError(f"data.classes is set, but {folder} names its classes itself; remove data.classes")
    samples: dict[str, Samples] = {}
    for split in ("train", "validation", "test"):
        if split in parts:
            depth = samples["train"].inputs.shape[-1] if samples else channels
            samples[split] = _read(parts[split], own[split], resize=resize, channels=depth, storage=storage)
    names = named or classes or _numbered(folder, samples)
    for split, part in samples.items():
        if part.labels.ndim == 2:
            continue
        wrong = np.flatnonzero((part.labels < UNLABELLED) | (part.labels >= len(names)))
        if len(wrong):
            raise BadInputError(
                f"{parts[split]}, row {wrong[0]}: label {part.labels[wrong[0]]} is outside 0..{len(names) - 1} "
                "(-1: none); expected the number of a class"
            )
    validation, test = samples.get("validation"), samples.get("test")
    original = None if own["train"].pixels is not None else partial(_original, parts, own["train"].image)
    return Pool(classes=names, train=samples["train"], validation=validation, test=test, original=original)


def _original(parts: Mapping[str, Path], column: str, name: str) -> SampleFile:
    """The picture behind a sample. name: its `id`, else its row, `12`, or `train/12` where there are several parts.

    An `id` that several parts have is looked for in the test part first: its samples are what is bundled.
    """
    for split, part in sorted(parts.items(), key=lambda one: one[0] != "test"):
        table = _table(part)
        ids = _texts(part, table, IDENTITY)
        rows = np.arange(table.num_rows).astype(np.str_) if ids is None else ids
        found = np.flatnonzero(rows == (name if ids is not None or len(parts) == 1 else name.removeprefix(f"{split}/")))
        if len(found):
            cell = table.column(column)[int(found[0])].as_py()
            content = Path(cell["path"]).read_bytes() if cell.get("bytes") is None else cell["bytes"]
            suffix = ".png" if content.startswith(PNG_MARK) else ".jpg"
            return SampleFile(suffix=suffix, content=content, origin=f"{part.name}, {name}")
    raise KeyError(name)


def _numbered(folder: Path, samples: Mapping[str, Samples]) -> tuple[str, ...]:
    highest = max(int(part.labels.max(initial=UNLABELLED)) for part in samples.values())
    if highest < 0:
        raise BadInputError(
            f"{folder}: has no labels, so nothing says which classes there are; set data.classes = [...] to what the "
            "teacher tells apart, in its order"
        )
    if highest >= sum(len(part) for part in samples.values()):
        raise BadInputError(f"{folder}: has a label {highest} among fewer samples; count classes from 0, without gaps")
    return tuple(str(number) for number in range(highest + 1))


def _columns(part: Path) -> Columns:
    features = _json(part / "dataset_info.json").get("features")
    if not isinstance(features, dict) or not all(isinstance(f, dict) for f in features.values()):
        raise BadInputError(f"{part}: dataset_info.json has no features; save the data set again")
    images = [name for name, feature in features.items() if _is_image(feature)]
    if len(images) != 1:
        raise BadInputError(
            f"{part}: has {len(images)} image columns ({', '.join(features)}); expected one Image, or Array3D of "
            "uint8: remove the others with remove_columns"
        )
    feature = features[images[0]]
    label = _label(part, features)
    several = label is not None and _is_list_of_classes(features[label])
    names = (features[label]["feature"] if several else features[label]).get("names") if label is not None else None
    return Columns(
        image=images[0],
        pixels=None if feature["_type"] == "Image" else tuple(feature["shape"]),
        label=label,
        classes=None if names is None else tuple(map(str, names)),
        several=several,
    )


def _is_image(feature: Mapping[str, Any]) -> bool:
    kind = feature.get("_type")
    return kind == "Image" or (kind in ("Array2D", "Array3D") and feature.get("dtype") == "uint8")


def _is_list_of_classes(feature: Mapping[str, Any]) -> bool:
    """datasets 2 and 3 call it Sequence, datasets 4 List."""
    inner = feature.get("feature")
    return isinstance(inner, dict) and inner.get("_type") == "ClassLabel" and isinstance(inner.get("names"), list)


def _label(part: Path, features: Mapping[str, Mapping[str, Any]]) -> str | None:
    labels = [
        name
        for name, feature in features.items()
        if feature.get("_type") == "ClassLabel" or _is_list_of_classes(feature)
    ]
    if len(labels) == 1:
        return labels[0]
    called = [name for name in LABEL_NAMES if name in features and (name in labels or not labels)]
    if len(labels) > 1 and len(called) != 1:
        raise BadInputError(
            f"{part}: has several label columns ({', '.join(labels)}); expected one: remove the others with "
            "remove_columns, or call one 'label'"
        )
    if called and features[called[0]].get("_type") not in ("ClassLabel", "Value"):
        raise BadInputError(
            f"{part}: '{called[0]}' is a {features[called[0]].get('_type')}; expected one class a sample (ClassLabel "
            "or an integer)"
        )
    return called[0] if called else None


def _read(part: Path, columns: Columns, *, resize: Resize | None, channels: int | None, storage: Storage) -> Samples:
    table = _table(part)
    if table.num_rows == 0:
        raise BadInputError(f"{part}: has no rows; expected samples")
    for name in (columns.image, columns.label):
        if name is not None and name not in table.column_names:
            raise BadInputError(f"{part}: column '{name}' is in dataset_info.json and not in the data; save it again")
    inputs = (
        _files(part, table.column(columns.image), resize=resize, channels=channels, storage=storage)
        if columns.pixels is None
        else _arrays(
            part, table.column(columns.image), columns.pixels, resize=resize, channels=channels, storage=storage
        )
    )
    return Samples(
        inputs=inputs,
        labels=_labels(part, columns, table),
        ids=_texts(part, table, IDENTITY),
        groups=_texts(part, table, GROUP),
    )


def _label_sets(part: Path, columns: Columns, values: Sequence[Any]) -> npt.NDArray[Any]:
    count = len(columns.classes or ())
    made = np.zeros((len(values), count), dtype=np.int8)
    for row, value in enumerate(values):
        numbers = value if isinstance(value, list) else []
        if value is not None and not all(type(k) is int and 0 <= k < count for k in numbers):
            raise BadInputError(
                f"{part}, row {row}: '{columns.label}' is {value!r:.60}; expected numbers of classes, 0..{count - 1}"
            )
        made[row] = UNLABELLED if value is None else 0
        made[row, numbers] = 1
    return made


def _labels(part: Path, columns: Columns, table: Any) -> npt.NDArray[Any]:
    if columns.label is None:
        return np.full(table.num_rows, UNLABELLED, dtype=np.int64)
    values = table.column(columns.label).to_pylist()
    if columns.several:
        return _label_sets(part, columns, values)
    for row, value in enumerate(values):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise BadInputError(
                f"{part}, row {row}: '{columns.label}' is {value!r}; expected the number of a class: cast the column "
                "to ClassLabel"
            )
    return np.array([UNLABELLED if value is None else value for value in values], dtype=np.int64)


def _texts(part: Path, table: Any, name: str) -> npt.NDArray[np.str_] | None:
    if name not in table.column_names:
        return None
    values = table.column(name).to_pylist()
    if None in values:
        raise BadInputError(f"{part}, row {values.index(None)}: '{name}' is empty; expected one in every row")
    return np.array([str(value) for value in values])


def _files(part: Path, column: Any, *, resize: Resize | None, channels: int | None, storage: Storage) -> Inputs:
    pictures = _Pictures(part, column)
    files = [*_arrow_files(part), *(("", path) for path in pictures.paths())]
    return stack(pictures, resize=resize, channels=channels, storage=storage, source=part, files=files)


class _Pictures(Sequence[Picture]):
    """An Image column, of which a row is looked at when it is asked for."""

    def __init__(self, part: Path, column: Any) -> None:
        self.part, self.column = part, column

    def __len__(self) -> int:
        return len(self.column)

    def __getitem__(self, row: Any) -> Any:
        if row >= len(self):
            raise IndexError(row)
        cell, name = self.column[row].as_py(), f"{self.part}, row {row}"
        if cell is None or (cell.get("bytes") is None and cell.get("path") is None):
            raise BadInputError(f"{name}: has no picture; expected one in every row")
        if cell.get("bytes") is not None:
            return name, BytesIO(cell["bytes"])
        if Path(cell["path"]).is_file():
            return f"{name}: {cell['path']}", Path(cell["path"])
        raise BadInputError(
            f"{name}: holds the path {cell['path']} and no bytes, and there is no such file; expected the picture "
            "itself: save the data set where its files are"
        )

    def paths(self) -> list[Path]:
        """The files of pictures that are not in the column itself."""
        from pyarrow import compute

        bare = compute.and_(compute.is_valid(self.column), compute.is_null(compute.struct_field(self.column, "bytes")))
        cells = compute.struct_field(self.column.filter(bare), "path").to_pylist()
        return [Path(path) for path in cells if path is not None and Path(path).is_file()]


def _arrays(
    part: Path,
    column: Any,
    shape: tuple[int, ...],
    *,
    resize: Resize | None,
    channels: int | None,
    storage: Storage,
) -> Inputs:
    if resize is not None or channels is not None:
        raise BadInputError(f"data.resize and data.channels are for picture files; {part} holds arrays; remove them")
    row = (*shape, 1) if len(shape) == 2 else shape
    if not storage.on_disk(len(column) * math.prod(row)):
        return _pixels(part, column, shape).copy()
    step = max(1, CHUNK_BYTES // max(1, math.prod(row)))

    def read(start: int) -> Iterator[npt.NDArray[np.uint8]]:
        for at in range(start, len(column), step):
            yield _pixels(part, column.slice(at, step), shape)

    return storage.keep(
        source=part,
        files=_arrow_files(part),
        settings={"kind": "arrays"},
        row=row,
        dtype=np.uint8,
        count=len(column),
        read=read,
    )


def _pixels(part: Path, column: Any, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """(n, height, width, channels) of the rows of an array column."""
    import pyarrow

    values = column.combine_chunks()
    values = getattr(values, "storage", values)
    count = len(values)
    while pyarrow.types.is_list(values.type) or pyarrow.types.is_fixed_size_list(values.type):
        values = values.flatten()
    pixels: npt.NDArray[np.uint8] = values.to_numpy(zero_copy_only=False)
    whole = (count, *shape, 1) if len(shape) == 2 else (count, *shape)
    if pixels.dtype != np.uint8 or pixels.size != np.prod(whole) or whole[-1] not in (1, 3):
        raise BadInputError(
            f"{part}: the pixels are {pixels.dtype}, {pixels.size} of them for {count} samples of shape {shape}; "
            "expected uint8, (height, width) or (height, width, 1 or 3), none empty"
        )
    return pixels.reshape(whole)


def _arrow_files(part: Path) -> list[File]:
    return [
        (str(entry["filename"]), part / str(entry["filename"])) for entry in _json(part / "state.json")["_data_files"]
    ]


def _table(part: Path) -> Any:
    try:
        import pyarrow
    except ImportError as err:
        raise EnvironmentFault(f'{part}: a saved data set needs pyarrow; pip install "edgekd[parquet]"') from err
    files = _json(part / "state.json").get("_data_files")
    if not isinstance(files, list) or not files:
        raise BadInputError(f"{part}: state.json names no data files; save the data set again")
    tables = []
    for entry in files:
        path = part / str(entry["filename"])
        if not path.is_file() or path.resolve().parent != part.resolve():
            raise BadInputError(f"{path}: no such file, though {part / 'state.json'} names it; copy the whole folder")
        try:
            with pyarrow.memory_map(str(path)) as source:
                tables.append(pyarrow.ipc.open_stream(source).read_all())
        except (OSError, pyarrow.ArrowException) as err:
            raise BadInputError(f"{path}: not a whole Arrow file ({err}); save the data set again") from err
    try:
        return pyarrow.concat_tables(tables)
    except pyarrow.ArrowException as err:
        raise BadInputError(f"{part}: its files have different columns ({err}); save the data set again") from err


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise BadInputError(f"{path}: cannot be read ({err}); expected what Dataset.save_to_disk writes") from err
    if not isinstance(found, dict):
        raise BadInputError(f"{path}: not a JSON object; expected what Dataset.save_to_disk writes")
    return found
