"""Registers the commands, and turns errors into messages and exit codes. Imports nothing heavy."""

import errno
import io
import os
import signal
import sys
import traceback
from types import FrameType
from typing import Annotated

import typer

from edgekd import __version__
from edgekd.cli import baseline, cache, ci, files, fit, info, init, language, measure, profile, run, study, tune
from edgekd.errors import EdgekdError, ExitCode, Interrupted

app = typer.Typer(
    name="edgekd",
    help="Distill a small student, export it to ONNX, quantize it, prove it on the target's runtime, and answer with "
    "an exit code.",
    epilog="Exit codes: 0 pass, 1 gate failed, 2 bad input, 3 inconclusive, 4 environment, 130 interrupted, 70 bug.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"edgekd {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(ExitCode.BAD_INPUT)


app.command()(run.run)
app.command()(run.distill)
app.command()(run.export)
app.command()(study.study)
app.command()(language.language)
app.command()(files.quantize)
app.command()(files.validate)
app.command()(measure.compare)
app.command()(measure.latency)
app.command()(profile.profile)
app.command()(tune.tune)
app.command()(fit.fit_student)
app.command()(files.gate)
app.command()(files.bundle)
app.command()(files.verify)
app.add_typer(info.targets, name="targets")
app.command()(info.models)
app.command()(info.doctor)
app.add_typer(baseline.baseline, name="baseline")
app.command()(ci.ci)
app.command()(cache.cache)
app.command()(init.init)

DISK_ERRORS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "no permission",
    errno.EPERM: "no permission",
}


def main() -> None:
    """The entry point: run a command, and exit with what it answers."""
    from edgekd.machine import share_cores

    share_cores()
    signal.signal(signal.SIGTERM, _interrupt)
    for stream in (sys.stdout, sys.stderr):  # an ASCII or Latin-1 terminal must not turn a verdict into a crash
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    told = False
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except typer.Exit as stop:
        code = stop.exit_code  # typer makes 130 of Ctrl-C
    except (KeyboardInterrupt, typer.Abort):
        code = ExitCode.INTERRUPTED
    except EdgekdError as err:
        told = isinstance(err, Interrupted)  # it says itself what is kept
        print(err if told else f"error: {err}", file=sys.stderr)
        code = err.exit_code
    except SystemExit:  # how typer and rich answer a closed pipe, with 1
        code = _nobody_reads()
    except OSError as err:
        code = _os_error(err)
    except ModuleNotFoundError as err:
        code = _missing_package(err)
    except MemoryError:
        print("error: out of memory; give the process more, or lower the batch size", file=sys.stderr)
        code = ExitCode.ENVIRONMENT
    except typer.TyperException as err:
        print(f"error: {err.format_message().removesuffix('.')}; see `edgekd --help`", file=sys.stderr)
        code = ExitCode.BAD_INPUT
    except Exception:  # noqa: BLE001  the last resort: a bug of ours, told apart from every verdict by its exit code
        traceback.print_exc()
        code = ExitCode.INTERNAL
    if code == ExitCode.INTERRUPTED and not told:
        print("interrupted; what is finished is kept, and the same command goes on from there", file=sys.stderr)
    sys.exit(int(code or 0))


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _os_error(err: OSError) -> int:
    """A full or read-only disk is the machine's fault; any other OSError is a bug of ours, with its traceback."""
    if isinstance(err, BrokenPipeError):
        return _nobody_reads()
    if err.errno is None:  # of our own making, where torch or safetensors lose the number
        why = f"{err}; is the disk full?"
    elif err.errno in DISK_ERRORS:
        why = DISK_ERRORS[err.errno] + (f" at {err.filename}" if err.filename else "")
    else:
        traceback.print_exception(err)
        return ExitCode.INTERNAL
    print(f"error: {why}; free space, or choose another folder with --out", file=sys.stderr)
    _drop_output()
    return ExitCode.ENVIRONMENT


def _nobody_reads() -> int:
    """The reader of stdout has left, as in `edgekd … | head`: no verdict was told, so this is no verdict's code."""
    print("error: whoever read the output has closed it", file=sys.stderr)
    _drop_output()
    return ExitCode.ENVIRONMENT


def _drop_output() -> None:
    """Forget what cannot be written to stdout: Python would try again at exit, and exit with 120."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _missing_package(err: ModuleNotFoundError) -> int:
    """A package of an extra that is not installed is the machine's fault; a module of ours is a bug of ours."""
    package = (err.name or "").partition(".")[0]
    if package in ("", "edgekd"):
        traceback.print_exception(err)
        return ExitCode.INTERNAL
    print(f'error: {package} is not installed; pip install "edgekd[train]"', file=sys.stderr)
    return ExitCode.ENVIRONMENT
