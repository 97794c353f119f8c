"""Does `edgekd latency` say what a plain loop says? `python -m benchmarks.latency_agrees [FILE.onnx ...]`

For each file, rounds in turns: edgekd's interleaved blocks, and a loop that does nothing but run one session in a fresh
process, as onnxruntime's own perf test does. Printed are the ratios of their p50 and of their p90, edgekd's over the
loop's, over the rounds.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import chain
from benchmarks.turns import Child, answer, head, in_turns, keep, paired_ratio, parser, start, table
from edgekd import budget, environment, session, targets, verdicts
from edgekd.timing import feeds_for

TARGET, LOOP_SECONDS, WARM_UP = "x86-1t", 3.0, 100


def loop(path: Path, seconds: float) -> dict[str, Any]:
    """One session, one input after the other, nothing else."""
    import onnxruntime

    options = session.options_for(targets.load(TARGET), cores=environment.describe().cores_granted)
    opened = session.open_session(path, options)
    feeds, _ = feeds_for(path)
    batches = [{name: value[i] for name, value in feeds.items()} for i in range(len(next(iter(feeds.values()))))]
    samples: list[int] = []
    for turn in range(WARM_UP):
        opened.run(None, batches[turn % len(batches)])
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        before = time.perf_counter_ns()
        opened.run(None, batches[len(samples) % len(batches)])
        samples.append(time.perf_counter_ns() - before)
    return _answer(float(np.quantile(samples, 0.5)) / 1e6, float(np.quantile(samples, 0.9)) / 1e6, onnxruntime)


def ours(path: Path, seconds: float) -> dict[str, Any]:
    """`edgekd latency`, held undecided until its time is over by limits that lie on the numbers themselves."""
    import onnxruntime

    how = verdicts.How(max_seconds=2 * seconds)  # half of it is the reference workload's
    first = verdicts.time_file(path, target=TARGET, limits={"max_p50_ms": 1e6}, how=how)["measured"]
    limits = {"max_p50_ms": first["p50_ms"], "max_p90_ms": first["p90_ms"]}
    found = verdicts.time_file(path, target=TARGET, limits=limits, how=how)["measured"]
    return _answer(found["p50_ms"], found["p90_ms"], onnxruntime)


def _answer(p50: float, p90: float, onnxruntime: Any) -> dict[str, Any]:
    return {"p50": p50, "p90": p90, "device": "cpu", "versions": {"onnxruntime": onnxruntime.__version__}}


def report(arguments: argparse.Namespace) -> None:
    """All files, a row each."""
    env = start(arguments)
    with tempfile.TemporaryDirectory() as folder:
        files = arguments.files or [budget.REFERENCE, chain.write(Path(folder) / "chain.onnx")]
        seconds, rounds = (0.2, 2) if arguments.quick else (LOOP_SECONDS, arguments.rounds)
        rows, kept = [], {}
        for path in files:
            asked: Mapping[str, Any] = {"path": str(path.resolve()), "seconds": seconds}
            children = {
                name: Child(module="latency_agrees", specification=dict(asked) | {"how": name})
                for name in ("edgekd", "loop")
            }
            found = in_turns(children, rounds=rounds)
            kept[path.name] = found
            rows.append([path.name, *_row(found)])
    results: Sequence[Mapping[str, Any]] = [line for found in kept.values() for line in found["loop"]]
    print(head(env, results) + "\n")
    print(table(["file", "p50 of the loop", "p50, edgekd / loop", "p90 of the loop", "p90, edgekd / loop"], rows))
    keep(arguments.out, env, arguments, kept)


def _row(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    cells = []
    for key in ("p50", "p90"):
        mine, theirs = ([line[key] for line in found[name]] for name in ("edgekd", "loop"))
        cells += [f"{float(np.median(theirs)):.3f} ms", paired_ratio(mine, theirs).percent_over()]
    return cells


def main() -> int:
    """The command line, and the child that `in_turns` starts."""
    if sys.argv[1:2] == ["child"]:
        asked = json.loads(sys.argv[2])
        measure = ours if asked["how"] == "edgekd" else loop
        print(json.dumps(measure(Path(asked["path"]), asked["seconds"])))
        return 0
    made = parser(__doc__ or "")
    made.add_argument("files", nargs="*", type=Path, help="ONNX files; two small networks by default")
    made.add_argument("--rounds", type=int, default=10)
    return answer(report, made.parse_args())


if __name__ == "__main__":
    sys.exit(main())
