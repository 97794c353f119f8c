"""What the speed benchmarks share: fresh processes that take turns, ratios of pairs with an interval, a head line."""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekd import environment, machine
from edgekd.environment import Environment
from edgekd.errors import BadInputError, EdgekdError, EnvironmentFault
from edgekd.files import write_atomic
from edgekd.statistics import quantile_interval

ROOT = Path(__file__).resolve().parent.parent
FEWEST_FOR_AN_INTERVAL = 6
"""Pairs below which no two order statistics hold the median with 95 %: 2 * 0.5^6 is the first below 5 %."""

MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """The median ratio of `pairs` pairs; low, high: its 95 % order-statistic interval, the range of fewer than six.

    The two of a pair were measured in the same round, so that a machine that slows down slows both.
    """

    value: float
    low: float
    high: float
    pairs: int

    def __str__(self) -> str:
        return f"{self.value:.2f}x ({self.low:.2f}–{self.high:.2f})"

    def percent_over(self) -> str:
        """The same as a difference in percent."""
        value, low, high = (100 * (number - 1) for number in (self.value, self.low, self.high))
        return f"{value:+.1f} % ({low:+.1f} to {high:+.1f})"


def paired_ratio(over: Sequence[float], under: Sequence[float]) -> Ratio:
    """The ratio over / under of numbers that were measured in pairs."""
    ratios = np.array(over) / np.array(under)
    low, high = float(ratios.min()), float(ratios.max())
    if len(ratios) >= FEWEST_FOR_AN_INTERVAL:
        parts = quantile_interval(np.rint(ratios * 1e9).astype(np.int64), 0.5)
        low, high = parts.low / 1e9, parts.high / 1e9
    return Ratio(value=float(np.median(ratios)), low=low, high=high, pairs=len(ratios))


def verdict(ratio: Ratio, goal: float, *, at_least: bool) -> str:
    """`met` or `missed` where the whole interval says so, else `open`."""
    inside, outside = (ratio.low >= goal, ratio.high < goal) if at_least else (ratio.high <= goal, ratio.low > goal)
    return "met" if inside else "missed" if outside else "open"


def in_turns(children: Mapping[str, "Child"], *, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """What each child printed, one entry a round; in each round every child runs once, in a fresh process.

    Each round starts with another child, so that none is always the first.
    """
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in children}
    for number in range(rounds):
        names = list(children)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            say(f"round {number + 1} of {rounds}: {name}")
            results[name].append(children[name].run())
    return results


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A module of this folder run as a process of its own: a specification in, one line of JSON out."""

    module: str
    specification: Mapping[str, Any]
    python: str = sys.executable

    def run(self) -> dict[str, Any]:
        """What it measured.

        Raises:
            EnvironmentFault: it failed; its own words stand on stderr.
        """
        command = [self.python, "-m", f"benchmarks.{self.module}", "child", json.dumps(self.specification)]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise EnvironmentFault(
                f"the process of benchmarks.{self.module} ended with {done.returncode}; expected 0. Its error stands "
                f"above; {' '.join(command[:4])} '{command[4]}' runs it alone"
            )
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result


def parser(description: str) -> argparse.ArgumentParser:
    """The options that every command has."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    made.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    made.add_argument("--out", type=Path, help="a JSON file for the raw samples")
    made.add_argument("--quick", action="store_true", help="tiny: shows that the command runs, its numbers say nothing")
    return made


def answer(report: Callable[[argparse.Namespace], None], arguments: argparse.Namespace) -> int:
    """Run the command; its exit code, an error of edgekd's own told in one line on stderr."""
    try:
        report(arguments)
    except EdgekdError as err:
        print(f"error: {err}", file=sys.stderr)
        return int(err.exit_code)
    return 0


def head(env: Environment, results: Sequence[Mapping[str, Any]]) -> str:
    """One paragraph: versions, machine and its load. results: what children returned, with `versions` and `device`."""
    versions = {f"{name} {v}" for result in results for name, v in result["versions"].items()}
    devices = {result["device"] for result in results} - {"cpu"}
    where = [env.cpu_model, env.isa, f"{env.cores_granted} of {env.cores_total} cores", *sorted(devices)]
    load = f"load average {os.getloadavg()[0]:.1f} after the run"
    return f"Python {env.python}, edgekd {env.packages.get('edgekd')}, {', '.join(sorted(versions))}; " + ", ".join(
        [*where, load]
    )


def keep(path: Path | None, env: Environment, arguments: argparse.Namespace, samples: Mapping[str, Any]) -> None:
    """Write the raw samples to `path`, if there is one."""
    if path is None:
        return
    asked = {name: str(value) for name, value in vars(arguments).items()}
    facts = {"schema": 1, "environment": env.as_dict(), "arguments": asked, "samples": samples}
    write_atomic(path, json.dumps(facts, indent=2, default=asdict))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def median_of(results: Sequence[Mapping[str, Any]], key: str) -> float:
    """The median over the rounds."""
    return float(statistics.median(result[key] for result in results))


def memory(results: Sequence[Mapping[str, Any]]) -> str:
    """Peak memory, the largest of the rounds, in MiB: of the process and its workers, and of the GPU."""
    host, cuda = (max(result[key] for result in results) / MIB for key in ("peak_bytes", "cuda_peak_bytes"))
    return f"{host:,.0f}" + (f" + {cuda:,.0f} GPU" if cuda else "")


def start(arguments: argparse.Namespace) -> Environment:
    """Set up the processes to come as the command line does, and look at the machine.

    Raises:
        BadInputError: the folder of --out is missing.
    """
    if arguments.out is not None and not arguments.out.parent.is_dir():
        raise BadInputError(f"--out {arguments.out}: no such folder; make it, or name another")
    machine.share_cores()
    return environment.describe()


def say(text: str) -> None:
    """A line of progress on stderr."""
    print(text, file=sys.stderr, flush=True)
