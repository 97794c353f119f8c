"""A table of scores as a teacher: a black box that answered once, for each sample as it is in the source.

    .npy           (n, outputs), a row a sample in the order of the source, the train part before the test part
    .npz           `ids` (n,) and `scores` (n, outputs), and `classes` (outputs,) where it names its columns
    .csv, .parquet a column `id`, every other column a class of its name

Ids are what the data calls its samples: the path of an image below its folder (`train/cat/1.png`), the number of a row
of an .npz (`12`, or `train/12` and `test/12` where the file has both parts).
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.data.npz import read_array, read_arrays
from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.rows import Inputs
from edgekd.teachers.interface import Ids, Opened

NAMED = 5
"""Ids that a message lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """scores: (n, outputs) float32; ids: (n,), None where the order says it; classes: of its columns, or None."""

    scores: npt.NDArray[np.float32]
    ids: Ids | None
    classes: tuple[str, ...] | None


def open_scores(path: Path, *, source_ids: Ids | None, needed: Ids | None) -> Opened:
    """The scores in a .npy, .npz, .csv or .parquet file.

    source_ids: the names of all samples of the source, in its order. needed: of those that training and measuring ask.

    Raises:
        BadInputError: no such table; rows missing for samples, which are named; rows of samples that are not the
            data's; rows twice; another number of rows than samples, where the order counts.
        EnvironmentFault: a .parquet, and pyarrow is not installed.
    """
    if source_ids is None or needed is None:
        raise BadInputError(
            f"{path}: is a table of scores, and this data does not name its samples; use a source that does"
        )
    table = read_table(path)
    ids = _of_order(path, table, source_ids) if table.ids is None else table.ids
    _check_ids(path, ids, source_ids, needed)
    row_of = {str(one): row for row, one in enumerate(ids)}

    def ask(inputs: Inputs, ids: Ids | None) -> npt.NDArray[np.float32]:
        if ids is None:
            raise BadInputError("is a table of scores, and was asked for samples without ids")
        missing = [str(one) for one in ids if str(one) not in row_of]
        if missing:
            raise BadInputError(f"has no row for {_listed(missing)}; add the scores of every sample")
        return table.scores[[row_of[str(one)] for one in ids]]

    return Opened(name=path.name, ask=ask, classes=table.classes, by_sample=True)


def read_table(path: Path) -> Table:
    """The table in a file, by its suffix. Raises BadInputError, EnvironmentFault as `open_scores`."""
    readers = {".npy": _npy, ".npz": _npz, ".csv": _csv, ".parquet": _parquet}
    if path.suffix not in readers:
        raise BadInputError(f"{path}: is no table of scores; expected {', '.join(readers)}")
    if not path.is_file():
        raise BadInputError(f"{path}: no such file; expected a table of scores")
    table = readers[path.suffix](path)
    if table.scores.ndim != 2 or 0 in table.scores.shape:
        raise BadInputError(f"{path}: has scores of shape {table.scores.shape}; expected (samples, classes)")
    if table.ids is not None and len(table.ids) != len(table.scores):
        raise BadInputError(
            f"{path}: has {len(table.ids)} ids and {len(table.scores)} rows of scores; expected as many"
        )
    return table


def _npy(path: Path) -> Table:
    return Table(scores=_numbers(path, read_array(path)), ids=None, classes=None)


def _npz(path: Path) -> Table:
    arrays = read_arrays(path)
    for name in ("ids", "scores"):
        if name not in arrays:
            raise BadInputError(
                f"{path}: array '{name}' is missing (found: {', '.join(sorted(arrays))}); expected ids and scores"
            )
    classes = arrays.get("classes")
    return Table(
        scores=_numbers(path, arrays["scores"]),
        ids=arrays["ids"].astype(np.str_).reshape(-1),
        classes=None if classes is None else _columns([str(name) for name in classes.reshape(-1)]),
    )


