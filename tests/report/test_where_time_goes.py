"""The section on where time goes, and the page of a profile."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest

from edgekd import report as reports
from edgekd.report.html import render
from edgekd.report.profile import render_profile, write_profile
from edgekd.report.time_charts import LONGEST_NAME, family, roofline_chart, shortened, time_by_operator
from edgekd.report.where_time_goes import where_time_goes

from .page import Page
from .sample import SHIPPED, build
from .sample_facts import environment, kernels

HOSTILE = "</svg><script>alert('&')</script>"


def without_times(report: dict[str, Any]) -> dict[str, Any]:
    """As an older edgekd wrote it."""
    for variant in report["variants"]:
        for key in ("by_op_type", "slowest"):
            (variant["kernels"] or {}).pop(key, None)
    return report


def test_the_shipped_variant_stands_beside_fp32_by_operator() -> None:
    found = where_time_goes(build())
    assert found is not None and found.variant == SHIPPED
    assert "fp32, 0.386 ms" in found.chart.svg and f"{SHIPPED}, 0.161 ms" in found.chart.svg
    assert found.rows[0] == ("/block_0/QLinearConv", "QLinearConv", "int8", "0.131\xa0ms", "81.4\xa0%")
    assert ">Conv<" in found.chart.svg and "QLinearConv" not in found.chart.svg  # one row for both files


def test_the_page_of_a_run_has_the_section_and_an_older_report_has_none(written: reports.Written) -> None:
    assert "Where time goes" in Page(written.html.read_text(encoding="utf-8")).text
    old = without_times(build())
    assert where_time_goes(old) is None
    assert "Where time goes" not in Page(render(old)).text


def test_a_report_without_a_judged_variant_has_no_section() -> None:
    report = build()
    report["gate"]["variant"] = None
    for variant in report["variants"]:
        variant["selected"] = False
    assert where_time_goes(report) is None


def test_hostile_names_of_nodes_and_operators_are_text_in_both_pages() -> None:
    report = build()
    for variant in report["variants"]:
        if variant["kernels"]:
            variant["kernels"]["slowest"][0]["name"] = HOSTILE
            variant["kernels"]["by_op_type"][0]["op_type"] = HOSTILE
    found = profile()
    found["file"]["nodes"][0]["name"] = found["file"]["by_op_type"][0]["op_type"] = HOSTILE
    found["name"] = found["beside"][0]["name"] = found["worth_changing"][0]["name"] = HOSTILE
    found["conditions"]["inputs"] = found["base"]["path"] = HOSTILE
    for text in (render(report), render_profile(found)):
        page = Page(text)
        assert not [tag for tag, _ in page.tags if tag == "script"]
        assert "alert('&')" in page.text


def test_one_operator_has_one_name_in_both_files() -> None:
    assert family("QLinearConv") == family("ConvInteger") == family("Conv") == "Conv"
    assert family("QuantizeLinear") == family("DynamicQuantizeLinear") == "Q/DQ"
    assert family("QLinear") == "QLinear" and family("Softmax") == "Softmax"


def test_many_operators_share_the_last_bar_and_no_time_is_no_chart() -> None:
    rows = [{"op_type": f"Op{n}", "kind": "float", "ms": float(n)} for n in range(1, 31)]
    chart = time_by_operator([("net", rows)], name="bars")
    assert chart is not None and "20 others" in chart.svg and "net, 465 ms" in chart.svg
    assert time_by_operator([("net", [])], name="bars") is None
    assert time_by_operator([("net", [{"op_type": "Add", "kind": "float", "ms": 0.0}])], name="bars") is None


def test_a_long_name_keeps_its_end() -> None:
    assert shortened("/a/b") == "/a/b"
    assert shortened("/encoder/layer.0/attention/output/MatMul") == "…r.0/attention/output/MatMul"
    assert len(shortened("x" * 100)) == LONGEST_NAME


def rate(best: float) -> dict[str, Any]:
    return {"best": best, "median": 0.9 * best, "runs": 50}


def node(name: str, ms: float, **more: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "name": name, "op_type": "QLinearConv", "kind": "int8", "provider": "CPUExecutionProvider", "calls": 1.0,
        "ms": ms, "share": ms / 0.161, "operations": 2_000_000, "macs": 2_000_000, "bytes": 40_000, "rate": "int8",
        "roof_ms": ms / 2, "verdict": "compute", "attained": 0.5, "inputs": ["uint8 1x16x28x28"],
        "outputs": ["uint8 1x16x28x28"],
    }  # fmt: skip
    return facts | more


def profile() -> dict[str, Any]:
    """A profile as `edgekd profile --base` gives it."""
    side = {
        "kernels_ms": 0.161, "inference_ms": 0.17, "kinds": {"int8": 0.97, "quantize": 0.03},
        "sentence": kernels("int8")["sentence"], "by_op_type": kernels("int8")["by_op_type"],
        "nodes": [
            node("conv_1", 0.09),
            node("add", 0.04, op_type="QLinearAdd", operations=12_000, macs=None, verdict="memory", attained=0.3),
            node("unknown", 0.02, operations=None, macs=None, bytes=None, verdict="unknown", attained=None),
            node("view", 0.0, operations=0, macs=None, bytes=0, verdict="overhead", attained=0.0),
        ],
    }  # fmt: skip
    base = side | {"kernels_ms": 0.386, "by_op_type": kernels("fp32")["by_op_type"]}
    row = {"name": "conv_1", "before_ms": 0.2, "after_ms": None, "before_kernels": ["Conv"], "after_kernels": []}
    advice = {"name": "conv_1", "op_type": "QLinearConv", "at_most_ms": 0.04, "share": 0.25, "why": "a reason"}
    return {
        "edgekd_profile": 1, "name": "int8", "created": "2026-11-28T00:00:00+00:00", "edgekd": "0.1.0",
        "model": {"path": "int8.onnx"}, "base": {"path": "fp32.onnx"},
        "target": {"name": "x86-1t", "title": "x86-64, 1 thread", "proxy": True}, "environment": environment(),
        "conditions": {"isa": "avx2", "threads": 1, "threads_requested": 1, "provider": "CPUExecutionProvider",
                       "onnxruntime": "1.32.0", "runs": 50, "inputs": "random numbers", "warnings": ["a warning"]},
        "peaks": {"fp32": rate(5e10), "int8": rate(2e11), "launch_us": 0.3, "profiled_us": 2.0, "bandwidths": [
            {"working_set": 1 << 15, "peak": rate(8e10)}, {"working_set": 1 << 27, "peak": rate(1e10)}]},
        "file": side, "base_file": base, "beside": [row], "worth_changing": [advice],
    }  # fmt: skip


def test_the_profile_s_page_is_whole_and_loads_nothing(tmp_path: Path) -> None:
    write_profile(profile(), tmp_path / "deep" / "profile.html")
    text = (tmp_path / "deep" / "profile.html").read_text(encoding="utf-8")
    page = Page(text)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="#|url\(#|aria-labelledby=")([^")]+)', text)) <= set(ids)
    assert not [tag for tag, _ in page.tags if tag in ("script", "iframe", "img", "object", "embed")]
    assert text == render_profile(profile()) != ""
    for words in ("2.40×", "a reason", "a warning", "random numbers", "proxy", "10.1145/1498765.1498785"):
        assert words in page.text


def test_the_profile_s_tables_have_a_dash_for_what_is_unknown() -> None:
    words = Page(render_profile(profile())).text.replace("\xa0", " ")
    assert "conv_1 0.200 ms – – Conv fused or gone" in words
    assert "uint8 1x16x28x28 → uint8 1x16x28x28 0.020 ms 12.4 % – – unknown –" in words


def test_the_roofline_names_the_slowest_kernels_and_needs_peaks() -> None:
    chart = roofline_chart(profile(), name="roofline")
    assert chart is not None
    for words in (
        "conv_1",
        "add",
        "bound by compute",
        "bound by memory",
        "int8: 200",
        "fp32: 50.0",
        "80 GB/s in 32 KiB",
    ):
        assert f">{words}<" in chart.svg
    assert ">unknown<" not in chart.svg and ">view<" not in chart.svg
    assert not re.search(r"(?:fill|stroke|color): *#", chart.svg)
    blind = copy.deepcopy(profile())
    blind["peaks"] = None
    assert roofline_chart(blind, name="roofline") is None
    assert "Roofline of this machine" not in Page(render_profile(blind)).text


@pytest.mark.parametrize("missing", ["base", "worth_changing"])
def test_a_page_leaves_out_what_was_not_asked_for(missing: str) -> None:
    found = profile()
    if missing == "base":
        found |= {"base": None, "base_file": None, "beside": []}
    else:
        found["worth_changing"] = []
    assert {"base": "Node by node", "worth_changing": "Worth changing"}[missing] not in Page(render_profile(found)).text
