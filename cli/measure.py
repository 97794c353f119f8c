"""`compare` and `latency`: verdicts on measured files, for a shell or for CI. No torch."""

import secrets
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from edgekd.cli import console
from edgekd.cli.limits import parse_limits
from edgekd.cli.options import (
    DATA_HELP,
    DataSetOption,
    JsonOption,
    ModelArgument,
    TargetOption,
    file,
    parse_fraction,
    parse_shapes,
    reading_of,
)
from edgekd.errors import BadInputError, EdgekdError


class Metric(StrEnum):
    """What is compared: time on this machine, or instructions, which do not depend on what else it does."""

    time = "time"
    instructions = "instructions"


MeasuredDataOption = Annotated[
    Path | None,
    typer.Option("--data", "-d", help=f"{DATA_HELP} Without it: random numbers, stamped so.", show_default=False),
]
BatchOption = Annotated[int, typer.Option(min=1, help="Samples an inference.")]
ShapeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--shape",
        help="An input's whole shape where the file leaves sizes open, e.g. --shape x=1,3,224,224. Repeatable.",
        show_default=False,
    ),
]
MaxSecondsOption = Annotated[
    float, typer.Option(min=1.0, max=86_400.0, help="What is not clear by then is INCONCLUSIVE (exit code 3).")
]
TimeoutOption = Annotated[
    float, typer.Option(min=0.1, max=86_400.0, help="Seconds for one inference; then the process is ended.")
]
SessionOption = Annotated[
    Path | None,
    typer.Option("--session", help="A session.json, of a bundle or from `edgekd tune`.", show_default=False),
]
ResultOption = Annotated[
    Path | None,
    typer.Option("--out", "-o", parser=file, metavar="<path>", help="Write the result here, as JSON with all samples "
                 "(for `edgekd ci`, `gate`, `baseline`).", show_default=False),
]  # fmt: skip
SeedOption = Annotated[
    int | None,
    typer.Option(help="Of the coin that says which file begins a cycle. Default: random.", show_default=False),
]


def compare(
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The .onnx file to judge.", show_default=False)],
    base: Annotated[
        Path, typer.Argument(metavar="BASE", help="The .onnx file it is compared with.", show_default=False)
    ],
    target: TargetOption = "x86-1t",
    data: MeasuredDataOption = None,
    overrides: DataSetOption = None,
    max_regression: Annotated[
        str, typer.Option(help="How much slower the median may be, e.g. 5%. Negative: how much faster it must be.")
    ] = "5%",
    max_p90_regression: Annotated[
        str | None, typer.Option(help="The same for the 90th percentile.", show_default=False)
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            help="A limit of accuracy against BASE, on labelled --data, e.g. --limit max_top1_drop=0.01. Repeatable.",
            show_default=False,
        ),
    ] = None,
    metric: Annotated[
        Metric, typer.Option(help="Time on this machine, or instructions by valgrind or perf.")
    ] = Metric.time,
    max_seconds: MaxSecondsOption = 60.0,
    batch_size: BatchOption = 1,
    shape: ShapeOption = None,
    isolate: Annotated[bool, typer.Option("--isolate", help="A process for each file, not one for both.")] = False,
    timeout: TimeoutOption = 60.0,
    session: SessionOption = None,
    seed: SeedOption = None,
    out: ResultOption = None,
    json_: JsonOption = False,
) -> int:
    """Is NEW slower than BASE? Times both in turns until the answer is clear; PASS, FAIL or INCONCLUSIVE."""
    from edgekd import verdicts

    limits = {"max_regression": parse_fraction(max_regression, "--max-regression")}
    if max_p90_regression is not None:
        limits["max_p90_regression"] = parse_fraction(max_p90_regression, "--max-p90-regression")
    limits |= _accuracy(limit)
    how = verdicts.How(
        source=data,
        reading=reading_of(data, overrides),
        batch_size=batch_size,
        shapes=parse_shapes(shape),
        max_seconds=max_seconds,
        timeout_seconds=timeout,
        isolate=isolate,
        seed=secrets.randbits(32) if seed is None else seed,
        session=session,
    )
    with console.progress() as listener:
        if metric is Metric.time:
            found = verdicts.compare_times(new, base, target=target, limits=limits, how=how, listener=listener)
        else:
            if max_p90_regression is not None or isolate:
                raise BadInputError(
                    "--metric instructions counts each file in a process of its own and knows no percentiles; remove "
                    "--max-p90-regression and --isolate"
                )
            found = verdicts.compare_instructions(new, base, target=target, limits=limits, how=how, listener=listener)
    return _answer(found, out, json_)


