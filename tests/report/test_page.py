"""The page is self-contained, safe against hostile names, and copes with what was not measured."""

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from edgekd import report as reports
from edgekd.report.labels import place

from .page import Page
from .sample import CLASSES, build, judged
from .tables import cells, tables

HOSTILE = "<script>alert(1)</script>"
LOADING = ("src", "href", "xlink:href", "srcset", "action", "data", "poster")


def page_of(report: dict[str, Any], folder: Path) -> Page:
    return Page(reports.write(report, folder).html.read_text(encoding="utf-8"))


def test_the_page_is_well_formed_with_unique_ids(written: reports.Written) -> None:
    page = Page(written.html.read_text(encoding="utf-8"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_every_reference_inside_a_chart_points_at_an_id_of_the_page(written: reports.Written) -> None:
    html = written.html.read_text(encoding="utf-8")
    ids = set(re.findall(r'\bid="([^"]+)"', html))
    assert set(re.findall(r'(?:href="#|url\(#|aria-labelledby=")([^")]+)', html)) <= ids


def test_the_page_loads_nothing_and_runs_nothing(written: reports.Written) -> None:
    html = written.html.read_text(encoding="utf-8")
    page = Page(html)
    loaded = [value or "" for _, attributes in page.tags for key, value in attributes.items() if key in LOADING]
    assert all(address.startswith(("#", "data:")) for address in loaded)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)", html))
    assert "@import" not in html
    assert not [tag for tag, _ in page.tags if tag in ("script", "iframe", "object", "embed", "img")]


def test_charts_take_every_colour_from_the_page(written: reports.Written) -> None:
    charts = re.findall(r"<svg [^>]*role=\"img\".*?</svg>", written.html.read_text(encoding="utf-8"), re.DOTALL)
    assert len(charts) == 5
    for chart in charts:
        assert not re.search(r"(?:fill|stroke|color): *#", chart)
        assert "<title" in chart
        assert "<metadata" not in chart


def test_a_proxy_says_what_it_shows_and_what_not(written: reports.Written) -> None:
    page = Page(written.html.read_text(encoding="utf-8"))
    markdown = written.markdown.read_text(encoding="utf-8")
    for text in (page.text, markdown):
        assert "proxy" in text.lower()
        assert "heat and other load" in text


def test_hostile_names_stay_text_everywhere(tmp_path: Path) -> None:
    report = build(classes=(HOSTILE, "a | b `c`\nd", *CLASSES[2:]))
    report["name"] = report["target"]["name"] = report["environment"]["cpu_model"] = HOSTILE
    report["student"]["model"] = "x|y"
    for variant in report["variants"]:
        variant["reason"] = f"{HOSTILE} | `x`\n| @everyone"
    report["variants"][0]["name"] = HOSTILE + "$x^2"
    page = page_of(report, tmp_path)
    assert not [tag for tag, _ in page.tags if tag == "script"]
    assert HOSTILE in page.text
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "<script" not in markdown
    assert "@everyone" not in markdown
    assert all(len({len(cells(row)) for row in table}) == 1 for table in tables(markdown))
    suite = ElementTree.parse(tmp_path / "junit.xml").getroot().find("testsuite")
    assert suite is not None
    assert suite.get("name") == HOSTILE


def test_names_in_any_script_are_drawn_without_a_warning(tmp_path: Path) -> None:
    report = build(classes=("靴", "ботинок", *CLASSES[2:]))
    report["variants"][0]["name"] = "模型"
    assert "模型" in page_of(report, tmp_path).text


def test_what_was_not_done_is_a_dash_or_left_out(tmp_path: Path) -> None:
    report = build()
    report |= dict.fromkeys(("teacher", "student", "export", "recipe", "data"))
    page = page_of(report, tmp_path)
    assert "No training" in page.text
    assert "None" not in page.text
    assert "Training, by epoch" not in page.text
    assert "None" not in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_without_labels_the_agreement_with_fp32_takes_the_place_of_accuracy(tmp_path: Path) -> None:
    page = page_of(build(labelled=False), tmp_path)
    assert "Agrees with fp32" in page.text
    assert "Confusion" not in page.text
    assert "Agrees with fp32 99.7 % [97.7, 100.0] n = 1,000, SQNR 24.7 dB" in page.text
    assert "Drop" not in page.text.split("How it was made")[0]
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| Variant | Size | Agrees with fp32 | SQNR | p50 |" in markdown
    assert "| fp32 | 316 kB | 100.0 % [98.0, 100.0] | equal |".replace("[", r"\[").replace("]", r"\]") in (
        markdown.replace("\u00a0", " ")
    )


def test_outputs_that_decide_nothing_are_shown_by_their_sqnr_alone(tmp_path: Path) -> None:
    report = build(labelled=False)
    for variant in report["variants"]:
        if variant["accuracy"]:
            variant["accuracy"] |= dict.fromkeys(("agreement_fp32", "agreement_fp32_low", "agreement_fp32_high"))
    page = page_of(report, tmp_path)
    assert "SQNR against fp32 24.7 dB n = 1,000" in page.text
    assert "None" not in page.text


def test_sqnr_is_among_the_facts_of_a_classifier_whose_table_has_the_drop(written: reports.Written) -> None:
    page = Page(written.html.read_text(encoding="utf-8"))
    assert "Top-1 Drop p50" in page.text
    assert "SQNR against fp32 24.7 dB, n = 1,000" in page.text


def test_a_report_in_which_nothing_was_built_still_says_why(tmp_path: Path) -> None:
    report = build()
    report["variants"] = report["variants"][-1:]
    report["gate"] = {"verdict": "fail", "checks": [], "variant": None, "exit_code": 1}
    page = page_of(report, tmp_path)
    assert "No variant could be judged" in page.text
    assert "does not run fp16" in page.text


def test_a_variant_that_was_not_built_keeps_its_row_and_reason(written: reports.Written) -> None:
    page = Page(written.html.read_text(encoding="utf-8"))
    assert "fp16 – – – – – – – not built target x86-1t does not run fp16" in page.text


def test_labels_cover_neither_each_other_nor_the_points() -> None:
    """Seven points as close as variants get: all within 60 x 30 points of a 360 x 220 area."""
    centres = [(150 + 10.0 * i, 100 + (13.0 * i) % 30) for i in range(7)]
    obstacles = [(x - 5, y - 5, x + 5, y + 5) for x, y in centres]
    boxes = place(centres, [(60.0, 10.0)] * 7, obstacles=obstacles, bounds=(0, 0, 360, 220))
    for index, box in enumerate(boxes):
        assert box[0] >= 0
        assert box[1] >= 0
        assert box[2] <= 360
        assert box[3] <= 220
        for other in boxes[index + 1 :] + obstacles:
            assert min(box[2], other[2]) <= max(box[0], other[0]) or min(box[3], other[3]) <= max(box[1], other[1])


def test_too_few_samples_for_an_interval_and_a_p99_leave_both_out(tmp_path: Path) -> None:
    report = build()
    for variant in report["variants"][:-1]:
        variant["latency"] |= dict.fromkeys(("p50_low", "p50_high", "p99_ms", "p99_low", "p99_high"))
    text = page_of(report, tmp_path).text
    assert "Accuracy against latency" in text
    assert re.search(r"int8-u8s8 ships 102 kB 87.1 % \[84.9, 89.0\] [^×]*? 0\.17\d ms 0\.\d+ ms – 2\.3", text)


def test_the_verdict_stands_on_top_in_words_and_only_a_pass_ships(tmp_path: Path) -> None:
    page = page_of(judged(build(), "inconclusive"), tmp_path)
    sentence = "Undecided on x86-1t: 1 limit of int8-u8s8 cannot be told either way"
    assert page.text.index("INCONCLUSIVE") < page.text.index(sentence) < page.text.index("Gate")
    assert "candidate" in page.text
    assert "ships" not in page.text


def test_few_classes_get_a_matrix(written: reports.Written) -> None:
    tables = [attributes for tag, attributes in Page(written.html.read_text("utf-8")).tags if tag == "table"]
    assert {"class": "confusion"} in tables


def test_many_classes_get_their_worst_pairs(tmp_path: Path) -> None:
    many = page_of(build(classes=tuple(f"class {i}" for i in range(30))), tmp_path)
    assert "30 classes: the 20 most frequent mistakes" in many.text
