"""A profile as one self-contained page: where time goes, against the roofline, and what to change. No scripts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekd.errors import EnvironmentFault
from edgekd.files import write_atomic
from edgekd.report.template import fill
from edgekd.report.time_charts import kernel_ms, roofline_chart, time_by_operator
from edgekd.report.wording import DASH, fixed, milliseconds, percent, size

MOST_NODES = 40


def write_profile(found: Mapping[str, Any], path: Path) -> None:
    """Write the page of a profile, `edgekd.roofline.profile_file`'s document; its folder is made if missing.

    Raises:
        EnvironmentFault: jinja2 or matplotlib is not installed, or the file cannot be written.
    """
    page = render_profile(found)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, page)
    except OSError as err:
        raise EnvironmentFault(f"cannot write {path}: {err.strerror}; choose another file with --html") from err


def render_profile(found: Mapping[str, Any]) -> str:
    """The page as text. Every word of the profile is escaped; equal input gives equal text.

    Raises:
        EnvironmentFault: jinja2 or matplotlib is not installed.
    """
    return fill("profile.html", **_view(found))


def _view(found: Mapping[str, Any]) -> dict[str, Any]:
    side, base = found["file"], found["base_file"]
    sides = [*([(_name(found["base"]), base["by_op_type"])] if base else []), (found["name"], side["by_op_type"])]
    charts = [time_by_operator(sides, name="operators"), roofline_chart(found, name="roofline")]
    return {
        "found": found,
        "tiles": _tiles(found),
        "charts": [chart for chart in charts if chart],
        "advice": [
            (one["name"], one["op_type"], kernel_ms(one["at_most_ms"]), percent(one["share"]), one["why"])
            for one in found["worth_changing"]
        ],
        "nodes": [_node(node) for node in side["nodes"][:MOST_NODES]],
        "left": len(side["nodes"]) - MOST_NODES,
        "beside": [_beside(row) for row in found["beside"]],
        "machine": _machine(found),
        "peaks": _peaks(found["peaks"]),
    }


def _name(file: Mapping[str, Any]) -> str:
    return Path(file["path"]).stem


def _tiles(found: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(name, number, note) of what matters most."""
    side, base = found["file"], found["base_file"]
    kinds = side["kinds"]
    tiles = [
        ("One inference", milliseconds(side["inference_ms"]), f"kernels' sum {milliseconds(side['kernels_ms'])}"),
        ("In int8 kernels", percent(kinds.get("int8", 0.0)), f"of {len(side['nodes'])} kernels' time"),
        ("In fp32 kernels", percent(kinds.get("float", 0.0)), ""),
        ("Converting (Q/DQ)", percent(kinds.get("quantize", 0.0)), ""),
    ]
    if base:
        ratio = f"{base['kernels_ms'] / side['kernels_ms']:.2f}×" if side["kernels_ms"] else DASH
        note = f"kernels of {_name(found['base'])}: {milliseconds(base['kernels_ms'])}"
        tiles.insert(1, ("Faster than the base", ratio, note))
    return tiles


def _node(node: Mapping[str, Any]) -> tuple[str, ...]:
    macs = node["macs"]
    return (
        node["name"] or DASH,
        node["op_type"],
        node["kind"],
        ", ".join(node["inputs"][:1]) + " → " + ", ".join(node["outputs"][:1]),
        kernel_ms(node["ms"]),
        percent(node["share"]),
        DASH if macs is None else f"{fixed(macs / 1e6)} M",
        size(node["bytes"]),
        node["verdict"],
        percent(node["attained"], decimals=0),
    )


def _beside(row: Mapping[str, Any]) -> tuple[str, ...]:
    before, after = row["before_ms"], row["after_ms"]
    return (
        row["name"] or "(kernels of no node)",
        kernel_ms(before),
        kernel_ms(after),
        f"{before / after:.2f}×" if before and after else DASH,
        ", ".join(row["before_kernels"]) or "fused or gone",
        ", ".join(row["after_kernels"]) or "fused or gone",
    )


def _machine(found: Mapping[str, Any]) -> str:
    conditions, environment = found["conditions"], found["environment"]
    parts = [
        environment["cpu_model"],
        conditions["isa"],
        f"{conditions['threads']} of {conditions['threads_requested']} threads",
        conditions["provider"],
        f"ONNX Runtime {conditions['onnxruntime']}",
        f"{conditions['runs']} runs",
        f"inputs: {conditions['inputs']}",
    ]
    return ", ".join(parts)


def _peaks(peaks: Mapping[str, Any] | None) -> list[tuple[str, str, str]]:
    """(what, at best, how steady)."""
    if not peaks:
        return []
    rows = [
        (f"{kind} multiply-adds", f"{fixed(peaks[kind]['best'] / 1e9)} G/s", _steady(peaks[kind]))
        for kind in ("fp32", "int8")
    ]
    for one in peaks["bandwidths"]:
        words = size(one["working_set"])
        rows.append((f"bandwidth in {words}", f"{fixed(one['peak']['best'] / 1e9)} GB/s", _steady(one["peak"])))
    rows.append(
        ("an empty kernel", f"{fixed(peaks['launch_us'])} µs", f"{fixed(peaks['profiled_us'])} µs in the profile")
    )
    return rows


def _steady(peak: Mapping[str, Any]) -> str:
    return f"median {percent(peak['median'] / peak['best'], decimals=0)} of the best, {peak['runs']} runs"
