"""A source of any kind -> what it holds, read as a network's file says it takes it; classes mapped by name."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgekd.data import tokens
from edgekd.data.class_order import relabelled
from edgekd.data.dataset import Kind, Pool, Samples
from edgekd.data.label_sets import SEPARATOR
from edgekd.data.manifest import is_manifest, read_manifest
from edgekd.data.read_picture import COLOURS, Resize, resize_of
from edgekd.data.reading import Reading
from edgekd.data.saved_dataset import class_names, is_saved_dataset, read_saved_dataset
from edgekd.data.series import read_series_npz
from edgekd.data.series_csv import SUFFIXES as TABLES
from edgekd.data.series_csv import Windows, read_series_csv
from edgekd.data.takes import Takes
from edgekd.data.text import SUFFIXES as TEXTS
from edgekd.data.text_source import TextSettings, holds_texts, read_pool
from edgekd.data.wav_folder import Clips, holds_sound, read_wav_folder
from edgekd.errors import BadInputError

WORDS = {
    "image": "images: a folder of class folders, a table with a column 'path', or a saved data set",
    "audio": "sound: a folder of class folders with WAV files",
    "series": "sensor readings: a table (.csv, .tsv or .parquet), one row a reading",
    "text": "texts: a .csv, .tsv or .jsonl file, or a folder with train and test",
}
"""Kind -> the sources that hold it, beside an .npz in the network's own layout."""

CHANNELS = {colour: channels for channels, colour in COLOURS.items()}

SUFFIXES = {*TABLES, *TEXTS}

ALWAYS = ("data.classes", "data.task", "data.label_separator")

FREE = {
    "image": (),
    "audio": ("data.audio.group_pattern", "data.audio.group_file"),
    "series": tuple(f"data.series.{name}" for name in ("columns", "label", "group", "id", "window", "stride")),
    "text": tuple(f"data.text.{name}" for name in ("column", "label_column", "id_column", "group_column", "tokenizer")),
}
"""Keys that say where things stand; the others are the network's preprocessing, which its file says."""

OPEN = {
    "image": ("data.resize", "data.resize_filter", "data.resize_mode"),
    "audio": ("data.audio.sample_rate", "data.audio.seconds", "data.audio.mono"),
    "series": (),
    "text": ("data.text.max_tokens",),
}
"""Keys that say how a network from elsewhere is fed."""


def read_for(source: Path, takes: Takes, reading: Reading) -> Pool | None:
    """What the source holds; None for a folder of images, which the caller decodes part by part.

    Raises:
        BadInputError: a source of another kind, a key that the network's file contradicts, or something missing that
            only the caller knows.
    """
    found, kind = kind_of_source(source, takes), takes.kind
    if kind is None or found != kind:
        raise BadInputError(_other_kind(source, found, takes))
    _check_keys(kind, takes, reading)
    readers = {"image": _pictures, "audio": _sound, "text": _texts, "series": _readings}
    return readers[kind](source, takes, reading)


def kind_of_source(source: Path, takes: Takes) -> Kind | None:
    """What a file or folder holds; None for a file that is none of these. A folder without others holds images."""
    if source.is_dir():
        return _kind_of_folder(source)
    suffix = source.suffix.lower()
    if not source.is_file() or suffix not in SUFFIXES:
        return None
    expected: dict[Kind | None, tuple[str, ...]] = {"text": tuple(TEXTS), "series": TABLES}
    if suffix in expected.get(takes.kind, ()):
        return takes.kind
    if suffix in TABLES and is_manifest(source):
        return "image"
    return "text" if suffix in TEXTS and holds_texts(source) else "series"


def _kind_of_folder(source: Path) -> Kind:
    if is_saved_dataset(source):
        return "image"
    if holds_texts(source):
        return "text"
    return "audio" if holds_sound(source) else "image"


def _other_kind(source: Path, found: Kind | None, takes: Takes) -> str:
    if not source.exists():
        return f"{source}: no such file; expected samples for the model: an .npz with x, or {_wanted(takes)}"
    if found is None:
        return f"{source}: found a {source.suffix or 'nameless'} file; expected {_wanted(takes)}; or an .npz or .npy"
    held = WORDS[found].partition(":")[0]
    if takes.foreign and found == "image":
        return (
            f"{source} holds images, and the model takes {takes.words()}: how to scale pixels for it is unknown. Bring "
            "an .npz whose x is already in the network's own input layout"
        )
    return (
        f"{source} holds {held}, and the model takes {takes.words()}; expected {_wanted(takes)}; or an .npz whose x is "
        "already in the network's own input layout"
    )


def _wanted(takes: Takes) -> str:
    return "an array in its own input layout" if takes.kind is None else WORDS[takes.kind]


