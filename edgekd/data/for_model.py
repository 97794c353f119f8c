"""Samples for a network that is already there: arrays in its own layout, or a folder of images for a uint8 one."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekd.data.image_folder import class_folders, evaluation_root, read_labelled_folder
from edgekd.data.npz import Array, read_array, read_arrays
from edgekd.data.parts import ModelSamples
from edgekd.errors import BadInputError

MAP_BYTES = 1 << 24
"""Arrays from 16 MiB on stay in their file where they can; smaller ones cost nothing in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelData:
    """What a source holds for a network. train: to calibrate on, None where the source has no part for it."""

    train: ModelSamples | None
    test: ModelSamples


def samples_for_model(
    source: Path, *, shape: tuple[int | None, ...], dtype: str, classes: tuple[str, ...] | None, layout: str | None
) -> ModelSamples:
    """The samples to evaluate, as `data_for_model` finds them."""
    if source.is_dir():
        return _from_folder(evaluation_root(source), shape=shape, dtype=dtype, classes=classes, layout=layout)
    return _from_arrays(source, shape=shape, classes=classes).test


def data_for_model(
    source: Path,
    *,
    shape: tuple[int | None, ...],
    dtype: str,
    classes: tuple[str, ...] | None,
    layout: str | None,
    train_limit: int | None = None,
) -> ModelData:
    """Samples from an .npz (x_train and x_test, or x; each with its optional y), an .npy, or a folder of images.

    A folder has one folder a class, or train/ and test/ with such folders. Large arrays stay in their file, mapped.

    shape, dtype: of the network's input, None for dynamic sizes. classes: the network's own, where its file names
    them. layout: `nhwc` or `nchw` where its file says so; else the axis of size 1 or 3 tells. train_limit: how many
    images of a folder's train/ are decoded, with the same share of every class; None: all.

    Raises:
        BadInputError: unreadable data, other classes than the network's, or a folder for a network whose preprocessing
            is unknown.
    """
    if not source.is_dir():
        return _from_arrays(source, shape=shape, classes=classes)
    test = samples_for_model(source, shape=shape, dtype=dtype, classes=classes, layout=layout)
    root = source / "train"
    if evaluation_root(source) == source:
        return ModelData(train=None, test=test)
    if classes is None and class_folders(root) != test.classes:
        raise BadInputError(
            f"{source}: train/ has the classes {class_folders(root)}, test/ {test.classes}; expected the same"
        )
    train = _from_folder(root, shape=shape, dtype=dtype, classes=test.classes, layout=layout, limit=train_limit)
    return ModelData(train=train, test=test)


def _from_arrays(source: Path, *, shape: tuple[int | None, ...], classes: tuple[str, ...] | None) -> ModelData:
    arrays = {"x": read_array(source)} if source.suffix == ".npy" else read_arrays(source, map_bytes=MAP_BYTES)
    names = _classes(source, arrays, classes)
    parts = {
        x: _samples(source, arrays, x, x.replace("x", "y"), shape=shape, classes=names)
        for x in ("x", "x_test", "x_train")
        if x in arrays
    }
    if not parts.keys() - {"x_train"}:
        raise BadInputError(
            f"{source}: array 'x' is missing (found: {', '.join(sorted(arrays)) or 'none'}); expected x, or x_train "
            "and x_test"
        )
    if "x" in parts:
        return ModelData(train=None, test=parts["x"])
    return ModelData(train=parts.get("x_train"), test=parts["x_test"])


def _samples(
    source: Path,
    arrays: dict[str, Array],
    x_name: str,
    y_name: str,
    *,
    shape: tuple[int | None, ...],
    classes: tuple[str, ...],
) -> ModelSamples:
    x, y = arrays[x_name], arrays.get(y_name)
    if x.ndim == 0 or len(x) == 0:
        raise BadInputError(f"{source}: array '{x_name}' is empty; expected samples in the network's input layout")
    if x.ndim == len(shape) - 1 and 1 in shape[1:]:
        x = np.expand_dims(x, shape.index(1, 1))  # (n, h, w) grey images for a network with one channel
    if y is not None and (y.shape != (len(x),) or not np.issubdtype(y.dtype, np.integer)):
        raise BadInputError(
            f"{source}: '{y_name}' is {y.dtype} of shape {y.shape}; expected {len(x)} integers, the numbers of "
            "classes; leave it out where the network is no classifier"
        )
    return ModelSamples(inputs=x, labels=None if y is None else y.astype(np.int64), classes=classes)


def _classes(source: Path, arrays: dict[str, Array], known: tuple[str, ...] | None) -> tuple[str, ...]:
    """The classes in the order of their numbers; labels count in the data's order, so both must agree."""
    found = tuple(str(name) for name in arrays["classes"].ravel()) if "classes" in arrays else None
    if found is not None and known is not None and found != known:
        k = next((k for k, (a, b) in enumerate(zip(found, known, strict=False)) if a != b), min(len(found), len(known)))
        raise BadInputError(
            f"{source}: 'classes' has {len(found)} names, number {k} is {found[k : k + 1]}; expected the model's "
            f"{len(known)} in its order, number {k} is {known[k : k + 1]}: number the labels as the model does"
        )
    return known or found or ()


def _from_folder(
    folder: Path,
    *,
    shape: tuple[int | None, ...],
    dtype: str,
    classes: tuple[str, ...] | None,
    layout: str | None,
    limit: int | None = None,
) -> ModelSamples:
    if dtype != "uint8" or len(shape) != 4:
        raise BadInputError(
            f"{folder} holds images, and the model takes {dtype} of shape {shape}: how to scale pixels for it is "
            "unknown. Bring an .npz whose x is already in the network's own input layout"
        )
    layout = layout or ("nhwc" if shape[3] in (1, 3) else "nchw")
    height, width, channels = (shape[1], shape[2], shape[3]) if layout == "nhwc" else (shape[2], shape[3], shape[1])
    resize = (height, width) if height is not None and width is not None else None
    names = classes or class_folders(folder)
    samples = read_labelled_folder(folder, classes=names, resize=resize, channels=channels, limit=limit)
    images = samples.inputs if layout == "nhwc" else np.ascontiguousarray(samples.inputs.transpose(0, 3, 1, 2))
    return ModelSamples(inputs=images, labels=samples.labels, classes=names)
