"""What a temperature for every sample costs beside one for all: `python -m benchmarks.temperature_overhead`.

The time of a training step (crop and mirror, ResNet-56 asked, ResNet-8 forward and back, SGD) with CIST and with exact
entropy, over the same step with KD at a fixed temperature, and the bare time of each loss. The methods take turns in
one process, step by step, in an order drawn anew every round; a ratio is of two steps of the same round. Peak memory is
of a process for each method alone.
"""

import json
import math
import random
import sys
from argparse import Namespace
from typing import Any

from benchmarks import turns
from benchmarks.turns import Child

METHODS = ("kd", "cist", "entropy")
GOAL = {"cpu": 1.02, "cuda": 1.01}
ENTROPY = 0.925
"""The recipe's default target, as a fraction of ln K."""

STEPS_A_SAMPLE = {"cpu": 1, "cuda": 20}
"""A GPU runs ahead of the program; a step timed alone would count the wait for it, not the work."""

QUICK = {"teacher": "resnet8", "batch_size": 4, "rounds": 2}


def main() -> int:
    """Measure, print a table and what became of the goal."""
    parser = turns.parser(__doc__.split(":")[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--classes", type=int, nargs="+", default=[10, 100, 1000], metavar="K")
    parser.add_argument(
        "--precision", choices=("auto", "fp32", "bf16"), default="auto", help="auto: as `edgekd distill`"
    )
    return turns.answer(report, parser.parse_args())


def report(arguments: Namespace) -> None:
    """See `main`."""
    env = turns.start(arguments)
    common = {"device": arguments.device, "precision": arguments.precision, "batch_size": arguments.batch_size}
    common |= {"rounds": arguments.rounds, "teacher": "resnet56"} | (QUICK if arguments.quick else {})
    samples: dict[str, Any] = {}
    for classes in arguments.classes[: 1 if arguments.quick else None]:
        turns.say(f"{classes} classes")
        together = common | {"classes": classes, "methods": METHODS}
        timed = Child(module="temperature_overhead", specification=together).run()
        alone = {
            method: Child(
                module="temperature_overhead", specification=together | {"methods": [method], "rounds": 2}
            ).run()
            for method in METHODS
        }
        samples[str(classes)] = {"timed": timed, "alone": alone}
    print(turns.head(env, [found["timed"] for found in samples.values()]), table(samples), sep="\n\n")
    goal = GOAL[arguments.device]
    print(*(f"\n{line}" for line in goals(samples, goal)), sep="")
    turns.keep(arguments.out, env, arguments, samples)


def table(samples: dict[str, Any]) -> str:
    """One row for each number of classes and method."""
    rows = []
    for classes, found in samples.items():
        for method in METHODS:
            times = found["timed"]["times"][method]
            over = "–" if method == "kd" else step_ratio(found, method).percent_over()
            peak = turns.memory([found["alone"][method]])
            step, bare = (f"{sorted(times[key])[len(times[key]) // 2]:.2f}" for key in ("step_ms", "loss_ms"))
            rows.append([classes, method, step, over, bare, peak])
    return turns.table(["K", "method", "step, ms", "over fixed T", "loss alone, ms", "peak memory, MiB"], rows)


def step_ratio(found: dict[str, Any], method: str) -> turns.Ratio:
    """The step with the method over the step with fixed T."""
    times = found["timed"]["times"]
    return turns.paired_ratio(times[method]["step_ms"], times["kd"]["step_ms"])


def goals(samples: dict[str, Any], goal: float) -> list[str]:
    """One line a row of the table."""
    lines = []
    for classes, found in samples.items():
        for method in METHODS[1:]:
            ratio = step_ratio(found, method)
            state = turns.verdict(ratio, goal, at_least=False)
            limit = f"goal at most {100 * (goal - 1):g} %: {state}"
            lines.append(f"- {method}, K = {classes}: {ratio.percent_over()} in {ratio.pairs} pairs; {limit}")
    return lines


def measure(
    *, device: str, precision: str, teacher: str, classes: int, batch_size: int, rounds: int, methods: list[str]
) -> dict[str, Any]:
    """Milliseconds of every step and of every bare loss, by method; peak memory."""
    import torch

    from benchmarks import inside
    from benchmarks.temperature_steps import Bench

    bench = Bench(
        device=torch.device(device),
        precision=precision,
        teacher=teacher,
        classes=classes,
        batch_size=batch_size,
        knobs={name: knobs(name, classes=classes) for name in methods},
    )
    times: dict[str, dict[str, list[float]]] = {name: {"step_ms": [], "loss_ms": []} for name in methods}
    steps, order = STEPS_A_SAMPLE[device], random.Random(0)
    for number in range(-2, rounds):  # the first two warm up
        for name in order.sample(methods, len(methods)):
            found = {"step_ms": bench.step_ms(name, steps), "loss_ms": bench.loss_ms(name, 10 * steps)}
            for key, value in found.items() if number >= 0 else ():
                times[name][key].append(value)
    return {"times": times, **inside.peaks(), **inside.about(device)}


def knobs(method: str, *, classes: int) -> dict[str, float]:
    """What the recipe's defaults make of the method's numbers."""
    from edgekd.core import auto_rho

    if method == "cist":
        return {"rho": auto_rho(classes)}
    return {"target_nats": ENTROPY * math.log(classes)} if method == "entropy" else {}


if __name__ == "__main__":
    from benchmarks.inside import specification

    asked = specification()
    if asked is None:
        sys.exit(main())
    print(json.dumps(measure(**asked)))
