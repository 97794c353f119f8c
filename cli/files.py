"""`quantize`, `validate`, `gate`, `bundle`, `verify`: what works on plain files, without torch."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from edgekd.cli import console
from edgekd.cli.limits import LimitOption, parse_limits, parse_numbers
from edgekd.cli.options import (
    DATA_HELP,
    DataOption,
    DataSetOption,
    JsonOption,
    ModelArgument,
    SessionConfigOption,
    SessionOption,
    TargetOption,
    entries,
    folder,
    parse_bytes,
    reading_of,
)
from edgekd.errors import BadInputError, ExitCode


class Saturation(StrEnum):
    """As `edgekd.quantize.scheme` has them."""

    safe = "safe"
    seven_bits = "7bit"
    unsigned = "u8u8"
    session_key = "session-key"
    refuse = "refuse"


class Isa(StrEnum):
    """Instruction sets that valgrind can stand in for."""

    avx2 = "avx2"


RoundsOption = Annotated[int, typer.Option(min=1, help="Fresh processes a file, in turns with the others'.")]
SecondsOption = Annotated[float, typer.Option(min=0.0, help="Seconds of timed inferences a round.")]
MinSamplesOption = Annotated[
    int, typer.Option(min=10, help="At least so many inferences a round; 3 x 350 allow a p99.")
]


def quantize(
    model: ModelArgument,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", parser=folder, metavar="<path>", help="Folder for variants, report and bundle."),
    ],
    data: Annotated[Path | None, typer.Option("--data", "-d", help=DATA_HELP, show_default=False)] = None,
    overrides: DataSetOption = None,
    target: TargetOption = "x86-1t",
    limit: LimitOption = None,
    calibration_samples: Annotated[int, typer.Option(help="Samples for calibration, at most half of the data.")] = 500,
    time_budget: Annotated[float, typer.Option(min=0.0, help="Seconds for the search; the best so far is kept.")] = 300,
    max_memory: Annotated[
        str | None, typer.Option(help="Memory for calibration, e.g. 500MB or 2GB.", show_default=False)
    ] = None,
    portable: Annotated[bool, typer.Option(help="Only files that compute the same on x86 CPUs without VNNI.")] = True,
    saturation: Annotated[
        Saturation | None,
        typer.Option(
            help="What is done to a layer whose 16-bit sums can saturate there. Default: safe.", show_default=False
        ),
    ] = None,
    allow_random_calibration: Annotated[
        bool, typer.Option("--allow-random-calibration", help="Without --data: random numbers, stamped in the report.")
    ] = False,
    rounds: RoundsOption = 3,
    seconds: SecondsOption = 1.0,
    min_samples: MinSamplesOption = 350,
    json_: JsonOption = False,
) -> int:
    """Find the best int8 file of an ONNX network by measuring, and ship it if it holds its accuracy."""
    from edgekd import prepare
    from edgekd.compete import Timing

    if (data is None) != allow_random_calibration:
        raise BadInputError(
            "--data is missing; expected real samples to calibrate and evaluate on (or, knowing that nothing is then "
            "known of real inputs, --allow-random-calibration)"
            if data is None
            else "--data and --allow-random-calibration contradict each other; remove one"
        )
    if saturation is not None and not portable:
        raise BadInputError(
            f"--saturation {saturation.value} is what makes a file portable, and --no-portable was given; remove one"
        )
    with console.timing() as listener:
        report, code = prepare.quantize_file(
            model,
            source=data,
            reading=reading_of(data, overrides),
            target=target,
            folder=out,
            limits=parse_limits(limit),
            calibration_samples=calibration_samples,
            chosen=prepare.Search(
                budget_seconds=time_budget,
                max_memory_bytes=None if max_memory is None else parse_bytes(max_memory),
                portable=portable,
                saturation=(saturation or Saturation.safe).value,
            ),
            timing=Timing(rounds=rounds, seconds=seconds, min_samples=min_samples),
            listener=listener,
        )
    _show(report, json_)
    if not json_:
        console.say(f"report  {out / 'report.html'}")
        console.bundle_line(out / "bundle", report["gate"])
    return int(code)


def validate(
    model: ModelArgument,
    data: DataOption,
    overrides: DataSetOption = None,
    target: TargetOption = "x86-1t",
    baseline: Annotated[Path | None, typer.Option(help="An fp32 file to compare with.", show_default=False)] = None,
    limit: LimitOption = None,
    isa: Annotated[
        Isa | None,
        typer.Option(help="Also run it under valgrind, as this CPU would, and compare.", show_default=False),
    ] = None,
    session: SessionOption = None,
    session_config: SessionConfigOption = None,
    isa_samples: Annotated[int, typer.Option(min=1, help="Samples for --isa; valgrind is slow.")] = 200,
    rounds: RoundsOption = 3,
    seconds: SecondsOption = 1.0,
    min_samples: MinSamplesOption = 350,
    json_: JsonOption = False,
) -> int:
    """Measure accuracy and latency of an ONNX file, and judge it against the target's budgets and --limit."""
    from edgekd import prepare
    from edgekd.compete import Timing

    with console.timing() as listener:
        report, code = prepare.validate_file(
            model,
            source=data,
            reading=reading_of(data, overrides),
            target=target,
            baseline=baseline,
            limits=parse_limits(limit),
            isa_samples=isa_samples if isa else None,
            session_config=entries(session_config),
            session_file=session,
            timing=Timing(rounds=rounds, seconds=seconds, min_samples=min_samples),
            listener=listener,
        )
    _show(report, json_)
    if isa and not json_:
        console.portability_line(report)
    return int(code)


