"""`tune`: the session options that are fastest on this machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgekd.cli import console
from edgekd.cli.measure import TimeoutOption
from edgekd.cli.options import (
    DATA_HELP,
    JsonOption,
    ModelArgument,
    SessionConfigOption,
    TargetOption,
    entries,
    file,
    parse_shapes,
)

if TYPE_CHECKING:
    from edgekd.tune import Trial, Tuned


def tune(
    model: ModelArgument,
    target: TargetOption = "x86-1t",
    data: Annotated[
        Path | None,
        typer.Option("--data", "-d", help=f"{DATA_HELP} Default: random numbers.", show_default=False),
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(
            "--shape",
            help="The whole shape of an input whose sizes the file leaves open, e.g. x=1,3,224,224. Repeatable.",
            show_default=False,
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples an inference.")] = 1,
    threads: Annotated[
        int | None,
        typer.Option(
            help="Try up to so many threads. Default: the target's, which the device has.", show_default=False
        ),
    ] = None,
    session_config: SessionConfigOption = None,
    max_seconds: Annotated[float, typer.Option(min=1.0, help="Seconds for all of it.")] = 60.0,
    timeout: TimeoutOption = 60.0,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            parser=file,
            metavar="<path>",
            help="Write the best options there, for --session of validate, compare, latency and bundle.",
            show_default=False,
        ),
    ] = None,
    json_: JsonOption = False,
) -> int:
    """Sweep threads, spinning, execution mode, graph level and memory options for the fastest, and prove its gain.

    What changes the outputs is refused. Exit code 0 too where nothing beats the target's own options.
    """
    from edgekd import targets
    from edgekd import tune as tuning
    from edgekd.alone import alone
    from edgekd.bundle.manifest import to_json

    with alone() as disturbed, console.progress() as listener:
        if disturbed:
            console.warn(disturbed)
        tuned = tuning.tune(
            model,
            targets.load(target),
            source=data,
            shapes=parse_shapes(shape),
            batch_size=batch_size,
            threads=threads,
            session_config=entries(session_config),
            max_seconds=max_seconds,
            timeout_seconds=timeout,
            listener=listener,
        )
    if out is not None:
        _write(out, to_json(tuned.session))
    for warning in tuned.warnings:
        console.warn(warning)
    if json_:
        console.print_json(tuned.as_dict() | {"disturbed": disturbed})
    else:
        _show(tuned, out)
    return 0


def _write(out: Path, text: str) -> None:
    from edgekd.errors import EnvironmentFault
    from edgekd.files import write_atomic

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(out, text)
    except OSError as err:
        raise EnvironmentFault(f"cannot write {out}: {err.strerror}; choose another place with --out") from err


def _show(tuned: "Tuned", out: Path | None) -> None:
    own = ["the target's own", "1.000", "", _number(tuned.own_p50_ms), _number(tuned.own_cpu_ms), ""]
    rows = [own, *(_row(trial) for trial in tuned.trials)]
    console.table(["options", "ratio", "95 % interval", "p50 ms", "CPU ms", ""], rows)
    console.stdout.print()
    if tuned.better:
        console.say(
            f"best    {_words(tuned.changes)}: {tuned.ratio:.3f} of the target's own time "
            f"({tuned.low:.3f} to {tuned.high:.3f}), {_number(tuned.best_p50_ms)} against "
            f"{_number(tuned.own_p50_ms)} ms, CPU {_number(tuned.best_cpu_ms)} against {_number(tuned.own_cpu_ms)} ms "
            "an inference"
        )
    else:
        console.say("best    nothing beats the target's own options")
        if tuned.ratio is not None:
            console.say(
                f"        {_words(tuned.tried)} came out at {tuned.ratio:.3f} ({tuned.low:.3f} to {tuned.high:.3f}) "
                "of their time in fresh processes"
            )
    if out is not None:
        console.say(f"session {out}")


def _row(trial: "Trial") -> list[str]:
    interval = "" if trial.low is None or trial.high is None else f"{trial.low:.3f} to {trial.high:.3f}"
    said = trial.verdict + (f": {trial.note}" if trial.note else "")
    ratio = "–" if trial.ratio is None else f"{trial.ratio:.3f}"
    return [trial.name, ratio, interval, _number(trial.p50_ms), _number(trial.cpu_ms), said]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _words(changes: Any) -> str:
    return ", ".join(f"{name} = {value}" for name, value in changes.items())
