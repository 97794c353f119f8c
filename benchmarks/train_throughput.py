"""Images a second of edgekd, torchdistill and a plain loop that distill: `python -m benchmarks.train_throughput`.

ResNet-56 teaches ResNet-8 on 32x32 colour pictures that are cropped and mirrored: same nets, batch, precision and
loader workers, in fresh processes that take turns. torchdistill gets an environment of its own, with the same version
of torch; it is made where --venv says, once, from the package index. Speeds are of a running epoch: the start of
processes, compilation and the first steps do not count.
"""

import subprocess
import sys
import tempfile
import venv
from argparse import Namespace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import turns
from benchmarks.turns import Child
from edgekd import data
from edgekd.errors import BadInputError, EnvironmentFault

GOAL = {"cpu": 2.0, "cuda": 3.0}
CLASSES = 100
CONTENDERS: dict[str, dict[str, Any]] = {
    f"{loop}-{precision}{'-compiled' if compiled else ''}": {"loop": loop, "precision": precision, "compile": compiled}
    for precision in ("fp32", "bf16")
    for loop, compiled in (("plain", False), ("torchdistill", False), ("edgekd", False), ("edgekd", True))
}
PEERS = ("torchdistill", "plain")
QUICK = {"teacher": "resnet8", "batch_size": 8, "steps": 8, "workers": 1}


def main() -> int:
    """Measure, print a table and what became of the goal."""
    return turns.answer(report, parse())


def parse() -> Namespace:
    """The command line."""
    parser = turns.parser(__doc__.split(":")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=24, help="measured steps a round")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--workers", type=int, default=2, help="loader processes of torchdistill and the plain loop")
    parser.add_argument("--data", help="npz file, folder or built-in name with 32x32 colour pictures; else noise")
    parser.add_argument("--venv", type=Path, default=Path("runs/venv-torchdistill"), help="torchdistill's environment")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), metavar="NAME")
    return parser.parse_args()


def report(arguments: Namespace) -> None:
    """See `main`."""
    env = turns.start(arguments)
    common = {"device": arguments.device, "batch_size": arguments.batch_size, "steps": arguments.steps}
    common |= {"workers": arguments.workers} | (QUICK if arguments.quick else {})
    peer = torchdistill_python(arguments.venv) if any("torchdistill" in n for n in arguments.contenders) else ""
    with tempfile.TemporaryDirectory() as folder:
        count = common["batch_size"] * (8 + common["steps"] + 2 * common["workers"] + 2)
        classes = write_pictures(Path(folder) / "pictures.npz", arguments.data, count=count)
        common |= {"pictures": str(Path(folder) / "pictures.npz"), "classes": classes}
        children = {
            name: Child(
                module="training_loops",
                specification=common | CONTENDERS[name],
                python=peer if "torchdistill" in name else sys.executable,
            )
            for name in arguments.contenders
        }
        results = turns.in_turns(children, rounds=1 if arguments.quick else arguments.rounds)
    check_same_nets(results)
    print(turns.head(env, [result[0] for result in results.values()]), table(results), sep="\n\n")
    print(*(f"\n{line}" for line in goals(results, GOAL[arguments.device])), sep="")
    turns.keep(arguments.out, env, arguments, results)


def write_pictures(path: Path, source: str | None, *, count: int) -> int:
    """Write `count` pictures and labels to an .npz file; returns how many classes they have.

    Raises:
        BadInputError: the source's pictures are not 32x32 with 3 channels.
    """
    generator = np.random.default_rng(0)
    if source is None:
        images = generator.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        np.savez(path, images=images, labels=generator.integers(0, CLASSES, count))
        return CLASSES
    loaded = data.load(source)
    if loaded.input_shape != (32, 32, 3):
        raise BadInputError(f"--data {source} has pictures of {loaded.input_shape}; expected (32, 32, 3). Name another")
    index = np.resize(generator.permutation(len(loaded.train)), count)
    np.savez(path, images=loaded.train.inputs[index], labels=loaded.train.labels[index])
    return len(loaded.classes)


def torchdistill_python(folder: Path) -> str:
    """The interpreter of torchdistill's environment; where there is none, it is made.

    Raises:
        EnvironmentFault: it cannot be installed.
    """
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if python.is_file():
        return str(python.absolute())
    turns.say(f"making torchdistill's environment in {folder}")
    venv.create(folder, with_pip=True)
    wanted = [f"torch=={version('torch').partition('+')[0]}", "torchvision", "torchdistill", "pillow", "numpy"]
    command = [str(python), "-m", "pip", "install", "--quiet", *wanted]
    if subprocess.run(command, stdout=sys.stderr, check=False).returncode:
        raise EnvironmentFault(
            f"torchdistill cannot be installed in {folder}; expected a package index that has {', '.join(wanted)}. "
            f"Remove the folder and try again, or leave torchdistill out: --contenders plain-fp32 edgekd-fp32"
        )
    return str(python.absolute())


def check_same_nets(results: dict[str, list[dict[str, Any]]]) -> None:
    """Refuse a comparison of different nets. Raises EnvironmentFault."""
    digests = {name: rounds[0]["weights"] for name, rounds in results.items()}
    if len(set(digests.values())) > 1:
        raise EnvironmentFault(f"the nets differ: {digests}; expected equal weights. Is torch of the same version?")


def table(results: dict[str, list[dict[str, Any]]]) -> str:
    """One row a contender; ratios to the peers of the same precision."""
    rows = []
    for name, rounds in results.items():
        ratios = [ratio(results, name, f"{peer}-{CONTENDERS[name]['precision']}") for peer in PEERS]
        rows.append(
            [
                name,
                f"{turns.median_of(rounds, 'images_per_second'):,.0f}",
                *("–" if found is None else str(found) for found in ratios),
                turns.memory(rounds),
            ]
        )
    return turns.table(["contender", "images/s", *(f"against {peer}" for peer in PEERS), "peak memory, MiB"], rows)


def ratio(results: dict[str, list[dict[str, Any]]], name: str, peer: str) -> turns.Ratio | None:
    """How many times as fast it is as the peer; None for the peer itself, and where one of them was not measured."""
    if name == peer or peer not in results or name not in results:
        return None
    rates = ([result["images_per_second"] for result in results[one]] for one in (name, peer))
    return turns.paired_ratio(*rates)


def goals(results: dict[str, list[dict[str, Any]]], goal: float) -> list[str]:
    """One line a precision and peer: edgekd's fastest against the peer of the same precision, and against fp32."""
    lines = []
    for precision, peer_precision in (("fp32", "fp32"), ("bf16", "bf16"), ("bf16", "fp32")):
        own = [n for n in results if CONTENDERS[n]["loop"] == "edgekd" and CONTENDERS[n]["precision"] == precision]
        best = max(own, key=lambda name: turns.median_of(results[name], "images_per_second"), default="")
        for peer in PEERS:
            found = ratio(results, best, f"{peer}-{peer_precision}")
            if found is not None:
                state = turns.verdict(found, goal, at_least=True)
                lines.append(f"- {best} against {peer}-{peer_precision}: {found}; goal {goal:g}x: {state}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