def _check_keys(kind: Kind, takes: Takes, reading: Reading) -> None:
    """Refuse what says nothing here: keys of another kind, and of preprocessing that is the network's own."""
    useful = (*ALWAYS, *FREE[kind], *(OPEN[kind] if takes.foreign else ()))
    for key in reading.given:
        if key not in useful:
            own = key in OPEN[kind] or key.startswith(f"data.{kind}.")
            why = "the model's file says it" if own else f"the model takes {WORDS[kind].partition(':')[0]}"
            raise BadInputError(
                f"--set {key}: has no effect here, {why}; expected one of: {', '.join(useful)}; remove it"
            )


def _pictures(source: Path, takes: Takes, reading: Reading) -> Pool | None:
    resize, channels = picture_size(takes, reading)
    if is_saved_dataset(source):
        own = class_names(source)
        given = reading.classes or takes.classes if own is None else None
        pool = read_saved_dataset(source, resize=resize, channels=channels, classes=given)
    elif source.is_file():
        names = reading.classes or takes.classes
        pool = read_manifest(
            source, resize=resize, channels=channels, classes=names, separator=_separator(takes, reading)
        )
    else:
        return None
    return relabelled(pool, takes.classes, source)


def _separator(takes: Takes, reading: Reading) -> str | None:
    """What stands between labels; None where a sample has one class."""
    return reading.separator or (SEPARATOR if takes.several else None)


def picture_size(takes: Takes, reading: Reading) -> tuple[Resize | None, int | None]:
    """How pictures are brought to their size, and their channels.

    As the network's file says; where it says nothing, as `reading` says, else stretched to the size that the network
    takes, bilinear. None: they have to have one size.

    Raises:
        BadInputError: the file asks for what is not done here, or contradicts the network's own input.
    """
    shape, facts = takes.shape, takes.preprocessing.get("image")
    nhwc = picture_layout(takes) == "nhwc"
    height, width, channels = (shape[1], shape[2], shape[3]) if nhwc else (shape[2], shape[3], shape[1])
    if facts is None:
        fixed = Resize(height, width) if height is not None and width is not None else None
        return reading.resize or fixed, channels
    try:
        resize, said = resize_of(dict(facts)), (*facts["size"], CHANNELS[facts["colour"]])
    except (KeyError, TypeError, ValueError) as err:
        raise BadInputError(
            f"the model's file asks for {err}; bring an .npz whose x was made as it says, or update edgekd"
        ) from err
    if any(want not in (None, got) for want, got in zip((height, width, channels), said, strict=True)):
        raise BadInputError(
            f"the model's file says that pictures are made {said} (height, width, channels), and its input takes "
            f"{(height, width, channels)}; export it again"
        )
    return resize, said[2]


def picture_layout(takes: Takes) -> str:
    """`nhwc` or `nchw`: as the file says, else by the axis of size 1 or 3."""
    return takes.layout or ("nhwc" if takes.shape[3] in (1, 3) else "nchw")


def _sound(source: Path, takes: Takes, reading: Reading) -> Pool:
    clips, length = reading.audio or Clips(), takes.shape[1]
    if takes.foreign:
        if clips.sample_rate is None:
            raise BadInputError(
                f"{source}: nothing says which sample rate the model takes; expected it in its file, or "
                "--set data.audio.sample_rate=16000"
            )
        rate, window = clips.sample_rate, 1
    else:
        facts = takes.preprocessing
        rate, window = int(facts["audio"]["sample_rate"]), int(facts["log_mel"]["window"])
        clips = replace(clips, mono=facts["audio"].get("mono", "refuse"))
    seconds = clips.seconds if length is None else length / rate
    pool = read_wav_folder(source, replace(clips, sample_rate=rate, seconds=seconds, window_ms=1000 * window / rate))
    return relabelled(pool, takes.classes or reading.classes, source)


def _texts(source: Path, takes: Takes, reading: Reading) -> Pool:
    settings = reading.text or TextSettings()
    tokenizer = tokenizer_of(takes, reading)
    if tokenizer is None:
        looked = f" (looked for {' and '.join(map(str, _beside(takes)))})" if _beside(takes) else ""
        raise BadInputError(
            f"{source}: the model takes token numbers, and its tokenizer.json is not there{looked}; put that of its "
            "run beside it, or say --set data.text.tokenizer=PATH"
        )
    facts = takes.preprocessing.get("text", {})
    length = takes.shape[1] or facts.get("max_tokens") or settings.max_tokens
    pool, texts = read_pool(
        source,
        replace(settings, tokenizer=None),
        classes=takes.classes or reading.classes,
        separator=_separator(takes, reading),
    )

    def encoded(samples: Samples | None) -> Samples | None:
        if samples is None:
            return None
        chosen = [texts[place] for place in samples.inputs[:, 0]]
        numbers = tokens.encode(tokenizer, chosen, max_tokens=int(length))
        return replace(samples, inputs=numbers.astype(takes.dtype, copy=False))

    train = encoded(pool.train)
    assert train is not None
    return replace(pool, train=train, test=encoded(pool.test), validation=encoded(pool.validation))


