"""What every source becomes: raw samples of one kind with labels, in four disjoint, balanced splits."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgekd.data.groups import check_groups, draw_groups
from edgekd.errors import BadInputError

Kind = Literal["image", "series", "audio", "text"]
"""What a sample is: it decides the preprocessing before the network, the augmentation and the networks that fit."""

SPLITS = ("train", "calibration", "validation", "test")

UNLABELLED = -1
"""The label of a sample that has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Inputs as the device gives them, by kind, and what is known of each.

    inputs: image (n, height, width, channels) uint8; series (n, length, channels) float32; audio (n, samples) int16,
    mono; text (n, length) int32, token numbers, padded with 0. labels: (n,) int64 in [0, K), -1 where unknown. ids:
    (n,) names of the samples. groups: (n,) whom each comes from (a subject, a speaker, a machine): one group never
    stands in two splits. Both None where unknown.
    """

    inputs: npt.NDArray[Any]
    labels: npt.NDArray[np.int64]
    ids: npt.NDArray[np.str_] | None = None
    groups: npt.NDArray[np.str_] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: npt.NDArray[np.int64]) -> "Samples":
        """The samples at `index`, in its order."""
        return Samples(
            inputs=self.inputs[index],
            labels=self.labels[index],
            ids=None if self.ids is None else self.ids[index],
            groups=None if self.groups is None else self.groups[index],
        )

    @property
    def known_labels(self) -> npt.NDArray[np.int64] | None:
        """The labels, where every sample has one."""
        return self.labels if len(self) and (self.labels >= 0).all() else None

    def digest(self) -> str:
        """SHA-256 over shape, inputs and labels."""
        sha = hashlib.sha256(repr(self.inputs.shape).encode())
        sha.update(np.ascontiguousarray(self.inputs).tobytes())
        sha.update(self.labels.tobytes())
        return sha.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """What a source holds before it is split; validation and test are None where it has no such part of its own.

    front: JSON-ready facts that the kind's preprocessing needs (`edgekd.front`): sample rate, tokenizer, channel names.
    """

    classes: tuple[str, ...]
    train: Samples
    test: Samples | None = None
    validation: Samples | None = None
    kind: Kind = "image"
    front: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Four disjoint splits of one source.

    kind, front: as in `Pool`. left_out: unlabelled samples that stand in no split, because theirs is judged by labels.
    index_hash: SHA-256 over the indices of all splits, the proof that two runs used the same ones. content_hash:
    SHA-256 over class names, inputs and labels. repeated: samples of train or calibration that stand, byte for byte, in
    validation or test too; the source's fault, reported and not repaired. source_ids: the names of all samples of the
    source in its order, the train part before test and validation, also of those in no split.
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
    left_out: int = 0
    kind: Kind = "image"
    front: Mapping[str, Any] = field(default_factory=dict)
    source_ids: npt.NDArray[np.str_] | None = None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one sample: (height, width, channels) of an image; see `Samples`."""
        return tuple(self.train.inputs.shape[1:])

    @property
    def channels(self) -> int:
        """What a network is built for: channels of images and series, 1 for audio, the vocabulary's size for text."""
        if self.kind == "text":
            return int(self.front["vocabulary"])
        return 1 if self.kind == "audio" else self.input_shape[-1]

    def unlabelled(self) -> dict[str, int]:
        """Samples without a label in each split."""
        return {name: int((getattr(self, name).labels < 0).sum()) for name in SPLITS}

    def groups(self) -> dict[str, int]:
        """Groups in each split; 0 where a split names none."""
        parts = {name: getattr(self, name).groups for name in SPLITS}
        return {name: 0 if groups is None else len(np.unique(groups)) for name, groups in parts.items()}

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

    `test_fraction` and `validation_fraction` count only where the pool has no such part. `train_samples` cuts the
    training split down. What is judged on has labels, where there are any: validation and test are drawn from the
    labelled samples, and unlabelled ones among theirs are left out and counted. Of a pool with groups, validation and
    test take whole ones, so their sizes are only about what was asked for; calibration may share groups with train.

    Raises:
        BadInputError: a split would be empty or miss a class, labels are outside the range, or there are fewer
            than `train_samples`.
    """
    _check(pool, source)
    pool = _named(pool)
    generator = np.random.default_rng(seed)
    remaining = np.arange(len(pool.train), dtype=np.int64)
    judged = int((pool.train.labels >= 0).sum()) or len(remaining)  # how many can be judged on
    indices: dict[str, npt.NDArray[np.int64]] = {}
    for name, given, fraction in (
        ("test", pool.test, test_fraction),
        ("validation", pool.validation, validation_fraction),
    ):
        count = 0.0 if given is not None else fraction * judged
        indices[name], remaining = _draw_judged(pool, remaining, count, generator)
    indices["calibration"], remaining = _draw(pool, remaining, float(calibration_samples), generator)
    if train_samples is not None:
        if train_samples > len(remaining):
            raise BadInputError(
                f"{source}: {len(remaining)} images are left to train on, data.train_samples asks for {train_samples}; "
                "lower it or remove it"
            )
        remaining, _ = _draw(pool, remaining, float(train_samples), generator)
    indices["train"] = np.sort(remaining)
    parts = {name: pool.train.take(index) for name, index in indices.items()}
    for name, given in (("test", pool.test), ("validation", pool.validation)):
        if given is not None:
            parts[name] = given
            indices[name] = np.arange(len(given), dtype=np.int64)
    left_out = 0
    for name in ("test", "validation"):
        labelled = np.flatnonzero(parts[name].labels >= 0)
        if 0 < len(labelled) < len(parts[name]):
            left_out += len(parts[name]) - len(labelled)
            parts[name], indices[name] = parts[name].take(labelled), indices[name][labelled]
    _check_parts(parts, pool.classes, source)
    return Dataset(
        source=source,
        classes=pool.classes,
        index_hash=_index_hash(indices),
        content_hash=_content_hash(parts, pool.classes),
        repeated=_repeated(parts),
        left_out=left_out,
        kind=pool.kind,
        front=pool.front,
        source_ids=np.concatenate(
            [part.ids for part in (pool.train, pool.test, pool.validation) if part and part.ids is not None]
        ),
        **parts,
    )


def _named(pool: Pool) -> Pool:
    """The pool with an id for every sample: its source's, else the row, `12`, or `train/12` where it has parts."""
    if pool.train.ids is not None:
        return pool
    alone = pool.test is None and pool.validation is None
    parts: dict[str, Any] = {
        name: replace(
            part, ids=np.array([row if alone else f"{name}/{row}" for row in range(len(part))], dtype=np.str_)
        )
        for name, part in (("train", pool.train), ("test", pool.test), ("validation", pool.validation))
        if part is not None
    }
    return replace(pool, **parts)


