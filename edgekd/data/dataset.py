"""What every source becomes: raw pixels with labels, in four disjoint, balanced splits."""

import hashlib
import json
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekd.errors import BadInputError

SPLITS = ("train", "calibration", "validation", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """images: (n, height, width, channels) uint8; labels: (n,) int64 in [0, K)."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: npt.NDArray[np.int64]) -> "Samples":
        """The samples at `index`, in its order."""
        return Samples(images=self.images[index], labels=self.labels[index])

    def digest(self) -> str:
        """SHA-256 over shape, pixels and labels."""
        sha = hashlib.sha256(repr(self.images.shape).encode())
        sha.update(np.ascontiguousarray(self.images).tobytes())
        sha.update(self.labels.tobytes())
        return sha.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """What a source holds before it is split; `test` is None where the source has no test part of its own."""

    classes: tuple[str, ...]
    train: Samples
    test: Samples | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Four disjoint splits of one source.

    index_hash: SHA-256 over the indices of all splits, the proof that two runs used the same ones.
    content_hash: SHA-256 over class names, pixels and labels. repeated: images of train or calibration that stand,
    pixel for pixel, in validation or test too; the source's fault, reported and not repaired.
    """

    source: str
    classes: tuple[str, ...]
    train: Samples
    calibration: Samples
    validation: Samples
    test: Samples
    index_hash: str
    content_hash: str
    repeated: int

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of one image."""
        height, width, channels = self.train.images.shape[1:]
        return height, width, channels

    def counts(self) -> dict[str, int]:
        """Samples in each split."""
        return {name: len(getattr(self, name)) for name in SPLITS}


def split(
    pool: Pool,
    *,
    source: str,
    seed: int,
    validation_fraction: float,
    calibration_samples: int,
    test_fraction: float,
    train_samples: int | None = None,
) -> Dataset:
    """The pool in four splits, each with the class balance of the pool, fixed by `seed`.

    `test_fraction` counts only where the pool has no test part. `train_samples` cuts the training split down.

    Raises:
        BadInputError: a split would be empty or miss a class, labels are outside the range, or there are fewer
            than `train_samples`.
    """
    _check(pool, source)
    generator = np.random.default_rng(seed)
    remaining = np.arange(len(pool.train), dtype=np.int64)
    indices: dict[str, npt.NDArray[np.int64]] = {}
    wanted = {
        "test": 0.0 if pool.test is not None else test_fraction * len(remaining),
        "validation": validation_fraction * len(remaining),
        "calibration": float(calibration_samples),
    }
    for name, count in wanted.items():
        indices[name], remaining = _draw(pool, remaining, count, generator)
    if train_samples is not None:
        if train_samples > len(remaining):
            raise BadInputError(
                f"{source}: {len(remaining)} images are left to train on, data.train_samples asks for {train_samples}; "
                "lower it or remove it"
            )
        remaining, _ = _draw(pool, remaining, float(train_samples), generator)
    indices["train"] = np.sort(remaining)
    parts = {name: pool.train.take(index) for name, index in indices.items()}
    if pool.test is not None:
        parts["test"] = pool.test
        indices["test"] = np.arange(len(pool.test), dtype=np.int64)
    _check_parts(parts, pool.classes, source)
    return Dataset(
        source=source,
        classes=pool.classes,
        index_hash=_index_hash(indices),
        content_hash=_content_hash(parts, pool.classes),
        repeated=_repeated(parts),
        **parts,
    )


def _draw(
    pool: Pool, available: npt.NDArray[np.int64], count: float, generator: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """About `count` of the available indices, the same share of every class, at least one where count > 0."""
    if count <= 0:
        return np.empty(0, dtype=np.int64), available
    share = min(1.0, count / max(1, len(available)))
    labels = pool.train.labels[available]
    drawn = []
    for label in range(len(pool.classes)):
        members = available[labels == label]
        drawn.append(generator.permutation(members)[: max(1, round(share * len(members)))])
    taken = np.sort(np.concatenate(drawn))
    return taken, np.setdiff1d(available, taken)


def _check(pool: Pool, source: str) -> None:
    if len(pool.classes) < 2:
        raise BadInputError(f"{source}: found {len(pool.classes)} class; expected at least 2 to tell apart")
    for part in (pool.train, pool.test):
        if part is None:
            continue
        if len(part) == 0:
            raise BadInputError(f"{source}: found no samples; expected images of {len(pool.classes)} classes")
        wrong = np.flatnonzero((part.labels < 0) | (part.labels >= len(pool.classes)))
        if len(wrong):
            raise BadInputError(
                f"{source}: label {part.labels[wrong[0]]} of sample {wrong[0]} is outside 0..{len(pool.classes) - 1}; "
                "count classes from 0, without gaps"
            )
    if pool.test is not None and pool.test.images.shape[1:] != pool.train.images.shape[1:]:
        raise BadInputError(
            f"{source}: train images are {pool.train.images.shape[1:]}, test images {pool.test.images.shape[1:]} "
            "(height, width, channels); set data.resize, for example resize = [32, 32]"
        )


def _check_parts(parts: dict[str, Samples], classes: tuple[str, ...], source: str) -> None:
    for name in SPLITS:
        missing = sorted(set(range(len(classes))) - set(parts[name].labels.tolist()))
        if missing:
            raise BadInputError(
                f"{source}: the {name} split has {len(parts[name])} samples and none of class {missing[0]} "
                f"('{classes[missing[0]]}'); expected some of every class. Add images, or lower "
                "data.validation_fraction, data.test_fraction or data.calibration_samples"
            )


def _content_hash(parts: dict[str, Samples], classes: tuple[str, ...]) -> str:
    return hashlib.sha256(json.dumps([classes, [parts[name].digest() for name in SPLITS]]).encode()).hexdigest()


def _index_hash(indices: dict[str, npt.NDArray[np.int64]]) -> str:
    sha = hashlib.sha256()
    for name in SPLITS:
        sha.update(name.encode() + indices[name].tobytes())
    return sha.hexdigest()


def _repeated(parts: dict[str, Samples]) -> int:
    seen = {image.tobytes() for name in ("validation", "test") for image in parts[name].images}
    return sum(image.tobytes() in seen for name in ("train", "calibration") for image in parts[name].images)
