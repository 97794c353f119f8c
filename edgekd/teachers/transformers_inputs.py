"""What a classifier of transformers takes: its keyword arguments, from a batch of each kind of data in training."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekd.errors import BadInputError
from edgekd.teachers import hub
from edgekd.teachers.preparation import of_processor

if TYPE_CHECKING:
    from torch import Tensor

FULL_SCALE = 32_768.0
"""Of int16: sound files are read as floats in -1..1 before a feature extractor sees them."""

SMALLEST_VARIANCE = 1e-7
"""What Wav2Vec2FeatureExtractor.zero_mean_unit_var_norm of transformers adds to a clip's variance."""

RAW_SOUND = ("Wav2Vec2FeatureExtractor",)
"""Feature extractors that leave sound a wave; the others make spectrograms of their own, which are not made here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """arguments: of a batch as training holds it, the model's keyword arguments. words: what is done to a sample."""

    arguments: "Callable[[Tensor], dict[str, Tensor]]"
    words: str


def of_images(folder: Path, config: Any, *, sample_shape: tuple[int, ...], facts: Mapping[str, Any]) -> Taken:
    """Pictures, by the folder's preprocessor_config.json. Raises BadInputError."""
    steps = of_processor(_processor(folder), channels=int(getattr(config, "num_channels", 3)))
    steps.check(channels=sample_shape[-1])
    return Taken(arguments=lambda batch: {"pixel_values": steps(batch)}, words=steps.words(channels=sample_shape[-1]))


def of_sound(folder: Path, config: Any, *, sample_shape: tuple[int, ...], facts: Mapping[str, Any]) -> Taken:
    """Waves, by the folder's preprocessor_config.json. facts: `sample_rate` of the data. Raises BadInputError."""
    declared = _processor(folder)
    extractor = str(declared.get("feature_extractor_type"))
    if extractor not in RAW_SOUND:
        raise BadInputError(
            f"its feature extractor is '{extractor}'; expected {' or '.join(RAW_SOUND)}, which leaves sound a wave. "
            "Export the teacher to ONNX with its features inside, or write its scores into a table (kind = 'scores')"
        )
    rate = int(declared.get("sampling_rate", 16_000))
    if rate != int(facts["sample_rate"]):
        raise BadInputError(
            f"takes sound of {rate} Hz, the data has {facts['sample_rate']} Hz; resample the files, or take a teacher "
            "of that rate"
        )
    normalised = bool(declared.get("do_normalize", True))

    def arguments(batch: "Tensor") -> "dict[str, Tensor]":
        wave = batch.float() / FULL_SCALE
        if normalised:
            variance = wave.var(dim=-1, keepdim=True, correction=0)
            wave = (wave - wave.mean(dim=-1, keepdim=True)) / (variance + SMALLEST_VARIANCE).sqrt()
        return {"input_values": wave}

    own = ", each clip brought to mean 0 and variance 1" if normalised else ""
    return Taken(arguments=arguments, words=f"sound of {rate} Hz in -1 to 1{own}")


def of_texts(folder: Path, config: Any, *, sample_shape: tuple[int, ...], facts: Mapping[str, Any]) -> Taken:
    """Token numbers, where the data's tokenizer is the folder's own. facts: `tokenizer`. Raises BadInputError."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise BadInputError(
            "has no tokenizer.json, and nothing says what its token numbers mean; copy it beside config.json"
        )
    if _essence(hub.read_json(path)) != _essence(json.loads(facts["tokenizer"])):
        raise BadInputError(
            f"numbers its tokens by {path}, and the data by another tokenizer: the same number would mean another "
            f'word. Let the student share it: data.text.tokenizer = "{path}"'
        )
    longest = getattr(config, "max_position_embeddings", None)
    if longest is not None and sample_shape[0] > longest:
        raise BadInputError(
            f"takes {longest} tokens at most, the data's texts have {sample_shape[0]}; set data.text.max_tokens to "
            f"{longest} or less"
        )
    return Taken(
        arguments=lambda batch: {"input_ids": batch.long(), "attention_mask": (batch != 0).long()},
        words=f"its own tokenizer, which the student shares; {sample_shape[0]} tokens, padding masked",
    )


TAKES: dict[str, tuple[str, Callable[..., Taken]]] = {
    "image": ("AutoModelForImageClassification", of_images),
    "audio": ("AutoModelForAudioClassification", of_sound),
    "text": ("AutoModelForSequenceClassification", of_texts),
}
"""Kind of data -> the class of transformers that reads its classifiers, and what they take."""


def _processor(folder: Path) -> dict[str, Any]:
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        raise BadInputError(
            "has no preprocessor_config.json, and nothing says what it takes; copy it beside config.json"
        )
    return hub.read_json(path)


def _essence(tokenizer: dict[str, Any]) -> dict[str, Any]:
    """All of a tokenizer.json but how texts are cut and padded, which data.text says."""
    return {key: value for key, value in tokenizer.items() if key not in ("truncation", "padding")}
