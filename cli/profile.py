"""`profile`: where the time of an inference goes, by operator, and how far each is from the roofline. No torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from edgekd.cli import console
from edgekd.cli.measure import BatchOption, MeasuredDataOption, ShapeOption, TimeoutOption
from edgekd.cli.options import JsonOption, ModelArgument, SessionOption, TargetOption, file, parse_shapes

MOST_NODES = 20


def profile(
    model: ModelArgument,
    target: TargetOption = "x86-1t",
    data: MeasuredDataOption = None,
    base: Annotated[
        Path | None, typer.Option(help="The fp32 file that MODEL was made from, side by side.", show_default=False)
    ] = None,
    shape: ShapeOption = None,
    batch_size: BatchOption = 1,
    session: SessionOption = None,
    runs: Annotated[int, typer.Option(min=1, help="Inferences that are profiled, after a short warm-up.")] = 50,
    measure_peaks: Annotated[
        bool, typer.Option("--measure-peaks", help="Measure this machine's peaks again; else they come from the cache.")
    ] = False,
    timeout: TimeoutOption = 60.0,
    html: Annotated[
        Path | None,
        typer.Option("--html", parser=file, metavar="<path>", help="Write charts and tables here.", show_default=False),
    ] = None,
    json_: JsonOption = False,
) -> int:
    """Where the time of an inference goes: by operator, int8 against fp32, and against this machine's roofline."""
    from edgekd import roofline
    from edgekd.report import check_packages, write_profile

    if html is not None:
        check_packages()
    with console.progress() as listener:
        found = roofline.profile_file(
            model,
            target=target,
            source=data,
            base=base,
            input_shapes=parse_shapes(shape),
            batch_size=batch_size,
            session=session,
            runs=runs,
            measure_again=measure_peaks,
            timeout_seconds=timeout,
            listener=listener,
        )
    if html is not None:
        write_profile(found, html)
    if json_:
        console.print_json(found)
        return 0
    _show(found)
    if html is not None:
        console.say(f"\nprofile  {html}")
    return 0


def _show(found: Mapping[str, Any]) -> None:
    for warning in found["conditions"]["warnings"]:
        console.warn(warning)
    console.table(["op type", "kind", "kernels", "time", "share"], _op_types(found["file"]))
    console.say("")
    console.table(
        ["node", "op type", "kind", "time", "share", "bound by", "of the roof", "multiply-adds", "bytes"],
        [_node(node) for node in found["file"]["nodes"][:MOST_NODES]],
    )
    left = len(found["file"]["nodes"]) - MOST_NODES
    if left > 0:
        console.say(f"and {left} more (--json lists all)")
    if found["beside"]:
        console.say("")
        _beside(found)
    if found["worth_changing"]:
        rows = [
            [str(rank), one["name"], one["op_type"], f"{one['at_most_ms']:.3f} ms", _percent(one["share"]), one["why"]]
            for rank, one in enumerate(found["worth_changing"], start=1)
        ]
        console.table(
            ["", "node", "op type", "at most", "of all", "why"],
            rows,
            title="\nWorth changing, by what it could save at most",
        )
    console.say("")
    console.say("\n".join(_conditions(found)))


def _op_types(side: Mapping[str, Any]) -> list[list[str]]:
    return [
        [row["op_type"], row["kind"], str(row["kernels"]), f"{row['ms']:.3f} ms", _percent(row["share"])]
        for row in side["by_op_type"]
    ]


def _node(node: Mapping[str, Any]) -> list[str]:
    return [
        node["name"],
        node["op_type"],
        node["kind"],
        f"{node['ms']:.3f} ms",
        _percent(node["share"]),
        node["verdict"],
        _percent(node["attained"]),
        _amount(node["macs"]),
        _amount(node["bytes"]),
    ]


def _beside(found: Mapping[str, Any]) -> None:
    rows = [
        [
            row["name"] or "(of no node)",
            _ms(row["before_ms"]),
            _ms(row["after_ms"]),
            f"{row['before_ms'] / row['after_ms']:.2f}x" if row["before_ms"] and row["after_ms"] else "–",
            f"{_words(row['before_kernels'])} → {_words(row['after_kernels'])}",
        ]
        for row in found["beside"]
    ]
    before, after = found["base_file"]["kernels_ms"], found["file"]["kernels_ms"]
    rows.append(["all kernels", _ms(before), _ms(after), f"{before / after:.2f}x" if after else "–", ""])
    console.table(["node of the base file", "base", "model", "speed", "kernels (fused: part of another)"], rows)


def _conditions(found: Mapping[str, Any]) -> list[str]:
    side, conditions, peaks = found["file"], found["conditions"], found["peaks"]
    lines = [
        side["sentence"],
        f"one inference takes {side['inference_ms']:.3f} ms without a profiler, the kernels' sum is "
        f"{side['kernels_ms']:.3f} ms",
        f"{conditions['isa']}, {conditions['threads']} thread(s), {conditions['provider']}, {conditions['runs']} runs, "
        f"inputs: {conditions['inputs']}, onnxruntime {conditions['onnxruntime']}",
    ]
    if peaks:
        lines.append(
            f"roofline of this machine: {peaks['fp32']['best'] / 1e9:.3g} fp32 and {peaks['int8']['best'] / 1e9:.3g} "
            f"int8 billion multiply-adds a second, {_range(peaks['bandwidths'])} GB/s; an empty kernel takes "
            f"{peaks['profiled_us']:.3g} us in the profile, {peaks['launch_us']:.2g} us without it"
        )
    return lines


def _range(bandwidths: Sequence[Mapping[str, Any]]) -> str:
    first, last = bandwidths[0], bandwidths[-1]
    return (
        f"{first['peak']['best'] / 1e9:.3g} (in {first['working_set'] >> 10} KiB) to {last['peak']['best'] / 1e9:.3g} "
        f"(in {last['working_set'] >> 20} MiB)"
    )


def _words(names: Sequence[str]) -> str:
    return ", ".join(names) or "fused"


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f} ms"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _amount(value: float | None) -> str:
    """1,234,567 as 1.23 M; a dash for what is unknown or not there."""
    if value is None:
        return "–"
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value:.0f}"
