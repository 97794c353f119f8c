"""A row of logits as it is stored: every class in fp16, or the largest few and one value for all the others."""

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError

Rows = npt.NDArray[np.void]
"""Stored rows, of the dtype that `row_type` gives."""

FP16_OVERFLOW = 65_520.0
"""The least number that rounds to infinity in fp16."""


def row_type(classes: int, top_k: int | None) -> np.dtype[np.void]:
    """The dtype of one stored row."""
    if top_k is None:
        return np.dtype([("logits", "<f2", (classes,))])
    number = "<u2" if classes <= 2**16 else "<u4"
    return np.dtype([("index", number, (top_k,)), ("logits", "<f2", (top_k,)), ("rest", "<f2")])


def encode(logits: npt.NDArray[np.float32], *, top_k: int | None, view: int = 0, start: int = 0) -> Rows:
    """Stored rows (n,) of logits (n, classes). view, start: where the rows belong, for messages.

    Raises:
        BadInputError: a logit is not finite or does not fit fp16.
    """
    if not max(logits.max(initial=0), -logits.min(initial=0)) < FP16_OVERFLOW:  # not so for NaN either
        _refuse(logits, view=view, start=start)
    rows = np.empty(len(logits), row_type(logits.shape[1], top_k))
    if top_k is None:
        rows["logits"] = logits
        return rows
    index = np.argpartition(logits, -top_k, axis=1)[:, -top_k:]
    rows["index"] = index
    rows["logits"] = np.take_along_axis(logits, index, axis=1)
    rows["rest"] = _rest(logits, index)
    return rows


def decode(rows: Rows, *, classes: int) -> npt.NDArray[np.float32]:
    """Logits (n, classes) of stored rows (n,)."""
    if rows.dtype.names == ("logits",):
        return _widened(rows["logits"])
    logits = np.empty((len(rows), classes), np.float32)
    logits[:] = _widened(rows["rest"])[:, None]
    logits[np.arange(len(rows))[:, None], rows["index"]] = _widened(rows["logits"])
    return logits


def stored(logits: npt.NDArray[np.float32], *, top_k: int | None = None) -> npt.NDArray[np.float32]:
    """The logits as a cache gives them back: so a live teacher has the very targets of a cached one.

    logits: (n, classes). top_k: as of the cache; None for fp16 of every class.

    Raises:
        BadInputError: a logit is not finite or does not fit fp16; top_k is not below the number of classes.
    """
    check_top_k(top_k, classes=logits.shape[1])
    return decode(encode(logits, top_k=top_k), classes=logits.shape[1])


def check_top_k(top_k: int | None, *, classes: int) -> None:
    """Raises BadInputError unless 1 <= top_k < classes or None."""
    if top_k is not None and not 1 <= top_k < classes:
        raise BadInputError(
            f"the teacher's logits should be kept for the top {top_k} of {classes} classes; expected 1 to "
            f"{classes - 1}. Set distill.cache_top_k, or distill.teacher_cache = 'fp16' for all classes"
        )


def _widened(half: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
    """Finite fp16 numbers as float32, to the bit what `astype` gives and six times as fast (numpy 2.4, x86).

    Sign, exponent and fraction move to where float32 has them; the exponents' origins are 2**112 apart.
    """
    bits = half.view(np.int16).astype(np.int32)
    bits <<= 13
    bits &= np.int32(-0x70000001)  # drops the copies of the sign between it and the exponent
    wide = bits.view(np.float32)
    wide *= np.float32(2**112)
    return wide


def _rest(logits: npt.NDArray[np.float32], index: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """log(mean(exp(z))) of the classes that are not in `index`: (n,)."""
    others = logits.copy()
    np.put_along_axis(others, index, -np.inf, axis=1)
    largest = others.max(axis=1, keepdims=True)
    others -= largest
    mean = np.exp(others, out=others).sum(axis=1, dtype=np.float64) / (logits.shape[1] - index.shape[1])
    rest: npt.NDArray[np.float64] = largest[:, 0] + np.log(mean)
    return rest


def _refuse(logits: npt.NDArray[np.float32], *, view: int, start: int) -> None:
    row, label = (int(place) for place in np.argwhere(~(np.abs(logits) < FP16_OVERFLOW))[0])
    raise BadInputError(
        f"the teacher's logit for sample {start + row}, view {view}, class {label} is {logits[row, label]}; expected "
        "finite numbers of at most 65,504 in size, which fp16 can hold. Check the teacher's weights, its mean and std, "
        "and that image"
    )
