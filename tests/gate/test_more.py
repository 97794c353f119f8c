"""How many more samples an inconclusive accuracy asks for: with that many, at the same rates, it is decided.

"About": a tenth more is taken here, since counts are whole.
"""

import re

import pytest

from edgekd.gate import Check
from edgekd.statistics import newcombe_paired, wilson

from .sample import ACCURACY, judged, only


def asked(check: Check) -> int:
    assert check.verdict == "inconclusive"
    found = re.search(r"about ([\d,]+) more samples", check.note)
    assert found is not None, check.note
    return round(1.1 * int(found[1].replace(",", "")))


@pytest.mark.parametrize("limit", [0.88, 0.92])
def test_a_proportion_is_decided_with_as_many_more(limit: float) -> None:
    more = asked(only(judged({"min_top1": limit})))
    assert limit not in wilson(round(0.9 * (200 + more)), 200 + more)
    assert limit in wilson(round(0.9 * (200 + 0.8 * more)), round(200 + 0.8 * more))


@pytest.mark.parametrize("limit", [0.01, 0.02])
def test_a_drop_is_decided_with_as_many_more(limit: float) -> None:
    check = only(judged({"max_top1_drop": limit}))
    assert "only fp32 is right on 3 samples, only this file on 2 (exact McNemar p = 1)" in check.note
    factor = (200 + asked(check)) / 200
    assert limit not in newcombe_paired(*(round(factor * count) for count in (178, 3, 2, 17)))


def test_the_agreement_of_a_classifier_is_a_proportion_and_of_another_network_a_mean() -> None:
    assert asked(only(judged({"min_agreement": 0.97}))) < 100
    assert 0.97 in wilson(198, 200) and 0.97 not in wilson(297, 300)
    other = {"outputs": "values", "agreement_fp32": 0.9, "agreement_fp32_low": 0.8, "agreement_fp32_high": 0.95}
    # the low end is 0.10 away and must come within 0.05: four times the samples
    assert asked(only(judged({"min_agreement": 0.85}, accuracy={**ACCURACY, **other}))) == 660


def test_a_class_below_its_floor_asks_for_what_the_corrected_interval_needs() -> None:
    accuracy = {**ACCURACY, "confusion": [[80, 20], [1, 99]]}
    more = asked(only(judged({"min_class_top1": 0.85}, accuracy=accuracy)))
    n = 100 + more
    assert wilson(round(0.8 * n), n, 1 - 0.05 / 2).high < 0.85
    assert more > asked(only(judged({"class_floors.cat": 0.85}, accuracy=accuracy)))


def test_a_rate_right_at_the_limit_is_not_decided_by_any_number() -> None:
    assert only(judged({"min_top1": 0.9})).note.endswith("straddles the limit; test on more samples")
