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
    size: Annotated[str, typer.Option(help="Size of images for the counts, HEIGHTxWIDTHxCHANNELS.")] = "32x32x3",
    window: Annotated[str, typer.Option(help="Size of sensor windows for the counts, LENGTHxCHANNELS.")] = "128x3",
    classes: Annotated[int, typer.Option(help="Number of classes.", min=2)] = 10,
    json_: JsonOption = False,
) -> int:
    """List the networks with parameters and multiply-accumulates."""
    from edgekd import models as networks

    shapes = {
        "image": (size, _shape("--size", size, "HEIGHTxWIDTHxCHANNELS", example="28x28x1")),
        "series": (window, _shape("--window", window, "LENGTHxCHANNELS", example="128x3")),
        "text": (f"{TOKENS} of {VOCABULARY:,} tokens", (VOCABULARY, TOKENS)),
    }
    rows = []
    for name, info in networks.MODELS.items():
        counted, shape = shapes[info.kinds[0]]
        sized = networks.describe(name, num_classes=classes, input_shape=shape)
        rows.append(
            asdict(sized)
            | {"family": info.family, "kinds": list(info.kinds), "input": counted}
            | {"scales": [asdict(scale) for scale in info.scales]}
        )
    if json_:
        console.print_json(rows)
        return 0
    console.table(
        ["model", "family", "takes", "parameters", "MACs", "at", "scaled by (fit-student)"],
        [
            [
                r["name"],
                r["family"],
                ", ".join(r["kinds"]),
                f"{r['parameters']:,}",
                f"{r['macs'] / 1e6:,.1f} M",
                r["input"],
                ", ".join(f"{s['option']} {s['values'][0]:g} to {s['values'][-1]:g}" for s in r["scales"]),
            ]
            for r in rows
        ],
    )
    return 0


TOKENS, VOCABULARY = 128, 8_000
"""Of the text that networks are counted with: what [data.text] takes without more."""


def _shape(option: str, text: str, expected: str, *, example: str) -> tuple[int, ...]:
    """Channels first, as networks take them."""
    try:
        *sizes, channels = (int(part) for part in text.lower().split("x"))
    except ValueError as err:
        raise BadInputError(f"{option} {text}: expected {expected}, for example {example}") from err
    if len(sizes) != expected.count("x") or min(*sizes, channels) < 1:
        raise BadInputError(f"{option} {text}: expected {expected}, for example {example}")
    return (channels, *sizes)


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
