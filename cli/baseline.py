"""`baseline save`, `compare` and `list`: earlier measurements as what new ones are judged against. No torch."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgekd.cli import console
from edgekd.cli.options import JsonOption, file, folder, parse_fraction
from edgekd.errors import BadInputError, EdgekdError

if TYPE_CHECKING:
    from edgekd.baseline import Store

baseline = typer.Typer(help="Keep measurements in a folder or on a git branch, and judge new ones against them.")

ResultArgument = Annotated[
    Path,
    typer.Argument(
        metavar="RESULT", help="What `edgekd latency --out` wrote, or the report.json of a run.", show_default=False
    ),
]
NameOption = Annotated[
    str | None, typer.Option(help="What it is kept under. Default: the document's own name.", show_default=False)
]
StoreOption = Annotated[
    Path | None,
    typer.Option("--store", parser=folder, metavar="<path>", help="A folder of baselines.", show_default=False),
]
BranchOption = Annotated[
    str | None, typer.Option(help="A git branch of baselines, such as edgekd-baselines.", show_default=False)
]
RepoOption = Annotated[Path, typer.Option(parser=folder, metavar="<path>", help="The repository of --branch.")]
RemoteOption = Annotated[
    str | None, typer.Option(help="The remote whose state of --branch counts, such as origin.", show_default=False)
]


@baseline.command()
def save(
    path: ResultArgument,
    name: NameOption = None,
    store: StoreOption = None,
    branch: BranchOption = None,
    repo: RepoOption = Path(),
    remote: RemoteOption = None,
    push: Annotated[bool, typer.Option("--push", help="Push --branch to --remote (origin), and nothing else.")] = False,
    json_: JsonOption = False,
) -> int:
    """Keep a measurement, whole, in place of the one before it."""
    from dataclasses import asdict

    from edgekd import baseline as baselines

    place = _store(store, branch, repo, remote, push=push)
    key, written = baselines.save(baselines.read(path), place, name=name)
    if json_:
        console.print_json({"name": key.name, "target": key.target, "metric": key.metric, **asdict(written)})
    else:
        how = "replaced" if written.replaced else "saved"
        at = f" ({written.commit[:12]}{', pushed' if written.pushed else ''})" if written.commit else ""
        console.say(f"{how}  {key}, in {written.place}{at}")
    return 0


@baseline.command()
def compare(
    path: ResultArgument,
    name: NameOption = None,
    store: StoreOption = None,
    branch: BranchOption = None,
    repo: RepoOption = Path(),
    remote: RemoteOption = None,
    max_regression: Annotated[
        str, typer.Option(help="How much slower the median, or how many more instructions, or bytes, may be.")
    ] = "5%",
    max_top1_drop: Annotated[
        str | None,
        typer.Option(help="Of a report.json: how much accuracy may be lost. Default: 1%.", show_default=False),
    ] = None,
    normalise: Annotated[
        bool,
        typer.Option("--normalise", help="Divide by the reference workload: another machine of the same ISA may do."),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            parser=file,
            metavar="<path>",
            help="Write the verdict here, as JSON for `edgekd ci`.",
            show_default=False,
        ),
    ] = None,
    json_: JsonOption = False,
) -> int:
    """Judge a measurement against the one that is kept: PASS, FAIL or INCONCLUSIVE."""
    from edgekd import baseline as baselines
    from edgekd import gate, result

    new = baselines.read(path)
    regression = parse_fraction(max_regression, "--max-regression")
    limits = {"max_regression": regression, "max_size_regression": regression}
    if max_top1_drop is not None:
        if new.metric != "report":
            raise BadInputError(f"--max-top1-drop is for a report.json, and {path} is a result; remove it")
        limits["max_top1_drop"] = parse_fraction(max_top1_drop, "--max-top1-drop")
    place = _store(store, branch, repo, remote)
    found = baselines.compare(new, place, name=name, limits=limits, normalise=normalise)
    unwritten: EdgekdError | None = None
    if out is not None:
        try:
            result.write(found, out)
        except EdgekdError as err:  # the verdict is shown anyway
            unwritten = err
    if json_:
        console.print_json(found)
    else:
        _show(found)
    if unwritten is not None:
        raise unwritten
    return int(gate.exit_code(found["gate"]["verdict"]))


@baseline.command("list")
def list_(
    store: StoreOption = None,
    branch: BranchOption = None,
    repo: RepoOption = Path(),
    remote: RemoteOption = None,
    json_: JsonOption = False,
) -> int:
    """List what is kept, and on which machine each was measured."""
    from edgekd import baseline as baselines

    place = _store(store, branch, repo, remote)
    entries = [baselines.entry(place, key) for key in place.listed()]
    if json_:
        console.print_json({"place": place.place, "entries": entries})
    elif not entries:
        console.say(f"{place.place} holds no baselines")
    else:
        columns = ("name", "target", "metric", "created", "cpu", "onnxruntime", "state")
        console.table(columns, [[str(found[column] or "–") for column in columns] for found in entries])
    return 0


def _store(store: Path | None, branch: str | None, repo: Path, remote: str | None, *, push: bool = False) -> "Store":
    from edgekd import baseline as baselines

    if (store is None) == (branch is None):
        raise BadInputError(
            f"{'neither --store nor --branch was' if store is None else 'both --store and --branch were'} given; "
            "expected one: --store FOLDER, or --branch edgekd-baselines"
        )
    if store is not None:
        if remote is not None or push:
            raise BadInputError("--remote and --push are for --branch, and --store was given; remove them")
        return baselines.FolderStore(folder=store)
    assert branch is not None
    return baselines.open_branch(branch, repo=repo, remote=remote, push=push)


def _show(found: dict[str, Any]) -> None:
    numbers, conditions = found["measured"], found["conditions"]
    rows = [
        [name, *(f"{numbers[key]:.3f} ms" for key in (f"{name}_ms", f"base_{name}_ms")), _ratio(numbers, name)]
        for name in ("p50", "p90")
        if numbers.get(f"{name}_ms") is not None
    ]
    if rows:
        console.table(["time", "new", "stored", "ratio, 95 % interval"], rows)
    console.say(f"baseline of {conditions['baseline_created']}, {conditions['baseline']}")
    console.measured(found)


def _ratio(numbers: dict[str, Any], name: str) -> str:
    high = numbers[f"ratio_{name}_high"]
    return f"{numbers[f'ratio_{name}']:.3f}x ({numbers[f'ratio_{name}_low']:.3f} to {f'{high:.3f}' if high else '∞'})"
