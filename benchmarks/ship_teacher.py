"""Copies a trained teacher into models/ with a card beside it: `python -m benchmarks.ship_teacher RUN_FOLDER`."""

import argparse
import datetime
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

from edgekd import recipe as recipes
from edgekd.core.forward import predict
from edgekd.data import Samples
from edgekd.data.fashion_mnist import read_debian
from edgekd.errors import BadInputError, EdgekdError
from edgekd.files import sha256, write_atomic
from edgekd.network import load_student
from edgekd.pixels import to_tensor

MODELS = Path(__file__).resolve().parent.parent / "models"
MAX_BYTES = 4 * 1024**2
MINIMUM_TOP1 = 0.935


def ship(run: Path, test: Samples, *, models: Path = MODELS, minimum_top1: float = MINIMUM_TOP1) -> Path:
    """Copy the run's student to models/fashion-mnist-MODEL.safetensors; returns its card, the .json beside it.

    The accuracy in the card is measured here, on the file that ships. minimum_top1: a fraction.

    Raises:
        BadInputError: the run is unfinished, its weights are over 4 MB, or they are right on too few images.
    """
    weights, lock = run / "student.safetensors", run / "recipe.lock.toml"
    if not weights.is_file() or not lock.is_file():
        raise BadInputError(
            f"{run} has no {weights.name} and {lock.name}; run `edgekd distill RECIPE --out {run}` first"
        )
    if weights.stat().st_size > MAX_BYTES:
        raise BadInputError(
            f"{weights} has {weights.stat().st_size:,} bytes; at most {MAX_BYTES:,} ship. Train a smaller one"
        )
    card = describe(weights, lock, test)
    if card["test_top1"] < minimum_top1:
        raise BadInputError(
            f"{weights} is right on {card['test_top1']:.2%} of {card['test_images']:,} test images; expected at least "
            f"{minimum_top1:.2%}. Train longer"
        )
    target = models / f"fashion-mnist-{card['model']}.safetensors"
    shutil.copyfile(weights, target)
    write_atomic(target.with_suffix(".json"), json.dumps(card, indent=2) + "\n")
    return target.with_suffix(".json")


def describe(weights: Path, lock: Path, test: Samples) -> dict[str, Any]:
    """What a reader of the weights wants to know, JSON-ready; test_top1 is a fraction of test_images."""
    network, card = load_student(weights)
    logits = predict(network, to_tensor(test.inputs, torch.device("cpu")))
    recipe = recipes.load(lock)
    return {
        "model": card.model,
        "classes": list(card.classes),
        "channels": card.channels,
        "sha256": sha256(weights),
        "size_bytes": weights.stat().st_size,
        "test_top1": float((logits.argmax(dim=-1).numpy() == test.labels).mean()),
        "test_images": len(test),
        "seed": recipe.seed,
        "epochs": recipe.distill.epochs,
        "facts": dict(card.facts),
        "recipe_sha256": sha256(lock),
        "recipe": lock.read_text(encoding="utf-8"),
        "torch": torch.__version__,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def main() -> int:
    """Parse the command line, ship, and print the card's path."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run folder of recipes/teacher-fashion-mnist.toml")
    arguments = parser.parse_args()
    try:
        test = read_debian().test
        assert test is not None, "Debian's package has a test part"
        path = ship(arguments.run, test)
    except EdgekdError as err:
        print(f"error: {err}", file=sys.stderr)
        return int(err.exit_code)
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
