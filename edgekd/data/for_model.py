"""Samples for a network that is already there: arrays in its own layout, or files that are read as it says."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.data.class_order import moved, places_of, relabelled
from edgekd.data.dataset import UNLABELLED, Pool, Samples
from edgekd.data.for_kind import picture_layout, picture_size, read_for, read_own_series
from edgekd.data.groups import check_groups
from edgekd.data.image_folder import (
    class_folders,
    evaluation_root,
    is_unlabelled,
    read_folder,
    read_labelled_folder,
)
from edgekd.data.label_sets import from_array
from edgekd.data.npz import Array, read_array, read_arrays
from edgekd.data.parts import ModelSamples
from edgekd.data.reading import Reading
from edgekd.data.series import holds_series
from edgekd.data.takes import Takes
from edgekd.errors import BadInputError

MAP_BYTES = 1 << 24
"""Arrays from 16 MiB on stay in their file where they can; smaller ones cost nothing in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelData:
    """What a source holds for a network. train: to calibrate on, None where the source has no part for it.

    own_test: whether the source says which samples are for the test; else all of it is `test`. left_out: samples
    without a label that stand beside labelled ones, and are not judged.
    """

    train: ModelSamples | None
    test: ModelSamples
    own_test: bool = False
    left_out: int = 0

    def evaluated(self, source: Path, *, all_but: int = 0) -> str:
        """Which samples are judged, in a sentence. all_but: how many others of `source` calibrated."""
        count = f"{len(self.test.inputs):,}"
        which = f"the {count} test samples of {source}" if self.own_test else f"all {count} samples of {source}"
        if all_but:
            which = f"{count} samples of {source}, all but the {all_but:,} that calibrated"
        why = "" if self.own_test else " (no test part: what the network learned from it counts too)"
        left = f"; {self.left_out:,} without a label are left out" if self.left_out else ""
        bare = "; none has a label, so accuracy is not measured" if self.test.labels is None else ""
        return f"{which}{why}{left}{bare}"


def data_for_model(
    source: Path, takes: Takes, *, reading: Reading | None = None, train_limit: int | None = None
) -> ModelData:
    """Samples of a source, as the network takes them: raw, in its layout, their labels numbered as its classes are.

    Arrays are in the network's own layout: an .npz (x_train and x_test, or x; each with its optional y) or an .npy;
    large ones stay in their file, mapped. All that `edgekd run` reads does too, where the network's file or `reading`
    says how: folders, tables and saved data sets of images, WAV folders, tables of readings, texts.

    train_limit: how many images of a folder's train/ are decoded, with the same share of every class; None: all.

    Raises:
        BadInputError: unreadable data, other classes than the network's, another kind of data than it takes, or
            preprocessing that nothing tells.
    """
    reading = reading or Reading()
    if source.suffix in (".npz", ".npy"):
        return _from_arrays(source, takes, reading)
    pool = read_for(source, takes, reading)
    if pool is not None and pool.test is not None:
        check_groups({"train": pool.train.groups, "test": pool.test.groups}, str(source))
    return _from_folders(source, takes, reading, train_limit) if pool is None else _of_pool(pool, takes)


def samples_for_model(source: Path, takes: Takes, *, reading: Reading | None = None) -> ModelSamples:
    """The samples to evaluate, as `data_for_model` finds them, without decoding images of a train/ folder."""
    return data_for_model(source, takes, reading=reading, train_limit=0).test


def _of_pool(pool: Pool, takes: Takes) -> ModelData:
    if pool.test is not None:
        test, left_out = _judged(pool.test, pool.classes, takes)
        return ModelData(train=_of(pool.train, pool.classes, takes), test=test, own_test=True, left_out=left_out)
    test, left_out = _judged(_joined(pool.train, pool.validation), pool.classes, takes)
    return ModelData(train=None, test=test, left_out=left_out)


def _joined(one: Samples, other: Samples | None) -> Samples:
    if other is None:
        return one
    inputs = np.concatenate([np.asarray(one.inputs), np.asarray(other.inputs)])
    return Samples(inputs=inputs, labels=np.concatenate([one.labels, other.labels]))


def _judged(samples: Samples, classes: tuple[str, ...], takes: Takes) -> tuple[ModelSamples, int]:
    """What is judged: the labelled samples, where there are any; and how many others are left out."""
    labelled = np.flatnonzero(samples.labelled)
    left_out = len(samples) - len(labelled) if len(labelled) else 0
    return _of(samples.take(labelled) if left_out else samples, classes, takes), left_out


def _of(samples: Samples, classes: tuple[str, ...], takes: Takes) -> ModelSamples:
    inputs = np.asarray(samples.inputs)
    if inputs.ndim == 4 and picture_layout(takes) == "nchw":
        inputs = np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))
    return ModelSamples(inputs=inputs, labels=samples.known_labels, classes=classes)


