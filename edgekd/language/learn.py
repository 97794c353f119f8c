"""Networks of a corpus, each as a file and what it is worth: a teacher brought or trained, a student that learns."""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from edgekd.core.optimizer import Settings
from edgekd.files import sha256
from edgekd.language import network, targets
from edgekd.language.corpus import Corpus, Windows
from edgekd.language.network import Card, predict
from edgekd.language.objective import Method
from edgekd.language.score import score
from edgekd.language.targets import CachePlan, Targets
from edgekd.language.train import train
from edgekd.models.causal_transformer import CausalTransformer
from edgekd.models.count import count_parameters
from edgekd.progress import Listener, silent

SAMPLE_WINDOWS = 16
"""Training windows of which the teacher's logits are looked at, for the target of exact entropy."""

Made = tuple[dict[str, Any], list[Path]]
"""A stage's result, JSON-ready, and the files that it wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where networks are made. folder: the run's; files, and checkpoints below it, are named after the network."""

    corpus: Corpus
    context: int
    folder: Path
    device: torch.device
    listener: Listener = silent

    def windows(self, *, views: int = 1) -> Windows:
        """Of the training text."""
        return Windows(self.corpus.train, context=self.context, views=views)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A network that is to be trained. sizes: of `CausalTransformer`; key: of its checkpoint."""

    name: str
    sizes: Mapping[str, float | int | str]
    method: Method
    settings: Settings
    key: str
    views: int = 1


def brought(path: Path, *, place: Place) -> Made:
    """A teacher that was trained before, copied into the folder as teacher.safetensors.

    Raises:
        BadInputError: as `network.load_teacher`.
    """
    net, card = network.load_teacher(path, vocabulary=place.corpus.vocabulary, context=place.context)
    kept = place.folder / "teacher.safetensors"
    if path.resolve() != kept.resolve():
        shutil.copyfile(path, kept)
    return _worth("teacher", net, kept, card, place=place) | {"steps": None, "seconds": None}, [kept]


def alone(plan: Plan, *, place: Place) -> Made:
    """A network that learns from the text alone.

    Raises:
        BadInputError: as `train`.
    """
    method = plan.method.resolved(classes=place.corpus.vocabulary.size, teacher_logits=None)
    return _trained(plan, method, place.windows(views=plan.views), place=place)


def taught(plan: Plan, *, teacher: Path, cache: CachePlan | None, place: Place) -> Made:
    """A student that learns from the network in the file `teacher` too, live or from a cache of its logits.

    Raises:
        BadInputError: as `train`, `network.load` and `targets.answering`.
    """
    windows, classes = place.windows(views=plan.views), place.corpus.vocabulary.size
    with targets.answering(
        lambda: network.load(teacher)[0],
        windows,
        classes=classes,
        batch_size=plan.settings.batch_size,
        device=place.device,
        cache=cache,
        listener=place.listener,
    ) as answers:
        index = np.linspace(0, len(windows) - 1, min(SAMPLE_WINDOWS, len(windows)), dtype=np.int64)
        tokens, _, mask = (torch.from_numpy(array).to(place.device) for array in windows.batch(index))
        method = plan.method.resolved(classes=classes, teacher_logits=answers(0, index, tokens)[mask])
        return _trained(plan, method, windows, place=place, answers=answers)


def _trained(plan: Plan, method: Method, windows: Windows, *, place: Place, answers: Targets | None = None) -> Made:
    card = Card(vocabulary=place.corpus.vocabulary, context=windows.context, sizes=dict(plan.sizes))
    torch.manual_seed(plan.settings.seed)
    made = train(
        network.build(card).to(place.device),
        windows,
        objective=method.objective(),
        settings=plan.settings,
        path=place.folder / "checkpoints" / f"{plan.name}.pt",
        key=plan.key,
        stage=plan.name,
        targets=answers,
        listener=place.listener,
    )
    path = place.folder / f"{plan.name}.safetensors"
    network.save(made.network, path, card)
    return _worth(plan.name, made.network, path, card, place=place) | {
        "steps": plan.settings.epochs,
        "seconds": made.seconds,
        "method": method.name,
        "knobs": dict(method.knobs),
        "ce_weight": None if method.name == "ce" else method.ce_weight,
        "history": [asdict(point) for point in made.history],
        "tokens_per_second": made.tokens_per_second,
        "skipped": made.skipped,
    }, [path]


def _worth(name: str, net: CausalTransformer, path: Path, card: Card, *, place: Place) -> dict[str, Any]:
    """What a network is worth on validation and test, in torch."""

    def ask(tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        logits: npt.NDArray[np.float32] = predict(net, torch.from_numpy(tokens).to(place.device)).cpu().numpy()
        return logits

    scores = {
        part: score(ask, getattr(place.corpus, part), context=place.context, what=f"{name} {path}")
        for part in ("validation", "test")
    }
    return {
        "name": name,
        "weights": path.name,
        "sha256": sha256(path),
        "sizes": dict(card.sizes),
        "parameters": count_parameters(net),
        "method": None,
        "knobs": {},
        "validation": scores["validation"].summary(),
        "test": scores["test"].summary(),
        "scores": asdict(scores["test"]),
    }
