"""A study that looks like a real one: its cells' results are invented, everything made of them is not."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from edgekd import recipe as recipes
from edgekd.environment import describe
from edgekd.recipe import Recipe
from edgekd.study import Plan, plan
from edgekd.study.collect import study
from edgekd.study.place import Places
from edgekd.study.plan import Cell
from edgekd.study.process import Failed, Trained
from edgekd.study.schedule import Schedule

ROOT = Path(__file__).resolve().parents[2]
LABELS = np.arange(1000, dtype=np.int64) % 10
WORTH = {"ce": 0.81, "kd": 0.842, "cist": 0.853, "entropy": 0.851, "dkd": 0.846, "lskd": 0.832}
"""Method -> about how well its students do, a fraction."""
SPREADS = {"kd": 0.35, "cist": 0.03, "entropy": 2e-5, "dkd": 0.35, "lskd": 0.11}
"""Method -> standard deviation of its soft labels' entropy, nats."""
METHODS = tuple(WORTH)


def quick() -> Recipe:
    """The recipe of the quick study."""
    return recipes.load(ROOT / "recipes" / "study-quick.toml")


def result(cell: Cell) -> Trained:
    """What a cell's run would report; equal cells, equal numbers."""
    index = METHODS.index(cell.method)
    draw = np.random.default_rng([index, cell.seed, *(int(10 * value) for value in cell.knobs.values())])
    top1 = WORTH[cell.method] + 0.004 * (cell.seed % 3) + draw.normal(0, 0.002)
    wrong = np.random.default_rng(cell.seed).random(len(LABELS)) > top1  # images are hard for all methods alike
    predictions = (LABELS + wrong) % 10
    spread = SPREADS.get(cell.method)
    entropy = None if spread is None else np.minimum(2.13 - np.abs(draw.normal(0, spread, 2000)), math.log(10)).tolist()
    student = {
        "test_top1": float((predictions == LABELS).mean()),
        "validation_top1": round(float(top1 + draw.normal(0, 0.003)), 3),
        "test_ece": 0.04,
        "test_predictions": predictions.tolist(),
        "seconds": 12.0,
        "images_per_second": 2_000.0,
        "history": [{"epoch": epoch, "seconds": 1.5} for epoch in (1, 2)],
        "logit_sd": 3.0 + index,
        "logit_max": 12.0 + index,
        "soft_entropy": entropy,
        "fixed_entropy": entropy and np.clip(draw.normal(1.5, 0.35, 2000), 0.1, 2.3).tolist(),
        "device": "cpu",
        "precision": "fp32",
        "threads": 1,
    }
    teacher = {"model": "wrn_16_2", "parameters": 691_386, "test_predictions": []}
    tops = {"test_top1": 0.936, "validation_top1": 0.95, "train_top1": 0.97}
    return Trained(
        report={"student": student, "teacher": (teacher | tops) if cell.needs_teacher else None}, cached=False
    )


def finished(
    *, methods: tuple[str, ...] = METHODS, seeds: int = 3, count: int = 6, failing: tuple[str, ...] = ()
) -> Schedule:
    """A schedule whose cells are all done; `failing`: names of the cells that failed."""
    schedule = Schedule(whole(methods=methods, seeds=seeds, count=count))
    while (cell := schedule.take()) is not None:
        failed = Failed(message="10 steps without a finite gradient; lower the learning rate", exit_code=2)
        schedule.finish(cell, failed if cell.name in failing else result(cell))
    return schedule


def whole(*, methods: tuple[str, ...] = METHODS, seeds: int = 3, count: int = 6) -> Plan:
    """The plan of a study on the quick recipe."""
    return plan(quick(), methods=methods, seeds=seeds, count=count)


def collected(schedule: Schedule) -> dict[str, Any]:
    """The study that such a schedule comes to."""
    return study(
        schedule,
        places=Places(jobs=2, threads=1, gpus=()),
        labels=LABELS,
        classes=10,
        machine=describe().as_dict(),
        recipe={"path": "recipes/study-quick.toml", "overrides": []},
        seconds=500.0,
    )