def _csv(path: Path) -> Table:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file, strict=True) if row]
    except (UnicodeDecodeError, csv.Error) as err:
        raise BadInputError(f"{path}: cannot be read as CSV in UTF-8 ({err}); write it again") from err
    if not rows or "id" not in rows[0]:
        raise BadInputError(f"{path}: its first line has no column 'id'; expected id and a column a class")
    place = rows[0].index("id")
    ids, scores = [], []
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(rows[0]):
            raise BadInputError(f"{path}, row {number}: has {len(row)} fields, the first row {len(rows[0])}")
        ids.append(row[place])
        try:
            scores.append([float(field) for field in row[:place] + row[place + 1 :]])
        except ValueError as err:
            raise BadInputError(f"{path}, row {number} (id '{row[place]}'): {err}; expected numbers") from err
    names = rows[0][:place] + rows[0][place + 1 :]
    array = np.array(scores, dtype=np.float32).reshape(len(ids), len(names))
    return Table(scores=array, ids=np.array(ids, dtype=np.str_), classes=_columns(names))


def _parquet(path: Path) -> Table:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as err:
        raise EnvironmentFault('a .parquet needs pyarrow; install it: pip install "edgekd[parquet]"') from err
    try:
        found = parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as err:
        raise BadInputError(f"{path}: cannot be read as Parquet ({err}); write it again") from err
    if "id" not in found.column_names:
        raise BadInputError(f"{path}: has no column 'id' (found: {', '.join(found.column_names)})")
    names = [name for name in found.column_names if name != "id"]
    columns = [_numbers(path, found[name].to_numpy()) for name in names]
    if not columns:
        raise BadInputError(f"{path}: has no column beside 'id'; expected a column a class")
    ids = np.array([str(value) for value in found["id"].to_pylist()], dtype=np.str_)
    return Table(scores=np.stack(columns, axis=1), ids=ids, classes=_columns(names))


def _numbers(path: Path, array: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    if array.dtype.kind not in "fiu":
        raise BadInputError(f"{path}: holds {array.dtype}; expected numbers, logits or probabilities")
    return np.asarray(array, dtype=np.float32)


def _columns(names: list[str]) -> tuple[str, ...] | None:
    """The classes that columns name; None for 0, 1, 2, …, which name nothing."""
    return None if names == [str(number) for number in range(len(names))] else tuple(names)


def _of_order(path: Path, table: Table, source_ids: Ids) -> Ids:
    if len(table.scores) != len(source_ids):
        raise BadInputError(
            f"{path}: has {len(table.scores)} rows, the source {len(source_ids)} samples; without ids the order says "
            "which is which, so expected a row for each, the train part before the test part. Or save ids with them "
            "(.npz with ids and scores, .csv or .parquet with a column id)"
        )
    return source_ids


def _check_ids(path: Path, ids: Ids, source_ids: Ids, needed: Ids) -> None:
    have = [str(one) for one in ids]
    known, seen = {str(one) for one in source_ids}, set(have)
    if len(seen) < len(have):
        twice = next(one for place, one in enumerate(have) if one in have[:place])
        raise BadInputError(f"{path}: has two rows for '{twice}'; expected one a sample")
    if len(known) < len(source_ids):
        names, counts = np.unique(source_ids, return_counts=True)
        raise BadInputError(
            f"{path}: is a table of scores by id, and the data calls {counts.max()} samples "
            f"'{names[np.argmax(counts)]}'; "
            "expected an id for each sample, in all parts of the source: rename them there and in the table"
        )
    missing = [str(one) for one in needed if str(one) not in seen]
    other = [one for one in have if one not in known]
    if len(missing) == len(needed):
        example = f"the data's are like '{needed[0]}', the table's like '{have[0]}'"
        raise BadInputError(
            f"{path}: has scores for other samples: none of its ids is one of the data's ({example}); expected the "
            "data's ids: is it the table of another data set?"
        )
    if missing:
        raise BadInputError(
            f"{path}: has no row for {_listed(missing)}; {len(missing)} of {len(needed)} needed rows are missing. Add "
            "them, or remove these samples from the data"
        )
    if other:
        raise BadInputError(
            f"{path}: has scores for {len(other)} other sample(s), such as {_listed(other)}, which the data does not "
            "have; remove those rows if they belong to nothing here"
        )


def _listed(ids: list[str]) -> str:
    return ", ".join(f"'{one}'" for one in ids[:NAMED]) + (f", … ({len(ids)})" if len(ids) > NAMED else "")