def _from_arrays(source: Path, takes: Takes, reading: Reading) -> ModelData:
    arrays = {"x": read_array(source)} if source.suffix == ".npy" else read_arrays(source, map_bytes=MAP_BYTES)
    if takes.kind == "series" and not takes.foreign and source.suffix == ".npz" and holds_series(source):
        labelled = "y" in arrays or "y_train" in arrays
        return _of_pool(read_own_series(source, takes, reading, labelled=labelled), takes)
    names, order = _classes(source, arrays, takes.classes, reading.classes)
    parts = {
        x: _samples(source, arrays, x, x.replace("x", "y"), shape=takes.shape, classes=names, order=order)
        for x in ("x", "x_test", "x_train")
        if x in arrays
    }
    if not parts.keys() - {"x_train"}:
        raise BadInputError(
            f"{source}: array 'x' is missing (found: {', '.join(sorted(arrays)) or 'none'}); expected x, or x_train "
            "and x_test"
        )
    test, left_out = _labelled(parts["x"] if "x" in parts else parts["x_test"])
    train = None if "x" in parts or "x_train" not in parts else _labelled(parts["x_train"])[0]
    return ModelData(train=train, test=test, own_test="x" not in parts, left_out=left_out)


def _labelled(samples: ModelSamples) -> tuple[ModelSamples, int]:
    """The samples that have a label, where some have and some have not; and how many have not."""
    if samples.labels is None:
        return samples, 0
    known = samples.labels >= 0 if samples.labels.ndim == 1 else (samples.labels >= 0).any(axis=1)
    if not known.any():
        return replace(samples, labels=None), 0
    return (samples if known.all() else samples.take(np.flatnonzero(known))), int((~known).sum())


def _samples(
    source: Path,
    arrays: dict[str, Array],
    x_name: str,
    y_name: str,
    *,
    shape: tuple[int | None, ...],
    classes: tuple[str, ...],
    order: npt.NDArray[np.int64] | None,
) -> ModelSamples:
    x, y = arrays[x_name], arrays.get(y_name)
    if x.ndim == 0 or len(x) == 0:
        raise BadInputError(f"{source}: array '{x_name}' is empty; expected samples in the network's input layout")
    if x.ndim == len(shape) - 1 and 1 in shape[1:]:
        x = np.expand_dims(x, shape.index(1, 1))  # (n, h, w) grey images for a network with one channel
    labels = None if y is None else _labels(f"{source}: '{y_name}'", y, len(x), order, len(classes))
    return ModelSamples(inputs=x, labels=labels, classes=classes)


def _labels(name: str, y: Array, count: int, order: npt.NDArray[np.int64] | None, classes: int) -> npt.NDArray[Any]:
    """Numbers of the network's classes, or (n, K) of a multi-label task. order: its number of each of the data's."""
    if y.ndim == 2 and y.shape[1] > 1:
        sets = from_array(name, y, count)
        return sets if order is None else moved(sets, order, classes)
    if y.shape != (count,) or not np.issubdtype(y.dtype, np.integer):
        raise BadInputError(
            f"{name} is {y.dtype} of shape {y.shape}; expected {count} integers, the numbers of classes; leave it out "
            "where the network is no classifier"
        )
    numbers = y.astype(np.int64)
    if order is None:
        return numbers
    wrong = np.flatnonzero((numbers < UNLABELLED) | (numbers >= len(order)))
    if len(wrong):
        raise BadInputError(f"{name} holds {y[wrong[0]]}; expected numbers from 0 to {len(order) - 1}, of its classes")
    return moved(numbers, order, classes)


def _classes(
    source: Path, arrays: dict[str, Array], known: tuple[str, ...] | None, given: tuple[str, ...] | None
) -> tuple[tuple[str, ...], npt.NDArray[np.int64] | None]:
    """The classes in the order of their numbers, and the network's number of each of the data's, where they differ."""
    found = given or (tuple(str(name) for name in arrays["classes"].ravel()) if "classes" in arrays else None)
    if found is None or known is None or found == known:
        return known or found or (), None
    return known, places_of(found, known, source)


def _from_folders(source: Path, takes: Takes, reading: Reading, train_limit: int | None) -> ModelData:
    """Images in class folders, one decoded for each sample that is wanted."""
    root = evaluation_root(source)
    parts = [root] if root == source else [root, source / "train"]
    bare = [is_unlabelled(part) for part in parts]
    if any(bare):
        resize, channels = picture_size(takes, reading)
        names = (takes.classes or reading.classes or ()) if all(bare) else None
        pool = read_folder(source, resize=resize, channels=channels, classes=names)
        return _of_pool(relabelled(pool, takes.classes, source), takes)
    test = _from_folder(root, takes, reading, takes.classes)
    if root == source:
        return ModelData(train=None, test=test)
    if takes.classes is None and class_folders(source / "train") != test.classes:
        raise BadInputError(
            f"{source}: train/ has the classes {class_folders(source / 'train')}, test/ {test.classes}; expected the "
            "same"
        )
    train = None
    if train_limit != 0:
        train = _from_folder(source / "train", takes, reading, test.classes, limit=train_limit)
    return ModelData(train=train, test=test, own_test=True)


def _from_folder(
    folder: Path, takes: Takes, reading: Reading, classes: tuple[str, ...] | None, *, limit: int | None = None
) -> ModelSamples:
    names = classes or class_folders(folder)
    resize, channels = picture_size(takes, reading)
    samples = read_labelled_folder(folder, classes=names, resize=resize, channels=channels, limit=limit)
    return _of(samples, names, takes)
