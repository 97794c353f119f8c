"""How equal the entropies of a teacher's soft labels are: fixed T, LSKD, CIST, exact, on real teachers.

    python -m benchmarks.entropy_spread                          # the teacher that ships, Fashion-MNIST
    python -m benchmarks.entropy_spread --teacher MODEL WEIGHTS DATA   # and another, trained by `edgekd distill`

Each teacher's logits on up to 2,000 training and all test images, not augmented. Every method is compared at the mean
entropy that T = 4 has on that teacher, which takes the amount of smoothing out of the comparison, and at its own
published setting.
"""

import argparse
import math
from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import inside, turns
from edgekd import data, environment, pixels, teacher
from edgekd.core import auto_rho, entropy, entropy_temperature, fixed_entropy, max_logit_temperature
from edgekd.core.forward import predict
from edgekd.core.losses import standard_temperatures

SHIPPED = ("wrn_16_2", Path(str(files("edgekd.models"))) / "fashion-mnist-wrn_16_2.safetensors", "fashion-mnist")


def main() -> None:
    """Print a table a teacher."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument(
        "--teacher", nargs=3, action="append", default=[], metavar=("MODEL", "WEIGHTS", "DATA"), help="another teacher"
    )
    chosen = arguments.parse_args()
    print(turns.head(environment.describe(), [inside.about("cpu")]))
    for model, weights, source in (SHIPPED, *((m, Path(w), s) for m, w, s in chosen.teacher)):
        dataset = data.load(source)
        net = teacher.load_teacher(weights, dataset, model=model, options={}, mean=None, std=None)
        for name, samples in (("training", pixels.spread(dataset.train, 2_000)), ("test", dataset.test)):
            logits = predict(net, pixels.to_tensor(samples.inputs, torch.device("cpu")))
            print(f"\n{model}, {source}, {len(samples):,} {name} images, {pixels.top1(logits, samples):.1%} right\n")
            print(table(logits))


def table(logits: Tensor) -> str:
    """Mean and standard deviation of the soft labels' entropy, nats, a row a method."""
    classes = logits.shape[-1]
    goal = fixed_entropy(logits, 4.0)
    exact = entropy_temperature(logits, goal)
    solved = exact.temperature[exact.status == 0]
    rows = {
        "fixed T = 4": torch.full((len(logits),), 4.0),
        "LSKD, T = 2": standard_temperatures(logits, logits, temperature=2.0)[1],
        "LSKD at the same mean": standard_temperatures(logits, logits, temperature=matched(logits, goal, "lskd"))[1],
        f"CIST, rho = auto = {auto_rho(classes):.2f}": max_logit_temperature(logits, auto_rho(classes)),
        "CIST at the same mean": max_logit_temperature(logits, matched(logits, goal, "cist")),
    }
    lines = ["| temperature | mean | sd | fixed T's sd / this |", "|---|---|---|---|"]
    base = float(entropy(logits, 4.0).double().std())
    for name, tau in rows.items():
        h = entropy(logits, tau).double()
        lines.append(f"| {name} | {float(h.mean()):.3f} | {float(h.std()):.4f} | {base / float(h.std()):.1f} |")
    log_p = torch.log_softmax(logits[exact.status == 0].double() / solved.double().unsqueeze(-1), dim=-1)
    error = (-(log_p.exp() * log_p).sum(dim=-1) - goal).abs()  # float64: not the arithmetic that the solver stopped on
    share, worst = goal / math.log(classes), float(error.max())
    solved_all = f"{len(solved):,} of {len(logits):,} solved"
    lines.append(f"| exact, {share:.3f} ln K | {goal:.3f} | at most {worst:.1e} off; {solved_all} | – |")
    return "\n".join(lines)


def matched(logits: Tensor, goal: float, method: str) -> float:
    """The knob with which the method's mean entropy is `goal`, by bisection."""
    low, high = 0.05, 60.0
    for _ in range(60):
        middle = math.sqrt(low * high)
        tau = (
            max_logit_temperature(logits, middle)
            if method == "cist"
            else standard_temperatures(logits, logits, temperature=middle)[1]
        )
        smoother = float(entropy(logits, tau).mean()) > goal
        # A larger rho sharpens, a larger temperature smooths.
        low, high = (middle, high) if smoother == (method == "cist") else (low, middle)
    return math.sqrt(low * high)


if __name__ == "__main__":
    main()
