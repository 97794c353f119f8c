"""A study that runs in seconds: pictures of 8x8 pixels, a teacher that knows them, and a student of one matrix."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edgekd import recipe as recipes
from edgekd.recipe import Recipe
from edgekd.study import Outcome, run

NET = """
import os
import signal
from pathlib import Path

import torch
from torch import nn

ILL = Path(__file__).with_name("ill")


def net(num_classes, in_channels):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64 * in_channels, 16), nn.ReLU(), nn.Linear(16, num_classes))
    if ILL.exists() and torch.initial_seed() == 1:
        nn.init.constant_(network[1].weight, float("nan"))
    if ILL.exists() and torch.initial_seed() == 2:
        print("about to be killed", file=__import__("sys").stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    return network
"""
"""While the file `ill` is beside it, the student of seed 1 diverges, and that of seed 2 takes its process along."""

RECIPE = """
name = "tiny"
[data]
source = "bars.npz"
classes = ["top", "middle", "bottom"]
calibration_samples = 24
augment = "crop"
crop_padding = 1
[teacher]
model = "resnet8"
weights = "{teacher}"
[student]
model = "net.py:net"
[distill]
epochs = 2
batch_size = 16
learning_rate = 0.05
max_skipped_steps = 2
n_views = 2
teacher_cache = "fp16"
cache_folder = "cache"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A folder with a recipe, and where its studies go."""

    recipe: Path

    def load(self, *overrides: str) -> Recipe:
        return recipes.load(self.recipe, overrides=overrides)

    def study(self, folder: Path, *overrides: str, methods: tuple[str, ...] = ("ce", "kd"), **options: int) -> Outcome:
        """Two seeds and two candidates at a time, where nothing else is asked for."""
        settings = {"seeds": 2, "candidates": 2, "jobs": 2} | options
        return run(self.load(*overrides), folder=folder, methods=methods, **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def make_place(draw: Callable[..., object], teacher_file: Path) -> Callable[[Path], Place]:
    """A function that fills a folder with data, recipe and student."""

    def make(folder: Path) -> Place:
        samples = draw(200)
        np.savez(folder / "bars.npz", x=samples.inputs, y=samples.labels)  # type: ignore[attr-defined]
        (folder / "net.py").write_text(NET)
        recipe = folder / "recipe.toml"
        recipe.write_text(RECIPE.format(teacher=teacher_file))
        return Place(recipe=recipe)

    return make


@pytest.fixture
def place(make_place: Callable[[Path], Place], tmp_path: Path) -> Place:
    return make_place(tmp_path)
