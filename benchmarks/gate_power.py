"""How often gates are wrong: `python -m benchmarks.gate_power --out FILE.jsonl [--load 2]`.

Compares a network of about a millisecond with itself and with one that has a tenth more work, many times, at a limit of
5 %, by `edgekd compare` and by the rules of three other ways. Each comparison also times both files one after the
other, a fresh process each, as two CI jobs would: the other rules get those samples, and edgekd's interleaved ones too.
A line of JSON is written for each comparison, so that a run that was stopped goes on. A network of 20 microseconds is
compared with itself as well, at a limit of 2 %: on one so small the place of its memory weighs a percent.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import chain
from benchmarks.turns import answer, say, table
from edgekd import environment, machine, session, targets, verdicts
from edgekd.errors import BadInputError
from edgekd.statistics import wilson
from edgekd.timing import Contestant, Host, feeds_for

LIMIT, TARGET = 0.05, "x86-1t"
CASES = ("same", "slower", "same", "same", "slower", "same", "small")
"""Twice as many comparisons of a file with itself: what a gate meets on most days."""

SMALL_LIMIT = 0.02

MAX_SECONDS = 60.0
PLAIN_SECONDS, PLAIN_WARMUP = 0.5, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Another way to judge: a verdict from the previous run's samples and the present one's, in nanoseconds."""

    name: str
    fails: Callable[[Sequence[int], Sequence[int]], bool]


def _median_over(share: float, *, first: int | None = None) -> Callable[[Sequence[int], Sequence[int]], bool]:
    return lambda old, new: statistics.median(new[:first]) > (1 + share) * statistics.median(old[:first])


def _mean_over(ratio: float) -> Callable[[Sequence[int], Sequence[int]], bool]:
    return lambda old, new: statistics.fmean(new) > ratio * statistics.fmean(old)


RULES = (
    Rule(name="pytest-benchmark, compare-fail=median:5%", fails=_median_over(0.05)),
    Rule(name="github-action-benchmark, 105 % of one previous run", fails=_mean_over(1.05)),
    Rule(name="github-action-benchmark, 200 % (its default)", fails=_mean_over(2.0)),
    Rule(name="a script, median of 50", fails=_median_over(0.05, first=50)),
)
"""pytest-benchmark compares the medians of all rounds; github-action-benchmark compares the value that it is given,
which for its pytest reader is 1 / mean, and fails above a ratio."""


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that compute without end."""
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=_spin, daemon=True) for _ in range(processes)]
    for child in children:
        child.start()
    try:
        yield
    finally:
        for child in children:
            child.kill()


def _spin() -> None:
    """Computes until whoever started it is gone, however that ended."""
    parent, value = os.getppid(), 0
    while os.getppid() == parent:
        for _ in range(1_000_000):
            value = (value * 31 + 7) % 1_000_003


def calibrated(folder: Path) -> tuple[Path, Path, float]:
    """The network, one with a tenth more work, and how much slower that is by a long comparison."""
    base = chain.write(folder / "base.onnx")
    slower, ratio, extra = folder / "slower.onnx", 1.0, 24
    for _ in range(4):
        chain.write(slower, extra)
        found = _compare(slower, base, seed=extra, limit=0.10, seconds=30.0)
        ratio = found["measured"]["ratio_p50"]
        say(f"extra {extra}: {ratio:.4f}x")
        if abs(ratio - 1.10) < 0.004:
            break
        extra = max(1, round(extra * 0.10 / max(ratio - 1, 0.01)))
    return base, slower, ratio


def _compare(new: Path, base: Path, *, seed: int, limit: float = LIMIT, seconds: float = MAX_SECONDS) -> dict[str, Any]:
    how = verdicts.How(max_seconds=seconds, seed=seed)
    return verdicts.compare_times(new, base, target=TARGET, limits={"max_regression": limit}, how=how)


def plain(path: Path) -> list[int]:
    """A session in a fresh process, a few runs to warm up, then half a second of samples."""
    options = session.options_for(targets.load(TARGET), cores=environment.describe().cores_granted)
    with Host({"only": Contestant(path=path, options=options, feeds=feeds_for(path)[0])}) as host:
        host.block("only", PLAIN_WARMUP)
        started, samples = time.monotonic(), []
        while len(samples) < 50 or time.monotonic() - started < PLAIN_SECONDS:
            samples += host.block("only", 10).ns
        return samples


def once(case: str, files: Mapping[str, Path], seed: int, load: int, alone: bool) -> dict[str, Any]:
    """One comparison by all rules, or by edgekd's alone."""
    new, base = files[case], files["small" if case == "small" else "same"]
    old_plain, new_plain = ([1], [1]) if alone else (plain(base), plain(new))
    started = time.monotonic()
    found = _compare(new, base, seed=seed, limit=SMALL_LIMIT if case == "small" else LIMIT)
    seconds = time.monotonic() - started
    cycles = found["raw"]["cycles"]
    mixed = {name: [ns for cycle in cycles for ns in cycle[name]] for name in ("base", "new")}
    numbers = found["measured"]
    return {
        "case": case,
        "load": load,
        "alone": alone,
        "load_average": os.getloadavg()[0],
        "verdict": found["gate"]["verdict"],
        "seconds": seconds,
        "cycles": numbers["cycles"],
        "openings": found["raw"]["openings"],
        "ratio": [numbers[key] for key in ("ratio_p50", "ratio_p50_low", "ratio_p50_high")],
        "base_p50_ms": numbers["base_p50_ms"],
        "apart": statistics.median(new_plain) / statistics.median(old_plain),
        "rules": {rule.name: rule.fails(old_plain, new_plain) for rule in RULES},
        "rules_interleaved": {rule.name: rule.fails(mixed["base"], mixed["new"]) for rule in RULES},
    }


