"""A text file, or a folder of train and test files, -> a dataset whose tokenizer saw the training split alone."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.data import tokens
from edgekd.data.dataset import SPLITS, Dataset, Pool, Samples, replaced
from edgekd.data.label_sets import class_names, indicator, parse
from edgekd.data.sample_file import SampleFile
from edgekd.data.text import SUFFIXES, Columns, Texts, is_text_file, read_texts
from edgekd.data.text_file import TextFile
from edgekd.decoded import MEMORY, Storage
from edgekd.errors import BadInputError
from edgekd.rows import Rows

MAX_TOKENS = 128
"""A paragraph: two thirds of Reuters' articles are shorter."""

STRING_SHARE = 2
"""Bytes of a Python string for a byte of its file, about: 50 of each string's own, and 1, 2 or 4 a letter."""

ENCODED_AT_ONCE = 8192

VOCABULARY_SIZE = 8_000
"""Of tokens, for a trained tokenizer: its embedding of 64 numbers each is 2 MB in float32."""


PARTS = ("train", "test", "validation")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSettings:
    """What holds the texts, and how they become token numbers.

    max_tokens: where a text is cut. tokenizer: a tokenizer.json that was given; None trains one of at most
    `vocabulary_size` tokens on the training split, in lower case where `lowercase`.
    """

    columns: Columns = field(default_factory=Columns)
    max_tokens: int = MAX_TOKENS
    tokenizer: Path | None = None
    vocabulary_size: int = VOCABULARY_SIZE
    lowercase: bool = True


def is_text_source(path: Path) -> bool:
    """Whether `path` is a file of texts, or a folder with one called train, by its column `text`."""
    files = _files(path)
    return bool(files) and is_text_file(files["train"], Columns())


def holds_texts(path: Path) -> bool:
    """Whether a folder has a file of texts called train, or a file has texts by its column `text`."""
    return bool(_files(path)) if path.is_dir() else is_text_source(path)


def read_pool(
    path: Path,
    settings: TextSettings,
    *,
    classes: tuple[str, ...] | None,
    separator: str | None = None,
    storage: Storage = MEMORY,
) -> tuple[Pool, Sequence[str]]:
    """The texts as a pool whose inputs are their places, (n, 1) int32, in the list of all texts, and that list.

    classes: names in the order of their numbers; None: the labels of the train part, sorted. separator: what stands
    between the labels of a multi-label task, None for one class a text; an empty label then says that no class holds,
    and `?`, or null in JSON Lines, that it is not known.

    Raises:
        BadInputError: a faulty record, with file and line, a label that is not among the classes, or a tokenizer that
            cannot be read.
    """
    if settings.tokenizer is not None:
        tokens.read_tokenizer(settings.tokenizer)  # before a file that may take a minute
    files = _files(path)
    if not files:
        raise BadInputError(
            f"data source '{path}': no such file; expected one that ends in {', '.join(SUFFIXES)}, or a folder with "
            "train and test"
        )
    columns = replace(settings.columns, several=separator is not None)
    large = storage.on_disk(STRING_SHARE * sum(file.stat().st_size for file in files.values()))
    texts = TextFile(storage.folder) if large else list[str]()
    found = {name: read_texts(file, columns, texts=texts) for name, file in files.items()}
    sets = {} if separator is None else {name: _sets(file, found[name], separator) for name, file in files.items()}
    named = class_names(sets["train"], source=str(files["train"])) if sets and not classes else classes
    names = named or _classes(found["train"].labels)
    parts: dict[str, Samples] = {}
    for name, file in files.items():
        labels = _label_sets(file, found[name], sets[name], names) if sets else _labels(file, found[name], names)
        parts[name] = _samples(found[name], labels, first=sum(map(len, parts.values())))
    test, validation = parts.get("test"), parts.get("validation")
    return Pool(classes=names, kind="text", train=parts["train"], test=test, validation=validation), texts


