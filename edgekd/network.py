"""A network with its preprocessing inside, and its weights as safetensors: one file says all that inference needs."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as save_bytes
from torch import Tensor, nn

from edgekd import front, models
from edgekd.errors import BadInputError
from edgekd.files import write_atomic
from edgekd.front import Front
from edgekd.models.count import count_macs_of

METADATA_KEY = "edgekd"


FRONT = "front."
"""What the tensors of the front are called within a network; a file leaves it out, and calls the rest `body.…`."""


class Network(nn.Module):
    """Raw samples in, logits out: what stands in front of the body, which has its numbers as buffers, then the body."""

    def __init__(self, body: nn.Module, front: Front) -> None:
        super().__init__()
        self.front = front
        self.body = body

    def forward(self, raw: Tensor) -> Tensor:
        """raw: as the front takes them, images (batch, channels, height, width) uint8. Returns (batch, K) logits."""
        logits: Tensor = self.body(self.front(raw))
        return logits


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What the weights belong to. `facts` holds whatever else its maker wants to keep (accuracy, seed, recipe).

    kind, front: of the data, as in `edgekd.data.Dataset`.
    """

    model: str
    classes: tuple[str, ...]
    channels: int
    options: Mapping[str, float | int | str]
    facts: Mapping[str, Any]
    kind: str = "image"
    front: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """One line; equal cards give equal text. Images of which no more is known have no word on kind and front."""
        plain = asdict(self)
        if self.kind == "image" and not self.front:
            del plain["kind"], plain["front"]
        return json.dumps(plain, sort_keys=True)


def build(card: Card, *, mean: tuple[float, ...], std: tuple[float, ...]) -> Network:
    """A new network as the card says, with fresh weights from torch's current random state."""
    body = models.build(
        card.model, num_classes=len(card.classes), in_channels=card.channels, options=dict(card.options)
    )
    return Network(body, front.build(card.kind, card.front, mean=mean, std=std))


def macs(network: Network, inputs: npt.NDArray[Any], *, kind: str) -> int:
    """Multiply-accumulates of one inference. inputs: one sample of the data, (1, …).

    Raises:
        BadInputError: the body cannot take a sample of this shape.
    """
    device = next(network.parameters()).device
    with torch.no_grad():
        example = network.front(front.of(kind).to_tensor(inputs, device))
    return count_macs_of(network.body, example)


def save(network: Network, path: Path, card: Card) -> None:
    """Write weights, preprocessing and card to a safetensors file, atomically; equal input gives equal bytes."""
    # Clones: safetensors refuses tied weights, which share their memory.
    tensors = {
        name.removeprefix(FRONT): value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in network.state_dict().items()
    }
    write_atomic(path, save_bytes(tensors, {METADATA_KEY: card.to_json()}))


