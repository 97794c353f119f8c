"""A second student, its teacher's logits cached or asked for at every step: `python -m benchmarks.teacher_cache`.

ResNet-56 teaches ResNet-8 on one augmented view, whose logits the first student's run has put into the cache (speed and
size stand below the table). The second student is trained with that cache, where the teacher never runs, and without,
in fresh processes that take turns; all by edgekd's own trainer.
"""

import json
import sys
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Any

from benchmarks import turns
from benchmarks.train_throughput import write_pictures
from benchmarks.turns import Child

GOAL, GOAL_SHARE = 2.5, 0.65
QUICK = {"teacher": "resnet8", "batch_size": 8, "steps": 8}


def main() -> int:
    """Measure, print a table and what became of the goal."""
    parser = turns.parser(__doc__.split(":")[0])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=40, help="measured steps a round")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--precision", choices=("fp32", "bf16"), nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--data", help="npz file, folder or built-in name with 32x32 colour pictures; else noise")
    return turns.answer(report, parser.parse_args())


def report(arguments: Namespace) -> None:
    """See `main`."""
    env = turns.start(arguments)
    common = {"device": arguments.device, "batch_size": arguments.batch_size, "steps": arguments.steps}
    common |= {"loop": "edgekd"} | (QUICK if arguments.quick else {})
    samples: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder) / "pictures.npz"
        classes = write_pictures(pictures, arguments.data, count=common["batch_size"] * (8 + common["steps"]))
        for precision in arguments.precision:
            task = common | {"pictures": str(pictures), "classes": classes, "precision": precision}
            child = {
                mode: Child(module="teacher_cache", specification={"mode": mode, "folder": folder, "task": task})
                for mode in ("fill", "live", "cached")
            }
            turns.say(f"{precision}: filling the cache")
            filled = child.pop("fill").run()
            rounds = 1 if arguments.quick else arguments.rounds
            samples[precision] = {"fill": filled, **turns.in_turns(child, rounds=rounds)}
    print(turns.head(env, [found["fill"] for found in samples.values()]), table(samples), sep="\n\n")
    print(*(f"\n{line}" for found in samples.items() for line in remarks(*found)), sep="")
    turns.keep(arguments.out, env, arguments, samples)


def table(samples: dict[str, Any]) -> str:
    """One row for each precision and mode."""
    rows = [
        [
            precision,
            "asked at every step" if mode == "live" else "cached",
            f"{turns.median_of(found[mode], 'images_per_second'):,.0f}",
            "–" if mode == "live" else str(speedup(found)),
            turns.memory(found[mode]),
        ]
        for precision, found in samples.items()
        for mode in ("live", "cached")
    ]
    return turns.table(["precision", "teacher", "images/s", "speed-up", "peak memory, MiB"], rows)


def speedup(found: dict[str, Any]) -> turns.Ratio:
    """Cached over live."""
    return turns.paired_ratio(*([r["images_per_second"] for r in found[mode]] for mode in ("cached", "live")))


def remarks(precision: str, found: dict[str, Any]) -> list[str]:
    """What the speed-up depends on, what the cache cost, and the goal."""
    share, ratio, filled = turns.median_of(found["live"], "teacher_share"), speedup(found), found["fill"]
    cost = f"{filled['size_bytes'] / turns.MIB:.1f} MiB, filled at {filled['images_per_second']:,.0f} images/s"
    state = turns.verdict(ratio, GOAL, at_least=True)
    return [
        f"- {precision}: the teacher is {share:.0%} of the step; cache {cost}; "
        f"goal {GOAL:g}x where it is {GOAL_SHARE:.0%}: {ratio}, {state}"
    ]


def measure(*, mode: str, folder: str, task: dict[str, Any]) -> dict[str, Any]:
    """`fill` the cache, or train with it or with the `live` teacher."""
    from benchmarks import inside
    from benchmarks.cached_training import fill, train
    from benchmarks.training_task import Task

    asked = Task(**task)
    found = fill(asked, Path(folder)) if mode == "fill" else train(asked, Path(folder) if mode == "cached" else None)
    return {**found, **inside.about(asked.device)}


if __name__ == "__main__":
    from benchmarks.inside import specification

    asked = specification()
    if asked is None:
        sys.exit(main())
    print(json.dumps(measure(**asked)))