def latency(
    model: ModelArgument,
    target: TargetOption = "x86-1t",
    data: MeasuredDataOption = None,
    overrides: DataSetOption = None,
    max_p50_ms: Annotated[float | None, typer.Option(help="Limit of the median.", show_default=False)] = None,
    max_p90_ms: Annotated[float | None, typer.Option(help="Limit of the 90th percentile.", show_default=False)] = None,
    max_p99_ms: Annotated[float | None, typer.Option(help="Limit of the 99th percentile.", show_default=False)] = None,
    max_instructions: Annotated[
        float | None, typer.Option(help="With --metric instructions: limit of one inference.", show_default=False)
    ] = None,
    metric: Annotated[
        Metric, typer.Option(help="Time on this machine, or instructions by valgrind or perf.")
    ] = Metric.time,
    normalise: Annotated[
        Path | None,
        typer.Option(
            help="A result of another machine: times count as they would there, by the reference workload's.",
            show_default=False,
        ),
    ] = None,
    max_seconds: MaxSecondsOption = 60.0,
    min_seconds: Annotated[
        float,
        typer.Option(
            min=0.0, max=86_400.0, help="Measured even where it is clear before: the result may become a baseline."
        ),
    ] = 3.0,
    batch_size: BatchOption = 1,
    shape: ShapeOption = None,
    isolate: Annotated[bool, typer.Option("--isolate", help="The reference workload in a process of its own.")] = False,
    timeout: TimeoutOption = 60.0,
    session: SessionOption = None,
    seed: SeedOption = None,
    out: ResultOption = None,
    json_: JsonOption = False,
) -> int:
    """Is a file fast enough? Judges percentiles against limits in ms: the target's, where you give none."""
    from edgekd import verdicts

    given = {"max_p50_ms": max_p50_ms, "max_p90_ms": max_p90_ms, "max_p99_ms": max_p99_ms}
    limits = {name: limit for name, limit in given.items() if limit is not None}
    for name, limit in limits.items():
        _positive(name, limit, "milliseconds")
    if max_instructions is not None:
        _positive("max_instructions", max_instructions, "a number")
    if min_seconds > max_seconds:
        raise BadInputError(
            f"--min-seconds {min_seconds:g} is more than --max-seconds {max_seconds:g}; lower one or raise the other"
        )
    if (metric is Metric.time) == (max_instructions is not None) or (metric is Metric.instructions and limits):
        raise BadInputError(
            "a limit does not fit the metric: --metric time takes --max-p50-ms, --max-p90-ms and --max-p99-ms, "
            "--metric instructions needs --max-instructions"
        )
    how = verdicts.How(
        source=data,
        reading=reading_of(data, overrides),
        batch_size=batch_size,
        shapes=parse_shapes(shape),
        max_seconds=max_seconds,
        min_seconds=min_seconds,
        timeout_seconds=timeout,
        isolate=isolate,
        seed=secrets.randbits(32) if seed is None else seed,
        session=session,
    )
    with console.progress() as listener:
        if metric is Metric.time:
            found = verdicts.time_file(
                model, target=target, limits=limits, how=how, normalise=normalise, listener=listener
            )
        else:
            if normalise is not None:
                raise BadInputError("--normalise is for times; instructions need none: remove one of the two")
            found = verdicts.count_file(
                model, target=target, limits={"max_instructions": max_instructions}, how=how, listener=listener
            )
    return _answer(found, out, json_)


def _positive(name: str, limit: float, what: str) -> None:
    if not 0 < limit < float("inf"):
        raise BadInputError(f"--{name.replace('_', '-')} {limit:g}: expected {what} above 0")


def _accuracy(texts: list[str] | None) -> dict[str, float]:
    """Limits of accuracy alone; those of time have options of their own."""
    from edgekd.versus import is_accuracy

    limits = parse_limits(texts)
    for name in limits:
        if not is_accuracy(name):
            raise BadInputError(
                f"--limit {name}: is no limit of accuracy; how much slower NEW may be says --max-regression, absolute "
                "limits are for `edgekd latency` and `edgekd validate`"
            )
    return limits


def _answer(found: dict[str, Any], out: Path | None, as_json: bool) -> int:
    """Write the result where it is wanted, show it, and give its exit code. What cannot be written is shown anyway."""
    from edgekd import gate, result

    unwritten: EdgekdError | None = None
    if out is not None:
        try:
            result.write(found, out)
        except EdgekdError as err:
            unwritten = err
    if as_json:
        console.print_json(found)
    else:
        console.measured(found)
    if unwritten is not None:
        raise unwritten
    return int(gate.exit_code(found["gate"]["verdict"]))