def load(
    path: Path,
    *,
    card: Card,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> tuple[Network, Card]:
    """The network in a safetensors file, in eval mode, and its card.

    A file that edgekd wrote brings its own classes, mean and std; for any other state dict, bare or below `body.`,
    `card`, `mean` and `std` say what it is.

    Raises:
        BadInputError: missing, corrupt or pickled file, other classes than the card's, other tensors than the model's,
            weights that are not finite.
    """
    tensors, own = _read(path)
    if own is not None:
        _agree(path, own, card)
        card = own
    network = build(card, mean=mean, std=std)
    fronts = {f"{FRONT}{name}" for name in network.front.state_dict()}
    whole = any(name.startswith("body.") for name in tensors)
    tensors = {_within(name, fronts, whole=whole): value for name, value in tensors.items()}
    _check_classes(path, tensors, network, len(card.classes))
    try:
        missing = network.load_state_dict(tensors, strict=False)
    except RuntimeError as err:
        raise BadInputError(f"{path} does not fit model '{card.model}': {err}") from err
    wrong = [n for n in missing.missing_keys if n not in fronts] + list(missing.unexpected_keys)
    if wrong:
        raise BadInputError(f"{path} does not fit model '{card.model}': tensor '{wrong[0]}' is missing or not expected")
    bad = [name for name, value in tensors.items() if value.is_floating_point() and not value.isfinite().all()]
    if bad:
        raise BadInputError(f"{path}: tensor '{bad[0]}' holds NaN or infinity; expected finite weights. Train it again")
    return network.eval(), card


def _within(name: str, fronts: set[str], *, whole: bool) -> str:
    """What a file's tensor is called in the network. whole: the file knows a body and a front; else it is a body."""
    if not whole:
        return f"body.{name}"
    return f"{FRONT}{name}" if f"{FRONT}{name}" in fronts else name


def _read(path: Path) -> tuple[dict[str, Tensor], Card | None]:
    if not path.is_file():
        raise BadInputError(f"weights {path}: no such file; expected a .safetensors file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as err:
        # Only now: a sound file can start with the same bytes, its header's length.
        if path.read_bytes()[:2].startswith((b"PK", b"\x80")):
            raise BadInputError(
                f"weights {path}: found a pickle (torch.save), which could run code and is never loaded; "
                "convert it once: safetensors.torch.save_file(state_dict, 'weights.safetensors')"
            ) from err
        raise BadInputError(f"weights {path}: not a whole safetensors file ({err}); fetch or write it again") from err
    if METADATA_KEY not in metadata:
        return tensors, None
    try:
        raw = json.loads(metadata[METADATA_KEY])
        return tensors, Card(**{**raw, "classes": tuple(raw["classes"])})
    except (ValueError, TypeError, KeyError) as err:
        raise BadInputError(
            f"weights {path}: its card cannot be read ({err}); was it written by a newer edgekd?"
        ) from err


def _agree(path: Path, own: Card, wanted: Card) -> None:
    if len(own.classes) != len(wanted.classes):
        raise BadInputError(f"{path} tells {len(own.classes)} classes apart, the data has {len(wanted.classes)}")
    if own.classes != wanted.classes:
        pairs = zip(own.classes, wanted.classes, strict=True)
        index, (a, b) = next((i, pair) for i, pair in enumerate(pairs) if pair[0] != pair[1])
        raise BadInputError(f"{path} calls class {index} '{a}', the data calls it '{b}'; expected the same order")
    if own.model != wanted.model:
        raise BadInputError(f"{path} holds model '{own.model}', the recipe says '{wanted.model}'")
    if own.kind != wanted.kind:
        raise BadInputError(f"{path} takes data of kind '{own.kind}', the data is of kind '{wanted.kind}'")
    if own.front.get("tokenizer") != wanted.front.get("tokenizer"):
        raise BadInputError(
            f"{path} was trained with another tokenizer than the data's, to it every number would mean another word; "
            "set data.text.tokenizer to the tokenizer.json in the folder of its run"
        )
    if own.channels != wanted.channels:
        raise BadInputError(f"{path} takes {own.channels} channel(s), the data has {wanted.channels}")
    if wanted.options and dict(own.options) != dict(wanted.options):
        raise BadInputError(
            f"{path} was built with options {dict(own.options)}, the recipe says {dict(wanted.options)}; remove them"
        )


def _check_classes(path: Path, tensors: Mapping[str, Tensor], network: nn.Module, classes: int) -> None:
    """The last matrix of a classifier has one row a class: say so before torch lists shapes."""
    heads = [name for name, value in network.state_dict().items() if value.ndim == 2 and len(value) == classes]
    found = tensors.get(heads[-1]) if heads else None
    if found is not None and found.ndim == 2 and len(found) != classes:
        raise BadInputError(
            f"{path} tells {len(found)} classes apart, the data has {classes}; expected a teacher of the same classes"
        )


def read_card(path: Path) -> Card:
    """The card in a safetensors file that edgekd wrote.

    Raises:
        BadInputError: missing or corrupt file, or one without a card.
    """
    _, card = _read(path)
    if card is None:
        raise BadInputError(f"weights {path}: has no edgekd card; expected a file that `edgekd distill` wrote")
    return card


def load_student(path: Path) -> tuple[Network, Card]:
    """A network that edgekd saved, from its file alone: card, mean and std are all inside."""
    tensors, _ = _read(path)
    card = read_card(path)
    # Only their count matters: the file's own numbers take their places.
    count = tensors["mean"].numel() if "mean" in tensors else 0
    loaded, _ = load(path, card=card, mean=(0.0,) * count, std=(1.0,) * count)
    return loaded, card
