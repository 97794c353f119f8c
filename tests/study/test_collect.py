"""What a study comes to: numbers, sentences, Markdown, JSON and charts."""

import json
from io import BytesIO
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from edgekd.report.wording import points
from edgekd.study import charts, markdown
from edgekd.study.collect import as_json

from .sample import LABELS, METHODS, collected, finished


@pytest.fixture(scope="module")
def study() -> dict[str, Any]:
    return collected(finished())


def arm(study: dict[str, Any], method: str) -> dict[str, Any]:
    found: dict[str, Any] = next(arm for arm in study["arms"] if arm["method"] == method)
    return found


def test_json_gives_the_study_back_and_keeps_numbers_on_one_line(study: dict[str, Any]) -> None:
    text = as_json(study)
    assert json.loads(text) == json.loads(json.dumps(study))
    assert study["schema_version"] == 1
    assert len(text.splitlines()) < 1300  # the entropies alone are 10,000 numbers


def test_every_arm_has_its_seeds_mean_deviation_and_interval(study: dict[str, Any]) -> None:
    for found in study["arms"]:
        tops = [seed["test_top1"] for seed in found["seeds"]]
        assert [seed["seed"] for seed in found["seeds"]] == [0, 1, 2]
        assert found["test_top1"]["mean"] == pytest.approx(np.mean(tops))
        assert found["test_top1"]["sd"] == pytest.approx(np.std(tops, ddof=1))
        assert found["test_top1"]["low"] < found["test_top1"]["mean"] < found["test_top1"]["high"]


def test_differences_are_to_tuned_kd_seed_by_seed(study: dict[str, Any]) -> None:
    base = {seed["seed"]: seed["test_top1"] for seed in arm(study, "kd")["seeds"]}
    assert arm(study, "kd")["against_baseline"] is None
    for found in (arm(study, method) for method in METHODS if method != "kd"):
        against = found["against_baseline"]
        mine = {seed["seed"]: seed["test_top1"] for seed in found["seeds"]}
        for row in against["seeds"]:
            assert row["difference"] == pytest.approx(mine[row["seed"]] - base[row["seed"]])
            assert row["low"] <= row["difference"] <= row["high"]  # Newcombe's, over the test samples
        assert against["difference"] == pytest.approx(np.mean([row["difference"] for row in against["seeds"]]))


def test_candidates_tell_validation_and_never_test(study: dict[str, Any]) -> None:
    rows = [row for found in study["arms"] for row in found["candidates"]]
    assert len(rows) == 1 + 5 * 6
    assert {key for row in rows for key in row} == {"knobs", "seed", "folder", "validation_top1", "failure"}


def test_entropy_has_a_spread_where_a_method_has_soft_labels(study: dict[str, Any]) -> None:
    assert arm(study, "ce")["soft_entropy"] is None
    for method in ("kd", "entropy"):
        found = arm(study, method)["soft_entropy"]
        assert found["n"] == len(found["values"]) == 2000
        assert found["sd"] == pytest.approx(np.std(found["values"]), rel=0.05)
    assert arm(study, "entropy")["soft_entropy"]["sd"] < arm(study, "kd")["soft_entropy"]["sd"] / 100


def test_the_sentences_say_what_the_intervals_say(study: dict[str, Any]) -> None:
    words = {"beats": "beats", "loses": "loses to", "no difference shown": "shows no difference to"}
    for method in METHODS:
        against = arm(study, method)["against_baseline"]
        if against is None:
            continue
        assert (against["verdict"] == "beats") == (against["low"] > 0)
        assert (against["verdict"] == "loses") == (against["high"] < 0)
        assert any(text.startswith(f"{method} {words[against['verdict']]} tuned kd: ") for text in study["conclusions"])


def test_an_optimum_at_the_edge_of_the_grid_is_told(study: dict[str, Any]) -> None:
    edges = {found["method"]: found["edges"] for found in study["arms"] if found["edges"]}
    (told,) = [text for text in study["conclusions"] if text.startswith("At the edge of what was tried")]
    assert edges and all(f"{method} ({', '.join(edge)})" in told for method, edge in edges.items())


def test_the_markdown_begins_with_the_teacher_and_holds_table_charts_and_candidates(study: dict[str, Any]) -> None:
    text = markdown.render(study)
    head, teacher, table = text.split("\n\n")[:3]
    assert head == "# Study: study-quick"
    assert teacher.startswith("Teacher wrn_16_2: 93.6\u00a0% on test")
    rows = table.splitlines()
    assert len(rows) == 2 + len(METHODS)
    assert len({row.count("|") for row in rows}) == 1
    assert "(accuracy.svg)" in text and "(entropy.svg)" in text
    assert text.count("**") == 2 * 5  # the chosen candidate of each tuned arm


def test_one_seed_gives_numbers_and_no_verdict() -> None:
    study = collected(finished(seeds=1, methods=("ce", "kd"), count=1))
    against = arm(study, "ce")["against_baseline"]
    assert (against["low"], against["high"], against["verdict"]) == (None, None, "not judged")
    assert arm(study, "kd")["test_top1"]["sd"] is None
    assert study["conclusions"][:2] == [
        f"ce beside kd: {points(against['difference'])} of test accuracy over 1 seed, not judged: one seed has no "
        "spread, so there is no interval.",
        "Nothing can be said against kd: no interval.",
    ]
    assert set(charts.draw(study)) == {"accuracy.svg", "accuracy.png", "entropy.svg", "entropy.png"}


def test_a_failed_arm_says_so_and_the_others_keep_their_numbers() -> None:
    study = collected(finished(methods=("kd", "lskd"), count=2, failing=("lskd-9-2-seed0", "lskd-27-2-seed0")))
    failed = arm(study, "lskd")
    assert failed["chosen"] is None and failed["test_top1"] is None and failed["against_baseline"] is None
    assert [row["failure"][:8] for row in failed["candidates"]] == ["10 steps"] * 2
    assert study["conclusions"][-1].startswith("lskd has no result: 2 cells failed: 10 steps without a finite gradient")
    assert arm(study, "kd")["test_top1"]["n"] == 3
    assert "| lskd | – | – | – | failed |" in markdown.render(study)
    assert charts.draw(study)


def test_without_the_baseline_s_students_nothing_is_compared() -> None:
    study = collected(finished(methods=("ce", "kd"), count=1, failing=("kd-0.9-4-seed0",)))
    assert arm(study, "ce")["test_top1"]["n"] == 3
    assert all(found["against_baseline"] is None for found in study["arms"])
    assert set(charts.draw(study)) == {"accuracy.svg", "accuracy.png"}
    assert markdown.render(study)


def test_equal_studies_draw_equal_charts_that_are_whole(study: dict[str, Any]) -> None:
    from PIL import Image

    drawn = charts.draw(study)
    assert drawn == charts.draw(study)
    for name, content in drawn.items():
        if isinstance(content, str):
            assert ElementTree.fromstring(content).tag.endswith("svg")
        else:
            assert min(Image.open(BytesIO(content)).size) > 300, name


def test_labels_and_predictions_meet(study: dict[str, Any]) -> None:
    assert study["data"] == {"classes": 10, "test": len(LABELS)}
    assert "test_predictions" not in as_json(study)
