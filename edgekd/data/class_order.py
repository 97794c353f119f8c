"""Labels of data in the order of a network's classes: by name."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.data.dataset import UNLABELLED, Pool, Samples
from edgekd.errors import BadInputError, nearest


def relabelled(pool: Pool, classes: tuple[str, ...] | None, source: Path) -> Pool:
    """The pool with labels in the order of `classes`, the network's; None leaves it."""
    if classes is None or pool.classes == classes:
        return pool
    order = places_of(pool.classes, classes, source)
    return replace(
        pool,
        classes=classes,
        train=_moved(pool.train, order, len(classes)),
        test=None if pool.test is None else _moved(pool.test, order, len(classes)),
        validation=None if pool.validation is None else _moved(pool.validation, order, len(classes)),
    )


def places_of(found: tuple[str, ...], classes: tuple[str, ...], source: Path) -> npt.NDArray[np.int64]:
    """The number that the network gives each class of the data: by name, or by number where only it has names.

    Raises:
        BadInputError: a class of the data that the network does not know.
    """
    places = {name: number for number, name in enumerate(classes)}
    if all(name.isascii() and name.isdigit() for name in found) and not places.keys() & set(found):
        places = {str(number): number for number in range(len(classes))}
    unknown = [name for name in found if name not in places]
    if unknown:
        shown = ", ".join(classes[:20]) + (", …" if len(classes) > 20 else "")
        raise BadInputError(
            f"{source}: class '{unknown[0]}' is none of the model's{nearest(unknown[0], list(classes))} "
            f"(it tells apart: {shown}); expected its names, in any order, or numbers from 0 to {len(classes) - 1}: "
            "rename the class, or leave its samples out"
        )
    return np.array([places[name] for name in found], dtype=np.int64)


def _moved(samples: Samples, order: npt.NDArray[np.int64], count: int) -> Samples:
    return replace(samples, labels=moved(samples.labels, order, count))


def moved(labels: npt.NDArray[Any], order: npt.NDArray[np.int64], count: int) -> npt.NDArray[Any]:
    """The labels in the numbers of a network of `count` classes. order: its number of each of the data's classes.

    Raises:
        BadInputError: labels (n, K) of another K than the names are.
    """
    if labels.ndim == 2:  # a column a class; of one that the data does not name, nothing is known
        if labels.shape[1] != len(order):
            raise BadInputError(
                f"the labels have {labels.shape[1]} columns, and {len(order)} classes are named; expected one name a "
                "column: correct the array `classes`, or data.classes"
            )
        columns = np.full((len(labels), count), UNLABELLED, dtype=labels.dtype)
        columns[:, order] = labels
        return columns
    return np.where(labels < 0, UNLABELLED, order[labels])
