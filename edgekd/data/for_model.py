"""Samples for a network that is already there: arrays in its own layout, or a folder of images for a uint8 one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.data.image_folder import class_folders, evaluation_root, read_labelled_folder
from edgekd.data.npz import read_arrays
from edgekd.errors import BadInputError


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSamples:
    """inputs: (n, ...) in the network's own layout and type; labels: (n,) int64, or None where there are none."""

    inputs: npt.NDArray[Any]
    labels: npt.NDArray[np.int64] | None
    classes: tuple[str, ...]

    def take(self, index: npt.NDArray[np.int64]) -> "ModelSamples":
        """The samples at `index`."""
        labels = None if self.labels is None else self.labels[index]
        return ModelSamples(inputs=self.inputs[index], labels=labels, classes=self.classes)

    def halves(self, *, calibration_samples: int, seed: int = 0) -> tuple["ModelSamples", "ModelSamples"]:
        """Two disjoint parts: for calibration, at most half of all, and the rest for evaluation.

        Raises:
            BadInputError: fewer than 4 samples.
        """
        if len(self.inputs) < 4:
            raise BadInputError(
                f"found {len(self.inputs)} samples; expected at least 4, better some hundreds: one half calibrates, "
                "the other is evaluated"
            )
        order = np.random.default_rng(seed).permutation(len(self.inputs)).astype(np.int64)
        count = min(calibration_samples, len(order) // 2)
        return self.take(np.sort(order[:count])), self.take(np.sort(order[count:]))


def samples_for_model(
    source: Path, *, shape: tuple[int | None, ...], dtype: str, classes: tuple[str, ...] | None, layout: str | None
) -> ModelSamples:
    """Samples from an .npz (array `x`, optional `y`) or from a folder of class folders of images.

    shape, dtype: of the network's input, None for dynamic sizes. classes: the network's own, where its file names
    them. layout: `nhwc` or `nchw` where its file says so; else the axis of size 1 or 3 tells.

    Raises:
        BadInputError: unreadable data, or a folder for a network whose preprocessing is unknown.
    """
    if source.is_dir():
        return _from_folder(source, shape=shape, dtype=dtype, classes=classes, layout=layout)
    arrays = read_arrays(source)
    names = ("x", "y") if "x" in arrays else ("x_test", "y_test")
    if names[0] not in arrays:
        raise BadInputError(f"{source}: array 'x' is missing (found: {', '.join(sorted(arrays)) or 'none'})")
    x, y = arrays[names[0]], arrays.get(names[1])
    if len(x) == 0:
        raise BadInputError(f"{source}: array '{names[0]}' is empty; expected samples in the network's input layout")
    if x.ndim == len(shape) - 1 and 1 in shape[1:]:
        x = np.expand_dims(x, shape.index(1, 1))  # (n, h, w) grey images for a network with one channel
    if y is not None and (y.shape != (len(x),) or not np.issubdtype(y.dtype, np.integer)):
        raise BadInputError(f"{source}: '{names[1]}' is {y.dtype} of shape {y.shape}; expected {len(x)} integers")
    found = classes or tuple(str(name) for name in arrays["classes"]) if "classes" in arrays else classes or ()
    return ModelSamples(inputs=x, labels=None if y is None else y.astype(np.int64), classes=found)


def _from_folder(
    folder: Path, *, shape: tuple[int | None, ...], dtype: str, classes: tuple[str, ...] | None, layout: str | None
) -> ModelSamples:
    if dtype != "uint8" or len(shape) != 4:
        raise BadInputError(
            f"{folder} holds images, and the model takes {dtype} of shape {shape}: how to scale pixels for it is "
            "unknown. Bring an .npz whose x is already in the network's own input layout"
        )
    layout = layout or ("nhwc" if shape[3] in (1, 3) else "nchw")
    height, width, channels = (shape[1], shape[2], shape[3]) if layout == "nhwc" else (shape[2], shape[3], shape[1])
    resize = (height, width) if height is not None and width is not None else None
    names = classes or class_folders(evaluation_root(folder))
    samples = read_labelled_folder(folder, classes=names, resize=resize, channels=channels)
    images = samples.images if layout == "nhwc" else np.ascontiguousarray(samples.images.transpose(0, 3, 1, 2))
    return ModelSamples(inputs=images, labels=samples.labels, classes=names)