def summary(lines: Sequence[Mapping[str, Any]]) -> str:
    """The tables, one a load."""
    parts = []
    for load in sorted({line["load"] for line in lines}):
        found = [line for line in lines if line["load"] == load]
        by_case = {case: [line for line in found if line["case"] == case] for case in ("same", "slower", "small")}
        rows = [_edgekd_row(by_case)]
        judged = {case: [line for line in lines if not line["alone"]] for case, lines in by_case.items()}
        for key, how in (("rules", "one after the other"), ("rules_interleaved", "on edgekd's samples")):
            rows += [_rule_row(rule, judged, key, how) for rule in RULES]
        same, slower, small = by_case["same"], by_case["slower"], by_case["small"]
        holds = _share(sum(line["ratio"][1] <= 1 <= line["ratio"][2] for line in same + small), len(same + small))
        verdicts = {word: sum(line["verdict"] == word for line in small) for word in ("pass", "inconclusive", "fail")}
        more = f"edgekd's interval holds 1 in {holds} of the comparisons of a file with itself. The 20 µs network with "
        more += (
            f"itself at 2 %: {verdicts['pass']} PASS, {verdicts['inconclusive']} INCONCLUSIVE, {verdicts['fail']} FAIL."
        )
        head = (
            f"{load} busy processes: {len(same)} comparisons of a file with itself, {len(slower)} with 10 % more work"
        )
        names = ["gate at 5 %", "same: FAIL", "same: no verdict", "slower: FAIL", "slower: PASS", "median seconds"]
        apart = [line["apart"] for line in judged["same"]]
        spread = statistics.quantiles(apart, n=20) if len(apart) > 1 else [1.0, 1.0]
        parts += [head, table(names, rows), f"One after the other, 90 % of the ratios of a file to itself lie in "
                  f"{spread[0]:.3f}–{spread[-1]:.3f}. {more}"]  # fmt: skip
    return "\n\n".join(parts)


def _share(count: int, n: int) -> str:
    interval = wilson(count, n) if n else None
    return f"{count}/{n} ({interval.low:.1%}–{interval.high:.1%})" if interval else "–"


def _edgekd_row(by_case: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    def count(case: str, verdict: str) -> str:
        found = by_case[case]
        return _share(sum(line["verdict"] == verdict for line in found), len(found))

    seconds = [line["seconds"] for case in ("same", "slower") for line in by_case[case]]
    return [
        "edgekd compare",
        count("same", "fail"),
        count("same", "inconclusive"),
        count("slower", "fail"),
        count("slower", "pass"),
        f"{statistics.median(seconds):.1f}" if seconds else "–",
    ]


def _rule_row(rule: Rule, by_case: Mapping[str, Sequence[Mapping[str, Any]]], key: str, how: str) -> list[str]:
    fails = {case: sum(line[key][rule.name] for line in lines) for case, lines in by_case.items()}
    n = {case: len(lines) for case, lines in by_case.items()}
    passed = _share(n["slower"] - fails["slower"], n["slower"])
    return [
        f"{rule.name}, {how}",
        _share(fails["same"], n["same"]),
        "–",
        _share(fails["slower"], n["slower"]),
        passed,
        "",
    ]


def report(arguments: argparse.Namespace) -> None:
    """Compare as often as asked, then print the tables."""
    machine.share_cores()
    out: Path = arguments.out
    if not out.parent.is_dir():
        raise BadInputError(f"--out {out}: no such folder; make it, or name another")
    lines = [json.loads(line) for line in out.read_text().splitlines()] if out.is_file() else []
    wanted = [CASES[index % len(CASES)] for index in range(arguments.comparisons)]
    done = sum(line["load"] == arguments.load for line in lines)
    with tempfile.TemporaryDirectory() as folder:
        base, slower, ratio = calibrated(Path(folder))
        files = {"same": base, "slower": slower, "small": Path(folder) / "small.onnx"}
        files["small"].write_bytes(chain.small().SerializeToString(deterministic=True))
        with busy(arguments.load), out.open("a") as file:
            for index, case in enumerate(wanted[done:], start=done):
                line = once(case, files, seed=index, load=arguments.load, alone=arguments.alone) | {"true_ratio": ratio}
                file.write(json.dumps(line) + "\n")
                file.flush()
                lines.append(line)
                took = f"{line['ratio'][0]:.3f}x {line['seconds']:.1f} s"
                say(f"{index + 1}/{len(wanted)} {case}: {line['verdict']} {took}")
    env = environment.describe()
    print(f"{env.cpu_model}, {env.isa}, {env.cores_granted} cores, onnxruntime {env.packages.get('onnxruntime')}, ")
    print(f"Python {env.python}; base {lines[-1]['base_p50_ms']:.2f} ms, the slower file {ratio:.3f}x by calibration\n")
    print(summary(lines))


def main() -> int:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--out", type=Path, required=True, help="a file of JSON lines; one that is there is gone on with")
    made.add_argument("--comparisons", type=int, default=350, help="of seven: four of a file with itself, two slower")
    made.add_argument("--alone", action="store_true", help="edgekd alone, without the other rules")
    made.add_argument("--load", type=int, default=0, help="busy processes beside it")
    return answer(report, made.parse_args())


if __name__ == "__main__":
    sys.exit(main())
