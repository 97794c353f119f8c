"""`targets`, `models`, `doctor`: what edgekd and this machine offer."""

from dataclasses import asdict
from typing import Annotated

import typer

from edgekd.cli import console
from edgekd.cli.options import JsonOption
from edgekd.errors import BadInputError, ExitCode

targets = typer.Typer(help="List the device profiles, or show one.", invoke_without_command=True)


@targets.callback()
def list_targets(context: typer.Context, json_: JsonOption = False) -> None:
    """List the device profiles, or show one."""
    if context.invoked_subcommand is not None:
        return
    from edgekd import targets as profiles

    loaded = [profiles.load(name) for name in profiles.names()]
    if json_:
        console.print_json([target.model_dump(mode="json") for target in loaded])
        return
    rows = [
        [t.name, t.title, t.provider.removesuffix("ExecutionProvider"), str(t.threads), t.preferred] for t in loaded
    ]
    console.table(["target", "device", "provider", "threads", "expected winner"], rows)


@targets.command("show")
def show_target(
    name: Annotated[str, typer.Argument(help="A name from `edgekd targets`, or a .toml path.")],
    json_: JsonOption = False,
) -> None:
    """Show one profile: a file to copy for your own device."""
    from edgekd import targets as profiles

    target = profiles.load(name)
    if json_:
        console.print_json(target.model_dump(mode="json"))
    else:
        print(profiles.dump(target), end="")


def models(
    size: Annotated[str, typer.Option(help="Input size for the counts, HEIGHTxWIDTHxCHANNELS.")] = "32x32x3",
    classes: Annotated[int, typer.Option(help="Number of classes.", min=2)] = 10,
    json_: JsonOption = False,
) -> int:
    """List the networks with parameters and multiply-accumulates."""
    from edgekd import models as networks

    try:
        height, width, channels = (int(part) for part in size.lower().split("x"))
    except ValueError as err:
        raise BadInputError(f"--size {size}: expected HEIGHTxWIDTHxCHANNELS, for example 28x28x1") from err
    described = [
        networks.describe(name, num_classes=classes, input_shape=(channels, height, width)) for name in networks.MODELS
    ]
    if json_:
        console.print_json([asdict(d) for d in described])
        return 0
    rows = [[d.name, networks.MODELS[d.name].family, f"{d.parameters:,}", f"{d.macs / 1e6:,.1f} M"] for d in described]
    console.table(["model", "family", "parameters", f"MACs at {size}"], rows)
    return 0


def doctor(json_: JsonOption = False) -> int:
    """Look at Python, packages, providers, CPU and cores, and name each fault with its fix."""
    from edgekd import environment

    found = environment.describe(probe=True)
    faults = environment.faults(found)
    if json_:
        console.print_json(found.as_dict() | {"faults": [asdict(fault) for fault in faults]})
    else:
        _print_environment(found.as_dict())
        for fault in faults:
            console.say(f"{fault.severity}: {fault.name}: {fault.found}; fix: {fault.fix}")
        if not faults:
            console.say("no faults found")
    errors = any(fault.severity == "error" for fault in faults)
    return int(ExitCode.ENVIRONMENT if errors else ExitCode.PASS)


def _print_environment(values: dict[str, object]) -> None:
    rows = []
    for name, value in values.items():
        if isinstance(value, dict):
            text = ", ".join(f"{key} {item}" for key, item in value.items())
        elif isinstance(value, list | tuple):
            text = ", ".join(str(item) for item in value)
        else:
            text = "–" if value is None else str(value)
        rows.append([name.replace("_", " "), text])
    console.table(["", ""], rows)
