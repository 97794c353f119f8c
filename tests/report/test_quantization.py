"""The report tells how each variant was quantized, what was tried for it, what can saturate and what ran."""

from pathlib import Path

from edgekd import report as reports
from edgekd.report.markdown import render as render_markdown
from edgekd.report.quantization import (
    decision_rows,
    kernel_facts,
    portability,
    remarks,
    saturation,
    schemes,
    search_sentence,
)

from .page import Page
from .sample import DESCRIPTIONS, SHIPPED, VARIANTS, build


def test_each_try_is_a_row_and_what_was_not_measured_a_dash() -> None:
    first, second, third = decision_rows(build())
    assert (first.speedup, first.sqnr, first.drop, first.seconds) == ("2.33×", "31.2 dB", "0.40\xa0pt", "1.3 s")
    assert second.kept and "mse ranges" in second.tried
    assert (third.speedup, third.sqnr, third.drop, third.kept) == ("–", "–", "–", False)


def test_the_sentence_counts_the_tries_and_says_when_the_time_was_up() -> None:
    report = build()
    assert search_sentence(report) == "3 tries in 42 s"
    report["search"]["complete"] = False
    assert search_sentence(report).endswith("then the time was up: the best so far is what competes")
    report["search"] = None
    assert search_sentence(report) == "" and decision_rows(report) == [] and remarks(report) == []


def test_warnings_stand_before_what_was_done_to_the_network() -> None:
    warning, note = remarks(build())
    assert warning.startswith("calibrated on 20 samples") and note.startswith("converted from opset 11")


def test_every_int8_file_says_whether_it_can_saturate() -> None:
    report = build()
    found = dict(portability(report))
    assert found.keys() == {name for name in VARIANTS if name.startswith("int8")}
    assert found["int8-u8s8"] == "no 16-bit pair sum can saturate"
    assert found["int8-s8s8"] == "1 layer can saturate on AVX2: conv_1"
    assert saturation({"saturates": ["a", "b"]}) == "2 layers can saturate on AVX2: a, b"


def test_files_that_were_not_built_say_nothing_of_themselves() -> None:
    report = build()
    assert dict(schemes(report)) == DESCRIPTIONS
    assert dict(kernel_facts(report)).keys() == VARIANTS.keys()


def test_the_markdown_has_the_shipped_file_s_making_its_kernels_and_the_warnings() -> None:
    lines = render_markdown(build()).splitlines()
    found = [line for line in lines if line.startswith("- ")]
    assert found[0].startswith(f"- {SHIPPED}: uint8 activations x int8 weights")
    assert found[0].endswith("; no 16-bit pair sum can saturate")
    assert any(line.startswith("- calibrated on 20 samples") for line in found)
    assert any("93 % of the time in int8 kernels" in line for line in found)
    assert any(line.startswith("- Search: 3 tries in 42 s") for line in found)


def test_the_page_has_all_of_it(tmp_path: Path) -> None:
    page = Page(reports.write(build(), tmp_path).html.read_text(encoding="utf-8"))
    for text in (
        *DESCRIPTIONS.values(),
        *("calibrated on 20 samples", "converted from opset 11", "3 tries in 42 s", "+2.1 dB on the 31.2 dB before"),
        *("1 layer can saturate on AVX2: conv_1", "93 % of the time in int8 kernels"),
    ):
        assert text in page.text, text


def test_a_report_of_one_file_that_was_brought_has_no_search(tmp_path: Path) -> None:
    report = build()
    report["search"] = None
    page = Page(reports.write(report, tmp_path).html.read_text(encoding="utf-8"))
    assert "calibrated on" not in page.text
    assert "Search:" not in (tmp_path / "report.md").read_text(encoding="utf-8")
