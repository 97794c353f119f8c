"""What every source becomes: raw samples of one kind with labels, in four disjoint, balanced splits."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgekd.data.groups import check_groups, draw_groups
from edgekd.data.sample_file import Original
from edgekd.data.stratify import draw_label_sets
from edgekd.errors import BadInputError
from edgekd.rows import Inputs, Rows, chunks, take

Kind = Literal["image", "series", "audio", "text"]
"""What a sample is: it decides the preprocessing before the network, the augmentation and the networks that fit."""

Task = Literal["classes", "multi-label"]
"""What a label is: one class a sample, or the set of those that it has; each class is then decided by itself."""

WORDS: Mapping[Kind, str] = {"image": "images", "series": "windows", "audio": "clips", "text": "texts"}
"""Kind -> what its samples are called in a message."""

SPLITS = ("train", "calibration", "validation", "test")

UNLABELLED = -1
"""The label of a sample that has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Inputs as the device gives them, by kind, and what is known of each.

    inputs: an array, or rows of a file that are read where they are needed (`edgekd.rows`): image (n, height, width,
    channels) uint8; series (n, length, channels) float32; audio (n, samples) int16, mono; text (n, length) int32, token
    numbers, padded with 0. labels: (n,) int64 in [0, K), -1 where unknown; of a multi-label task (n, K) int8, 1 where
    the sample has the class, 0 where not, -1 where unknown. ids: (n,) names of the samples. groups: (n,) whom each
    comes from (a subject, a speaker, a machine): one group never stands in two splits. Both None where unknown.
    """

    inputs: Inputs
    labels: npt.NDArray[Any]
    ids: npt.NDArray[np.str_] | None = None
    groups: npt.NDArray[np.str_] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: npt.NDArray[np.int64]) -> "Samples":
        """The samples at `index`, in its order."""
        return Samples(
            inputs=take(self.inputs, index),
            labels=self.labels[index],
            ids=None if self.ids is None else self.ids[index],
            groups=None if self.groups is None else self.groups[index],
        )

    @property
    def labelled(self) -> npt.NDArray[np.bool_]:
        """Whether something is known of each sample, (n,)."""
        known: npt.NDArray[np.bool_] = np.asarray(self.labels >= 0)
        return known if known.ndim == 1 else np.asarray(known.any(axis=1))

    @property
    def known_labels(self) -> npt.NDArray[Any] | None:
        """The labels, where every sample has one."""
        return self.labels if len(self) and self.labelled.all() else None

    def digest(self) -> str:
        """SHA-256 over shape, inputs and labels."""
        sha = hashlib.sha256(repr(self.inputs.shape).encode())
        for chunk in chunks(self.inputs):
            sha.update(np.ascontiguousarray(chunk).tobytes())
        sha.update(self.labels.tobytes())
        return sha.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """What a source holds before it is split; validation and test are None where it has no such part of its own.

    task: as its labels are shaped. front: JSON-ready facts that the kind's preprocessing needs (`edgekd.front`): sample
    rate, tokenizer, channel names.
    original: the file behind a sample; None where the source has none.
    """

    classes: tuple[str, ...]
    train: Samples
    test: Samples | None = None
    validation: Samples | None = None
    kind: Kind = "image"
    front: Mapping[str, Any] = field(default_factory=dict)
    original: Original | None = None

    @property
    def task(self) -> Task:
        """One class a sample, or several."""
        return "classes" if self.train.labels.ndim == 1 else "multi-label"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Four disjoint splits of one source.

    kind, front, original: as in `Pool`. left_out: unlabelled samples that stand in no split, because theirs is
    judged by labels. index_hash: SHA-256 over the indices of all splits, the proof that two runs used the same
    ones. content_hash: SHA-256 over class names, inputs and labels. repeated: samples of train or calibration that
    stand, byte for byte, in validation or test too; the source's fault, reported and not repaired. source_ids: the
    names of all samples of the source in its order, the train part before test and validation, also of those in no
    split.
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
    original: Original | None = None

    @property
    def task(self) -> Task:
        """One class a sample, or several."""
        return "classes" if self.train.labels.ndim == 1 else "multi-label"

    @property
    def multi_label(self) -> bool:
        """Whether a sample may have several classes, or none."""
        return self.task == "multi-label"

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

    @property
    def storage(self) -> dict[str, Any]:
        """Where the samples stay while they are used, `memory` or `disk`, and how large all splits are there."""
        parts = [getattr(self, name).inputs for name in SPLITS]
        place = "disk" if any(isinstance(inputs, Rows) for inputs in parts) else "memory"
        return {"place": place, "size_bytes": sum(inputs.nbytes for inputs in parts)}

    def unlabelled(self) -> dict[str, int]:
        """Samples without a label in each split."""
        return {name: int((~getattr(self, name).labelled).sum()) for name in SPLITS}

    def positives(self) -> dict[str, list[int]]:
        """Samples with each class in each split."""
        classes = range(len(self.classes))
        parts = {name: getattr(self, name).labels for name in SPLITS}
        return {
            name: (labels == 1).sum(axis=0).tolist()
            if labels.ndim == 2
            else [int((labels == number).sum()) for number in classes]
            for name, labels in parts.items()
        }

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
    judged = int(pool.train.labelled.sum()) or len(remaining)  # how many can be judged on
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
                f"{source}: {len(remaining)} {WORDS[pool.kind]} are left to train on, data.train_samples asks for "
                f"{train_samples}; lower it or remove it"
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
        labelled = np.flatnonzero(parts[name].labelled)
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
        original=pool.original,
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
    labelled = available[pool.train.labelled[available]]
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
    if pool.task == "multi-label":
        taken = draw_label_sets(pool.train.labels, available, share, generator)
        return taken, np.setdiff1d(available, taken)
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
    twice = next((name for name in pool.classes if pool.classes.count(name) > 1), None)
    if twice is not None:
        raise BadInputError(f"{source}: two classes are called '{twice}'; expected a name for each")
    parts = {"train": pool.train, "validation": pool.validation, "test": pool.test}
    check_groups({name: None if part is None else part.groups for name, part in parts.items()}, source)
    for part in parts.values():
        if part is None:
            continue
        if len(part) == 0:
            raise BadInputError(
                f"{source}: found no samples; expected {WORDS[pool.kind]} of {len(pool.classes)} classes"
            )
        if part.labels.ndim != pool.train.labels.ndim or (part.labels.ndim == 2 and _width(part) != len(pool.classes)):
            raise BadInputError(
                f"{source}: labels are {part.labels.shape}, those to train on {pool.train.labels.shape}, of "
                f"{len(pool.classes)} classes; expected one column a class in every part"
            )
        outside = _outside(part.labels, len(pool.classes)) if part.labels.ndim == 1 else np.zeros(0, dtype=np.bool_)
        wrong = np.flatnonzero(outside)
        if len(wrong):
            raise BadInputError(
                f"{source}: label {part.labels[wrong[0]]} of sample {wrong[0]} is outside 0..{len(pool.classes) - 1}; "
                "count classes from 0, without gaps"
            )
    for name in ("test", "validation"):
        given = parts[name]
        if given is not None and given.inputs.shape[1:] != pool.train.inputs.shape[1:]:
            words = WORDS[pool.kind]
            cure = "(height, width, channels); set data.resize, for example resize = [32, 32]"
            raise BadInputError(
                f"{source}: train {words} are {pool.train.inputs.shape[1:]}, {name} {words} {given.inputs.shape[1:]} "
                f"{cure if pool.kind == 'image' else 'a sample; expected one size: cut or pad them'}"
            )


def _outside(labels: npt.NDArray[Any], classes: int) -> npt.NDArray[np.bool_]:
    return np.asarray((labels < UNLABELLED) | (labels >= classes))


def _width(samples: Samples) -> int:
    return int(samples.labels.shape[1])


def _check_parts(parts: dict[str, Samples], classes: tuple[str, ...], source: str) -> None:
    if parts["train"].labels.ndim == 2:
        _check_positives(parts, classes, source)
        return
    for name in SPLITS:
        missing = sorted(set(range(len(classes))) - set(parts[name].labels.tolist()))
        if missing and (parts[name].labels >= 0).all():  # of unlabelled samples nobody knows
            there = sum(int((part.labels == missing[0]).sum()) for part in parts.values())
            cure = (
                "lower data.validation_fraction, data.test_fraction or data.calibration_samples"
                if there >= len(SPLITS)
                else f"leave the class out: it has {there} in all, {len(SPLITS)} splits need one each"
            )
            raise BadInputError(
                f"{source}: the {name} split has {len(parts[name])} samples and none of class {missing[0]} "
                f"('{classes[missing[0]]}'); expected some of every class. Add samples, or {cure}"
            )


def _check_positives(parts: dict[str, Samples], classes: tuple[str, ...], source: str) -> None:
    """Refuse a class that no sample has where it is learned or judged; int8 ranges need no labels."""
    for name in ("train", "validation", "test"):
        labels = parts[name].labels
        missing = np.flatnonzero(~(labels == 1).any(axis=0))
        if len(missing) and parts[name].labelled.all():  # of unlabelled samples nobody knows
            k = int(missing[0])
            there = sum(int((part.labels[:, k] == 1).sum()) for part in parts.values())
            raise BadInputError(
                f"{source}: the {name} split has {len(labels)} samples and none with class {k} ('{classes[k]}'), which "
                f"{there} samples of the source have; expected some in train, validation and test. Add samples with "
                "it, raise data.validation_fraction or data.test_fraction, or leave the class out"
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
    seen = {digest for name in ("validation", "test") for digest in _digests(parts[name].inputs)}
    return sum(digest in seen for name in ("train", "calibration") for digest in _digests(parts[name].inputs))


def _digests(inputs: Inputs) -> Iterator[bytes]:
    """16 bytes for each sample, so that finding equal ones does not keep them all in memory."""
    for chunk in chunks(inputs):
        for sample in chunk:
            yield hashlib.blake2b(sample.tobytes(), digest_size=16).digest()
