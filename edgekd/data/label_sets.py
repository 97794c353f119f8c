"""Labels of samples that may have several, or none: from cells, lists and arrays to (n, K) of 1, 0 and -1 (unknown)."""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError, nearest

LabelSets = npt.NDArray[np.int8]
"""(n, K): 1 where the sample has the class, 0 where not, -1 where nobody said."""

UNKNOWN = "?"
"""The cell of a sample of which nobody said anything, as ARFF, the format of most multi-label sets, has it; an empty
cell says that no class holds."""

SEPARATOR = ";"

SHOWN = 20
"""Classes that one message names."""


def parse(cell: str, separator: str, *, where: str) -> tuple[str, ...] | None:
    """The labels of a cell `cat;dog` or `["cat", "dog"]`, each once; None for `?`, a sample without labels.

    where: file and line, for the message.

    Raises:
        BadInputError: a cell that begins like a list and is none of strings, or an empty name between separators.
    """
    text = cell.strip()
    if text == UNKNOWN:
        return None
    if text.startswith("["):
        return _listed(text, where)
    names = [name.strip() for name in text.split(separator)] if text else []
    if "" in names:
        raise BadInputError(
            f"{where}: '{cell}' has an empty label between two '{separator}'; expected names with one '{separator}' "
            f"between them, nothing where no class holds, or {UNKNOWN} where it is not known"
        )
    return tuple(dict.fromkeys(names))


def _listed(text: str, where: str) -> tuple[str, ...]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as err:
        raise BadInputError(f"{where}: {text[:40]} is no JSON list ({err}); expected one of names") from err
    if not isinstance(values, list) or not all(isinstance(v, str | int) and not isinstance(v, bool) for v in values):
        raise BadInputError(f'{where}: {text[:40]} is no list of names; expected one such as ["cat", "dog"]')
    return tuple(dict.fromkeys(str(value).strip() for value in values))


def class_names(sets: Iterable[tuple[str, ...] | None], *, source: str) -> tuple[str, ...]:
    """The labels that occur, sorted: as numbers where all of them are.

    Raises:
        BadInputError: there is none.
    """
    found = sorted({name for labels in sets if labels is not None for name in labels})
    if not found:
        raise BadInputError(
            f"{source}: no sample has a label, so nothing says which classes there are; set data.classes = [...] to "
            "what the teacher tells apart, in its order"
        )
    plain = all(name.isascii() and name.isdigit() for name in found)
    return tuple(sorted(found, key=int) if plain else found)


def indicator(
    sets: Sequence[tuple[str, ...] | None], classes: tuple[str, ...], *, where: Callable[[int], str]
) -> LabelSets:
    """(n, K) of the label sets; -1 throughout for None. where: what row i is called in a message.

    Raises:
        BadInputError: a label that is none of the classes.
    """
    number = {name: k for k, name in enumerate(classes)}
    made = np.zeros((len(sets), len(classes)), dtype=np.int8)
    for row, labels in enumerate(sets):
        if labels is None:
            made[row] = -1
            continue
        for name in labels:
            if name not in number:
                known = ", ".join(classes[:SHOWN]) + (", …" if len(classes) > SHOWN else "")
                raise BadInputError(
                    f"{where(row)}: label '{name}' is none of the classes{nearest(name, list(classes))} ({known}); "
                    "is another character between labels? See data.label_separator"
                )
            made[row, number[name]] = 1
    return made


def from_array(name: str, labels: npt.NDArray[Any], count: int) -> LabelSets:
    """An array (n, K) of 0 and 1, or -1 where it is not known, as label sets. name: file and array, for the message.

    Raises:
        BadInputError: another shape or type, fewer than 2 classes, or another number.
    """
    whole = labels.dtype == np.bool_ or np.issubdtype(labels.dtype, np.integer)
    if not whole or labels.ndim != 2 or len(labels) != count or labels.shape[1] < 2:
        raise BadInputError(
            f"{name} is {labels.dtype} of shape {labels.shape}; expected ({count}, classes) of 0 and 1 for a "
            "multi-label task: one row a sample, one column a class"
        )
    numbers = labels.astype(np.int64, copy=False)
    wrong = np.argwhere((numbers < -1) | (numbers > 1))
    if len(wrong):
        row, column = wrong[0].tolist()
        raise BadInputError(
            f"{name} holds {labels[row, column]} in row {row}, class {column}; expected 1 where the sample has the "
            "class, 0 where not, -1 where it is not known"
        )
    return numbers.astype(np.int8)