def tokenizer_of(takes: Takes, reading: Reading | None) -> str | None:
    """The text of the tokenizer.json that a network of texts was trained with, where there is one to be found.

    Raises:
        BadInputError: the one that `reading` names is another.
    """
    if takes.kind != "text":
        return None
    wanted = takes.preprocessing.get("text", {}).get("tokenizer_sha256")
    named = None if reading is None or reading.text is None else reading.text.tokenizer
    if named is None:
        texts = (path.read_text(encoding="utf-8") for path in _beside(takes) if path.is_file())
        return next((text for text in texts if _sha256(text) == wanted), takes.tokenizer)
    text = tokens.read_tokenizer(named)
    if wanted not in (None, _sha256(text)):
        raise BadInputError(
            f"{named}: SHA-256 {_sha256(text)[:12]}…; expected {wanted[:12]}…, the tokenizer that the model was "
            "trained with, to which every number means another word: take the tokenizer.json of its run or bundle"
        )
    return text


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _beside(takes: Takes) -> list[Path]:
    """Where a tokenizer.json may lie: a run has it beside model.onnx, above variants/."""
    if takes.model is None or takes.foreign:
        return []
    folder = takes.model.resolve().parent
    return [folder / "tokenizer.json", folder.parent / "tokenizer.json"]


def _readings(source: Path, takes: Takes, reading: Reading) -> Pool:
    windows = reading.series or Windows()
    columns = windows.columns
    own = tuple(takes.preprocessing.get("series", {}).get("channels", ()))
    if takes.foreign and columns is None:
        raise BadInputError(
            f"{source}: nothing says which columns the model takes, in which order; expected "
            '--set data.series.columns=["ax", "ay", "az"]'
        )
    if own and columns is not None and columns != own:
        raise BadInputError(
            f"--set data.series.columns: found {', '.join(columns)}; the model takes {', '.join(own)}, in that order: "
            "remove the key"
        )
    columns = columns or own or None
    time, depth = _axes(takes, columns)
    length = takes.shape[time]
    if windows.id is None:
        if length is not None and windows.window not in (None, length):
            raise BadInputError(
                f"--set data.series.window={windows.window}: the model takes windows of {length} readings; remove it"
            )
        windows = replace(windows, window=length or windows.window)
    pool = read_series_csv(source, replace(windows, columns=columns), classes=takes.classes or reading.classes)
    found = pool.train.inputs.shape
    for name, axis, place in (("readings", time, 1), ("channels", depth, 2)):
        if takes.shape[axis] not in (None, found[place]):
            named = f" ({', '.join(pool.front.get('channels', ()))})" if name == "channels" else ""
            raise BadInputError(
                f"{source}: windows have {found[place]} {name}{named}; the model takes {takes.shape[axis]}: "
                "name them, in its order, with --set data.series.columns=[…], the window with data.series.id or window"
            )
    return pool if time == 1 else _transposed(pool)


def _axes(takes: Takes, columns: tuple[str, ...] | None) -> tuple[int, int]:
    """Which axes are time and channels: edgekd's own networks take channels last, others often second."""
    if not takes.foreign or columns is None:
        return 1, 2
    fits = [axis for axis in (2, 1) if takes.shape[axis] in (None, len(columns))]
    if len(fits) == 2 and takes.shape[1] is not None and takes.shape[2] is None:
        fits = [1]
    if len(fits) != 1:
        raise BadInputError(
            f"the model takes {takes.words()}, and {len(columns)} columns are named: which axis holds the channels "
            "cannot be told; bring an .npz whose x is already in the network's own input layout"
        )
    return (1, 2) if fits[0] == 2 else (2, 1)


def _transposed(pool: Pool) -> Pool:
    def turned(samples: Samples | None) -> Samples | None:
        return None if samples is None else replace(samples, inputs=np.swapaxes(np.asarray(samples.inputs), 1, 2))

    train = turned(pool.train)
    assert train is not None
    return replace(pool, train=train, test=turned(pool.test), validation=turned(pool.validation))


def read_own_series(path: Path, takes: Takes, reading: Reading, *, labelled: bool) -> Pool:
    """Windows of an .npz for a network that edgekd exported: names, groups and labels as training reads them.

    labelled: whether the file has labels, whose own names count.
    """
    names = reading.classes if labelled else takes.classes
    return relabelled(read_series_npz(path, classes=names), takes.classes, path)
