"""A causal transformer with its vocabulary: one safetensors file says all that is needed to go on from it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as save_bytes

from edgekd.errors import BadInputError
from edgekd.files import write_atomic
from edgekd.language.vocabulary import Vocabulary, check_same
from edgekd.models.causal_transformer import CausalTransformer

METADATA_KEY = "edgekd-language"


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What the weights belong to. sizes: the options of `CausalTransformer` but vocabulary and context."""

    vocabulary: Vocabulary
    context: int
    sizes: Mapping[str, float | int | str]


def build(card: Card) -> CausalTransformer:
    """A new network as the card says, with fresh weights from torch's current random state."""
    sizes: dict[str, Any] = dict(card.sizes)
    return CausalTransformer(vocabulary=card.vocabulary.size, context=card.context, **sizes)


def save(network: CausalTransformer, path: Path, card: Card) -> None:
    """Write weights and card, atomically; equal input gives equal bytes."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    write_atomic(path, save_bytes(tensors, {METADATA_KEY: json.dumps(asdict(card), sort_keys=True)}))


def load(path: Path) -> tuple[CausalTransformer, Card]:
    """The network in a file that `save` wrote, in eval mode, and its card.

    Raises:
        BadInputError: no such file, a corrupt or foreign one, or weights that are not finite.
    """
    if not path.is_file():
        raise BadInputError(f"weights {path}: no such file; expected what `edgekd language` wrote, teacher.safetensors")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as err:
        raise BadInputError(f"weights {path}: not a whole safetensors file ({err}); fetch or write it again") from err
    if METADATA_KEY not in metadata:
        raise BadInputError(f"weights {path}: has no card of a language network; expected what `edgekd language` wrote")
    try:
        raw = json.loads(metadata[METADATA_KEY])
        card = Card(vocabulary=Vocabulary(**raw["vocabulary"]), context=raw["context"], sizes=raw["sizes"])
        network = build(card)
        network.load_state_dict(tensors)
    except (ValueError, TypeError, KeyError, RuntimeError) as err:
        raise BadInputError(f"weights {path}: card and weights do not fit ({err}); train it again") from err
    bad = [name for name, value in tensors.items() if not value.isfinite().all()]
    if bad:
        raise BadInputError(f"weights {path}: tensor '{bad[0]}' holds NaN or infinity; train it again")
    return network.eval(), card


def load_teacher(path: Path, *, vocabulary: Vocabulary, context: int) -> tuple[CausalTransformer, Card]:
    """The teacher in a file, once it is known to read the data's tokens and as much of them at a time.

    Raises:
        BadInputError: as `load`; another vocabulary, or a shorter context.
    """
    network, card = load(path)
    check_same(card.vocabulary, vocabulary, where=str(path))
    if card.context < context:
        raise BadInputError(
            f"teacher {path} reads {card.context} tokens at a time, and data.context is {context}; lower data.context"
        )
    return network, card


@torch.no_grad()
def predict(network: CausalTransformer, tokens: torch.Tensor) -> torch.Tensor:
    """Logits (batch, length, K) float32 on the tokens' device, in eval mode. tokens: (batch, length) int64."""
    training = network.training
    logits: torch.Tensor = network.eval()(tokens).float()
    network.train(training)
    return logits
