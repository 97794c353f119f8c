"""Registers the commands, and turns errors into messages and exit codes. Imports nothing heavy."""

import errno
import os
import signal
import sys
import traceback
from types import FrameType
from typing import Annotated

import typer
from edgekd.cli import files, info, init, run

from edgekd import __version__
from edgekd.errors import EdgekdError, ExitCode

app = typer.Typer(
    name="edgekd",
    help="Distill a small student, export it to ONNX, quantize it, prove it on the target's runtime, and answer with an "
    "exit code.",
    epilog="Exit codes: 0 pass, 1 gate failed, 2 bad input, 3 inconclusive, 4 environment, 130 interrupted, 70 bug.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"edgekd {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command()(run.run)
app.command()(run.distill)
app.command()(run.export)
app.command()(files.quantize)
app.command()(files.validate)
app.command()(files.gate)
app.command()(files.bundle)
app.command()(files.verify)
app.add_typer(info.targets, name="targets")
app.command()(info.models)
app.command()(info.doctor)
app.command()(init.init)

DISK_ERRORS = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up", errno.EROFS: "read-only"}


def main() -> None:
    """The entry point: run a command, and exit with what it answers."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = app(standalone_mode=False)
    except typer.Exit as stop:
        code = stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted; what is finished is kept, and the same command goes on from there", file=sys.stderr)
        code = ExitCode.INTERRUPTED
    except EdgekdError as err:
        print(f"error: {err}", file=sys.stderr)
        code = err.exit_code
    except OSError as err:
        code = _os_error(err)
    except typer.TyperException as err:
        print(f"error: {err.format_message()}; see `edgekd --help`", file=sys.stderr)
        code = ExitCode.BAD_INPUT
    except Exception:  # noqa: BLE001  the last resort: a bug of ours, told apart from every verdict by its exit code
        traceback.print_exc()
        code = ExitCode.INTERNAL
    sys.stdout.flush()
    sys.exit(int(code or 0))


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _os_error(err: OSError) -> int:
    """A full or read-only disk is the machine's fault; any other OSError is a bug of ours, with its traceback."""
    if isinstance(err, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has left: `edgekd … | head`
        return ExitCode.PASS
    if err.errno not in DISK_ERRORS and not isinstance(err, PermissionError) and "No space left" not in str(err):
        traceback.print_exception(err)
        return ExitCode.INTERNAL
    where = f" at {err.filename}" if err.filename else ""
    what = DISK_ERRORS.get(err.errno or 0, "no permission" if isinstance(err, PermissionError) else "the disk is full")
    print(f"error: cannot write{where}: {what}; free space or choose another folder with --out", file=sys.stderr)
    return ExitCode.ENVIRONMENT
