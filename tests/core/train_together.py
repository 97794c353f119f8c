"""One of several processes that train a small network without batch norm together; rank 0 writes its weights."""

import sys
from typing import Any

import torch
from torch import nn

from edgekd.core import methods
from edgekd.core.augment import Augmentation
from edgekd.core.forward import Teacher
from edgekd.core.optimizer import Settings
from edgekd.core.parallel import Ranks, from_environment, joined
from edgekd.core.source import Resident
from edgekd.core.trainer import Trainer

torch.set_num_threads(1)


class Net(nn.Module):
    """Two matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.Tanh(), nn.Linear(8, 3))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layers(pixels.float().flatten(1) / 255)
        return logits


def train(ranks: Ranks) -> dict[str, Any]:
    """Three epochs; the weights, what the last epoch's statistics are, and the objective's own parameters.

    Nothing of the trainer is left when this returns: the process group may not be destroyed under it.
    """
    images = torch.randint(0, 256, (40, 1, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    settings = Settings(
        epochs=3,
        batch_size=16,
        learning_rate=0.05,
        accumulate=2,
        ema_decay=0.9,
        clip_norm=1.0,
        augmentation=Augmentation(crop_padding=1, flip=True),
    )
    made = Trainer(
        Net(),
        source=Resident(images, torch.arange(40) % 3),
        objective=methods.build(sys.argv[2]),
        settings=settings,
        targets=Teacher(Net(), precision="fp32"),
        ranks=ranks,
    )
    last = [made.run_epoch() for _ in range(3)][-1]
    return {
        "weights": made.result.state_dict(),
        "numbers": [last.loss, last.train_top1, last.cross_entropy, last.kl or 0.0, last.teacher_entropy_mean or 0.0],
        "theta": [p.detach() for p in made.objective.parameters()],
    }


def main() -> None:
    """Train together; rank 0 writes what came of it."""
    ranks = from_environment()
    with joined(ranks, torch.device("cpu")):
        result = train(ranks)
        assert ranks.agreed(ranks.rank) == 0
        ranks.wait()
    if ranks.first:
        torch.save(result, sys.argv[1])


if __name__ == "__main__":
    main()