def gate(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="REPORT", help="A report.json, or a result of `latency` or `compare`.", show_default=False
        ),
    ],
    limit: LimitOption = None,
    model: Annotated[
        Path | None,
        typer.Option(help="Refuse a report that is of another file than this .onnx.", show_default=False),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("--target", "-t", help="Refuse a report that is of another target.", show_default=False),
    ] = None,
    json_: JsonOption = False,
) -> int:
    """Judge a report again, from its raw samples, against its own limits or others."""
    from dataclasses import asdict

    from edgekd import gate as gates
    from edgekd import report as reports
    from edgekd import result, strict_json, targets
    from edgekd.language import rejudge as language

    wanted = None if target is None else targets.load(target).model_dump(mode="json")
    document = strict_json.read_object(path, what="report", expected=reports.EXPECTED)
    if result.is_result(document):
        from edgekd import rejudge

        found = result.checked(document, path)
        verdict = rejudge.rejudge(found, limits=parse_numbers(limit))
        result.belongs(found, model=model, target=wanted)
    elif language.is_language(document):
        found = language.checked(document, path)
        verdict = language.rejudge(found, limits=parse_numbers(limit))
        gates.check_belongs(found, model=model, target=wanted)
    else:
        found = reports.checked(document, path)
        verdict = gates.rejudge(found, limits=parse_limits(limit))
        gates.check_belongs(found, model=model, target=wanted)
    judged = asdict(verdict) | {"variant": found["gate"]["variant"]}
    if json_:
        console.print_json(judged)
    else:
        console.verdict_table(judged, found["target"])
    return int(gates.exit_code(verdict.verdict))


def bundle(
    run: Annotated[Path, typer.Argument(help="A run folder, as `edgekd run` left it.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", parser=folder, metavar="<path>", help="The bundle's folder.")],
    variant: Annotated[
        str | None, typer.Option(help="Another variant than the one that won.", show_default=False)
    ] = None,
    session: Annotated[
        Path | None,
        typer.Option(help="A session.json that `edgekd tune` wrote for this variant's file.", show_default=False),
    ] = None,
) -> int:
    """Make the folder to ship from a finished run, of the winner or of another variant."""
    from edgekd import rebundle

    made = rebundle.rebundle(run, out=out, variant=variant, tuned=session)
    console.say(f"bundle  {out} ({made.variant})")
    return 0


def verify(
    path: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle's folder.", show_default=False)],
    infer: Annotated[
        bool, typer.Option("--infer/--no-infer", help="Run the bundle's infer.py on its sample files; it is code.")
    ] = True,
    json_: JsonOption = False,
) -> int:
    """Check a bundle's hashes, its outputs, and what its infer.py makes of its sample files, on this machine."""
    from dataclasses import asdict

    from edgekd import bundle as bundles

    verified = bundles.verify(path, run_infer=infer)
    if json_:
        console.print_json(asdict(verified))
    else:
        words = {True: "pass", False: "fail", None: "inconclusive"}
        rows = [(check.name, words[check.passed], check.detail) for check in verified.checks]
        console.table(["check", "verdict", "detail"], rows)
        console.say(f"\n{words[verified.passed].upper()} {path}")
    codes = {True: ExitCode.PASS, False: ExitCode.GATE_FAILED, None: ExitCode.INCONCLUSIVE}
    return int(codes[verified.passed])


def _show(report: dict[str, Any], as_json: bool) -> None:
    if as_json:
        console.print_json(report)
        return
    console.stderr.print(f"evaluated on {report['data']['evaluated']}", markup=False, highlight=False)
    for warning in (report["search"] or {}).get("warnings", ()):
        console.warn(warning)
    console.variants_table(report)
    console.stdout.print()
    console.verdict_table(report["gate"], report["target"])
