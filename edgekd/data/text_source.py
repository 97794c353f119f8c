"""A text file, or a folder of train and test files, -> a dataset whose tokenizer saw the training split alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from edgekd.data import tokens
from edgekd.data.dataset import SPLITS, Dataset, Pool, Samples, replaced
from edgekd.data.text import SUFFIXES, Columns, Texts, is_text_file, read_texts
from edgekd.errors import BadInputError

MAX_TOKENS = 128
"""A paragraph: two thirds of Reuters' articles are shorter."""

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


def read_pool(path: Path, settings: TextSettings, *, classes: tuple[str, ...] | None) -> tuple[Pool, list[str]]:
    """The texts as a pool whose inputs are their places, (n, 1) int32, in the list of all texts, and that list.

    classes: names in the order of their numbers; None: the labels of the train part, sorted.

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
    found = {name: read_texts(file, settings.columns) for name, file in files.items()}
    names = classes or _classes(found["train"].labels)
    texts: list[str] = []
    parts: dict[str, Samples] = {}
    for name, file in files.items():
        parts[name] = _samples(file, found[name], names, first=len(texts))
        texts += found[name].texts
    test, validation = parts.get("test"), parts.get("validation")
    return Pool(classes=names, kind="text", train=parts["train"], test=test, validation=validation), texts


def numbered(dataset: Dataset, texts: Sequence[str], settings: TextSettings) -> Dataset:
    """The dataset with token numbers for the places in `texts`, and the tokenizer in its front.

    Raises:
        BadInputError: the tokenizer cannot be read or trained, or a training text has no token.
        EnvironmentFault: the package tokenizers is not installed.
    """
    if settings.tokenizer is not None:
        text = tokens.read_tokenizer(settings.tokenizer)
    else:
        # In the order of the file, which no seed changes; the split itself does.
        seen = (texts[place] for place in dataset.train.inputs[:, 0])
        text = tokens.train_tokenizer(seen, vocabulary_size=settings.vocabulary_size, lowercase=settings.lowercase)
    parts = {}
    for name in SPLITS:
        samples: Samples = getattr(dataset, name)
        chosen = [texts[place] for place in samples.inputs[:, 0]]
        parts[name] = replace(samples, inputs=tokens.encode(text, chosen, max_tokens=settings.max_tokens))
    facts = {"vocabulary": tokens.vocabulary_size(text), "max_tokens": settings.max_tokens, "tokenizer": text}
    return replaced(dataset, parts, facts)


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


def _samples(path: Path, found: Texts, classes: tuple[str, ...], *, first: int) -> Samples:
    """Places from `first` on as inputs, labels as class numbers, -1 without one."""
    number = {name: k for k, name in enumerate(classes)}
    for place, label in enumerate(found.labels):
        if label is not None and label not in number:
            known = ", ".join(classes[:20]) + (", …" if len(classes) > 20 else "")
            raise BadInputError(f"{path}:{found.lines[place]}: label '{label}'; expected one of: {known}")
    labels = [-1 if label is None else number[label] for label in found.labels]
    return Samples(
        inputs=np.arange(first, first + len(labels), dtype=np.int32)[:, None],
        labels=np.array(labels, dtype=np.int64),
        ids=None if found.ids is None else np.array(found.ids, dtype=np.str_),
        groups=None if found.groups is None else np.array(found.groups, dtype=np.str_),
    )
