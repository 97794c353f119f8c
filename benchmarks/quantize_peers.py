"""edgekd quantize beside other tools, on the same trained nets: `python -m benchmarks.quantize_peers`.

Each tool has an environment of its own, made once where --venvs says, gets the same fp32 file and the same samples to
quantize with, and runs as its documentation says. Seconds and memory are of the whole command. All files of a net are
then timed in turns in one process, judged on samples that no tool has seen, and run once more on AVX2's kernels. Every
result is kept in --folder; a killed run goes on, and --again NAME makes a tool's files anew.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from benchmarks import turns
from benchmarks.peers import build, judge, nets, table
from benchmarks.peers.build import OURS, Built
from benchmarks.peers.contenders import CONTENDERS
from benchmarks.turns import Child
from edgekd.files import write_atomic

TOOLS = (*CONTENDERS, OURS)
RUNS = Path("runs/peers")


def main() -> int:
    """Build, measure, print one table a net."""
    return turns.answer(report, parse())


def parse() -> argparse.Namespace:
    """The command line."""
    parser = turns.parser(__doc__.split(":")[0])
    add = parser.add_argument
    add("--nets", nargs="+", choices=nets.MAKERS, default=list(nets.MAKERS), metavar="NET")
    add("--tools", nargs="+", choices=TOOLS, default=list(TOOLS), metavar="NAME")
    add("--again", nargs="+", choices=TOOLS, default=[], metavar="NAME", help="make this tool's files anew")
    add("--folder", type=Path, default=RUNS / "results", help="files and results, kept between runs")
    add("--nets-folder", type=Path, default=RUNS / "nets", help="nets and samples, kept between runs")
    add("--venvs", type=Path, default=RUNS / "venvs", help="the tools' environments")
    add("--packages", type=Path, default=RUNS / "packages", help="PyPI packages that carry nets and pictures")
    add("--cifar", type=Path, default=RUNS / "cifar10.npz", help="an .npz with CIFAR-10 as x_test, y_test")
    add("--trained", type=Path, default=RUNS / "trained", help="a folder with resnet8.onnx, … trained on it")
    add("--quickstart", type=Path, default=Path("runs/quickstart"), help="the quickstart's run folder")
    add("--limit-seconds", type=float, default=600.0, help="a tool is ended after so long")
    add("--time-budget", type=float, default=300.0, help="edgekd's own")
    add("--rounds", type=int, default=40, help="blocks a file")
    add("--avx2-seconds", type=float, default=60.0, help="about the time of a file under valgrind; 0: none")
    add("--build-only", action="store_true", help="stop when every tool has run")
    return parser.parse_args()


def report(arguments: argparse.Namespace) -> None:
    """See `main`."""
    env = turns.start(arguments)
    if arguments.quick:
        arguments.rounds, arguments.avx2_seconds, arguments.time_budget = 2, 1.0, 1.0
    sources = nets.Sources(
        **{name: getattr(arguments, name) for name in ("cifar", "trained", "quickstart", "packages")}
    )
    found = {}
    for name in arguments.nets:
        net = nets.make(name, arguments.nets_folder.absolute(), sources)
        rows = compare(net, arguments)
        if not arguments.build_only:
            found[name] = [asdict(row) for row in rows]
            print(f"\n### {name}\n", table.table(rows), "\n".join(table.goals(rows)), sep="\n\n", flush=True)
    print(f"\nonnxruntime {env.packages.get('onnxruntime')}, {env.cpu_model}, {env.isa}; one thread; "
          f"load average {os.getloadavg()[0]:.1f} after the run")  # fmt: skip
    turns.keep(arguments.out, env, arguments, found)


def compare(net: nets.Net, arguments: argparse.Namespace) -> list[table.Row]:
    """All tools on one net; no rows with --build-only."""
    folder = arguments.folder.absolute()
    (folder / net.name).mkdir(parents=True, exist_ok=True)
    built = {"fp32": build.baseline(net)}
    for tool in arguments.tools:
        if tool in arguments.again:
            shutil.rmtree(folder / net.name / tool, ignore_errors=True)
        built[tool] = build.build(
            net,
            tool,
            folder,
            environments=arguments.venvs.absolute(),
            limit_seconds=arguments.limit_seconds,
            budget=arguments.time_budget,
        )
    if arguments.build_only:
        return []
    judged = judge.judge(net, built, folder, avx2_seconds=arguments.avx2_seconds)
    able = {name: one for name, one in built.items() if name in judged and judged[name].agreement is not None}
    return table.rows(built, judged, latencies(net, able, folder, rounds=arguments.rounds))


def latencies(net: nets.Net, built: Mapping[str, Built], folder: Path, *, rounds: int) -> dict[str, list[float]]:
    """Seconds of each file, by blocks; measured together, and again where one file is another."""
    files = {name: {"path": one.path, "session_config": one.session_config} for name, one in built.items()}
    key = {"sha256": {name: one.sha256 for name, one in built.items()}, "rounds": rounds}
    kept = folder / net.name / "latency.json"
    if kept.is_file():
        known = json.loads(kept.read_text(encoding="utf-8"))
        if known["key"] == key:
            return dict(known["seconds"])
    turns.say(f"{net.name}: timing {len(files)} files in turns")
    data = str(net.folder / "held_out.npz")
    answer = Child(module="peers.latency", specification={"files": files, "data": data, "rounds": rounds}).run()
    write_atomic(kept, json.dumps({"key": key, **answer}, indent=2))
    return dict(answer["seconds"])


if __name__ == "__main__":
    sys.exit(main())