def _draw_judged(
    pool: Pool, available: npt.NDArray[np.int64], count: float, generator: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """As `_draw`, for a split that is judged on: of labelled samples where there are any, and of whole groups."""
    labelled = available[pool.train.labels[available] >= 0]
    if count <= 0 or (pool.train.groups is None and not len(labelled)):
        return _draw(pool, available, count, generator)
    if pool.train.groups is None:
        taken, _ = _draw(pool, labelled, count, generator)
    else:
        share = min(1.0, count / max(1, len(labelled) or len(available)))
        taken = draw_groups(
            pool.train.labels, pool.train.groups, available, share, generator, classes=len(pool.classes)
        )
    return taken, np.setdiff1d(available, taken)


def _draw(
    pool: Pool, available: npt.NDArray[np.int64], count: float, generator: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """About `count` of the available indices, the same share of every class, at least one where count > 0."""
    if count <= 0:
        return np.empty(0, dtype=np.int64), available
    share = min(1.0, count / max(1, len(available)))
    labels = pool.train.labels[available]
    drawn = []
    for label in (*range(len(pool.classes)), *([UNLABELLED] if (labels < 0).any() else [])):
        members = available[labels == label]
        drawn.append(generator.permutation(members)[: max(1, round(share * len(members)))])
    taken = np.sort(np.concatenate(drawn))
    return taken, np.setdiff1d(available, taken)


def _check(pool: Pool, source: str) -> None:
    if len(pool.classes) < 2:
        raise BadInputError(f"{source}: found {len(pool.classes)} class; expected at least 2 to tell apart")
    parts = {"train": pool.train, "validation": pool.validation, "test": pool.test}
    check_groups({name: None if part is None else part.groups for name, part in parts.items()}, source)
    for part in parts.values():
        if part is None:
            continue
        if len(part) == 0:
            raise BadInputError(f"{source}: found no samples; expected images of {len(pool.classes)} classes")
        wrong = np.flatnonzero((part.labels < UNLABELLED) | (part.labels >= len(pool.classes)))
        if len(wrong):
            raise BadInputError(
                f"{source}: label {part.labels[wrong[0]]} of sample {wrong[0]} is outside 0..{len(pool.classes) - 1}; "
                "count classes from 0, without gaps"
            )
    for name in ("test", "validation"):
        given = parts[name]
        if given is not None and given.inputs.shape[1:] != pool.train.inputs.shape[1:]:
            raise BadInputError(
                f"{source}: train images are {pool.train.inputs.shape[1:]}, {name} images {given.inputs.shape[1:]} "
                "(height, width, channels); set data.resize, for example resize = [32, 32]"
            )


def _check_parts(parts: dict[str, Samples], classes: tuple[str, ...], source: str) -> None:
    for name in SPLITS:
        missing = sorted(set(range(len(classes))) - set(parts[name].labels.tolist()))
        if missing and (parts[name].labels >= 0).all():  # of unlabelled samples nobody knows
            raise BadInputError(
                f"{source}: the {name} split has {len(parts[name])} samples and none of class {missing[0]} "
                f"('{classes[missing[0]]}'); expected some of every class. Add images, or lower "
                "data.validation_fraction, data.test_fraction or data.calibration_samples"
            )


def replaced(dataset: Dataset, parts: dict[str, Samples], front: Mapping[str, Any]) -> Dataset:
    """The dataset with other inputs for the same samples, for kinds whose preprocessing learns from the training split.

    parts: split -> its samples. front: what was learned; it is content, as the inputs depend on it.
    """
    hashed = json.dumps([_content_hash(parts, dataset.classes), dict(front)], sort_keys=True)
    return replace(
        dataset,
        train=parts["train"],
        calibration=parts["calibration"],
        validation=parts["validation"],
        test=parts["test"],
        front=front,
        content_hash=hashlib.sha256(hashed.encode()).hexdigest(),
        repeated=_repeated(parts),
    )


def _content_hash(parts: dict[str, Samples], classes: tuple[str, ...]) -> str:
    return hashlib.sha256(json.dumps([classes, [parts[name].digest() for name in SPLITS]]).encode()).hexdigest()


def _index_hash(indices: dict[str, npt.NDArray[np.int64]]) -> str:
    sha = hashlib.sha256()
    for name in SPLITS:
        sha.update(name.encode() + indices[name].tobytes())
    return sha.hexdigest()


def _repeated(parts: dict[str, Samples]) -> int:
    seen = {image.tobytes() for name in ("validation", "test") for image in parts[name].inputs}
    return sum(image.tobytes() in seen for name in ("train", "calibration") for image in parts[name].inputs)