def numbered(dataset: Dataset, texts: Sequence[str], settings: TextSettings, *, storage: Storage = MEMORY) -> Dataset:
    """The dataset with token numbers for the places in `texts`, and the tokenizer in its front.

    Raises:
        BadInputError: the tokenizer cannot be read or trained, or a training text has no token.
        EnvironmentFault: the package tokenizers is not installed.
    """
    if settings.tokenizer is not None:
        text = tokens.read_tokenizer(settings.tokenizer)
    else:
        # In the order of the file, which no seed changes; the split itself does.
        seen = (texts[place] for place in _places(dataset.train))
        text = tokens.train_tokenizer(seen, vocabulary_size=settings.vocabulary_size, lowercase=settings.lowercase)
    splits: dict[str, Samples] = {name: getattr(dataset, name) for name in SPLITS}
    if storage.on_disk(4 * settings.max_tokens * len(texts)):
        rows = _kept(dataset.source, texts, text, settings, storage)
        parts = {name: replace(samples, inputs=rows.take(_places(samples))) for name, samples in splits.items()}
    else:
        parts = {}
        for name, samples in splits.items():
            chosen = [texts[place] for place in _places(samples)]
            parts[name] = replace(samples, inputs=tokens.encode(text, chosen, max_tokens=settings.max_tokens))
    facts = {"vocabulary": tokens.vocabulary_size(text), "max_tokens": settings.max_tokens, "tokenizer": text}
    assert dataset.test.ids is not None  # every sample of a split has one
    named = dict(zip(dataset.test.ids.tolist(), _places(dataset.test).tolist(), strict=True))
    tested = texts if isinstance(texts, TextFile) else {place: texts[place] for place in named.values()}
    return replace(replaced(dataset, parts, facts), original=partial(_original, named, tested))


def _original(places: Mapping[str, int], texts: Mapping[int, str] | TextFile, name: str) -> SampleFile:
    """A text as a file of its own. name: its id."""
    return SampleFile(suffix=".txt", content=texts[places[name]].encode(), origin=f"text {name}")


def _places(samples: Samples) -> npt.NDArray[np.int64]:
    """Which of all texts they are."""
    return np.asarray(samples.inputs)[:, 0].astype(np.int64)


def _kept(source: str, texts: Sequence[str], tokenizer: str, settings: TextSettings, storage: Storage) -> Rows:
    """The token numbers of all texts, (n, max_tokens) int32, in a file."""

    def read(start: int) -> Iterator[npt.NDArray[np.int32]]:
        for at in range(start, len(texts), ENCODED_AT_ONCE):
            some = [texts[place] for place in range(at, min(at + ENCODED_AT_ONCE, len(texts)))]
            yield tokens.encode(tokenizer, some, max_tokens=settings.max_tokens)

    version = tokens.import_tokenizers().__version__
    said = {"tokenizer": hashlib.sha256(tokenizer.encode()).hexdigest(), "version": version}
    return storage.keep(
        source=Path(source),
        files=list(_files(Path(source)).items()),
        settings={"kind": "tokens", "columns": asdict(settings.columns)} | said,
        row=(settings.max_tokens,),
        dtype=np.int32,
        count=len(texts),
        read=read,
    )


def _files(path: Path) -> dict[str, Path]:
    """`train`, and `test` and `validation` where there are such; nothing where there is no train."""
    if path.is_file():
        return {"train": path} if path.suffix.lower() in SUFFIXES else {}
    for suffix in SUFFIXES:
        named = {name: path / f"{name}{suffix}" for name in PARTS}
        if named["train"].is_file():
            return {name: file for name, file in named.items() if file.is_file()}
    return {}


def _classes(labels: Sequence[str | None]) -> tuple[str, ...]:
    """The names that occur, sorted; as numbers where all are numbers."""
    names = {label for label in labels if label is not None}
    whole = all(name.lstrip("-").isdecimal() for name in names)
    return tuple(sorted(names, key=int) if whole else sorted(names))


def _sets(path: Path, found: Texts, separator: str) -> list[tuple[str, ...] | None]:
    bare = all(label is None for label in found.labels)
    cells = zip(found.labels, found.lines, strict=True)
    return [None if bare else parse(label or "", separator, where=f"{path}:{line}") for label, line in cells]


def _label_sets(
    path: Path, found: Texts, sets: Sequence[tuple[str, ...] | None], classes: tuple[str, ...]
) -> npt.NDArray[Any]:
    return indicator(sets, classes, where=lambda row: f"{path}:{found.lines[row]}")


def _labels(path: Path, found: Texts, classes: tuple[str, ...]) -> npt.NDArray[Any]:
    """Class numbers, -1 without one."""
    number = {name: k for k, name in enumerate(classes)}
    for place, label in enumerate(found.labels):
        if label is not None and label not in number:
            known = ", ".join(classes[:20]) + (", …" if len(classes) > 20 else "")
            raise BadInputError(f"{path}:{found.lines[place]}: label '{label}'; expected one of: {known}")
    return np.array([-1 if label is None else number[label] for label in found.labels], dtype=np.int64)


def _samples(found: Texts, labels: npt.NDArray[Any], *, first: int) -> Samples:
    """Places from `first` on as inputs."""
    return Samples(
        inputs=np.arange(first, first + len(labels), dtype=np.int32)[:, None],
        labels=labels,
        ids=None if found.ids is None else np.array(found.ids, dtype=np.str_),
        groups=None if found.groups is None else np.array(found.groups, dtype=np.str_),
    )
