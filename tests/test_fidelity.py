"""SQNR and agreement equal those worked by hand for every kind of output, and do not depend on the batch."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from edgekd.errors import BadInputError
from edgekd.fidelity import SQNR_CAP_DB, Comparison, Fidelity, class_axis, compare, mean_interval
from edgekd.runner import run_all
from edgekd.session import SessionOptions, facts, open_session
from edgekd.statistics import wilson

patient = settings(deadline=None)


def compared(reference: object, other: object, *, batch_size: int = 64) -> Fidelity:
    """Arrays, or lists of arrays, as the outputs of two networks whose input is the sample's place."""
    both = [[np.asarray(o) for o in (g if isinstance(g, list) else [g])] for g in (reference, other)]
    places = np.arange(len(both[0][0]))
    runs = [lambda batch, outputs=outputs: [o[batch] for o in outputs] for outputs in both]
    return compare(runs[0], runs[1], places, batch_size=batch_size)


def test_sqnr_and_the_worst_difference_worked_by_hand() -> None:
    found = compared([[[3.0, 4.0], [0.0, 0.0]]], [[[3.0, 4.5], [0.0, 0.0]]])
    assert found.sqnr_db == pytest.approx(10 * math.log10(25 / 0.25))  # 20 dB
    assert (found.n, found.worst) == (2, 0.5)


def test_equal_outputs_have_the_greatest_sqnr_and_the_result_is_json() -> None:
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    found = compared(x, x)
    assert found.sqnr_db == SQNR_CAP_DB
    assert found.agreement == 1.0
    assert json.loads(json.dumps(asdict(found), allow_nan=False))["worst"] == 0.0


def test_noise_where_the_reference_is_zero_throughout_has_no_sqnr() -> None:
    assert compared(np.zeros((2, 3)), np.ones((2, 3))).sqnr_db is None
    assert compared(np.zeros((2, 3)), np.zeros((2, 3))).sqnr_db == SQNR_CAP_DB


def test_an_output_in_large_units_does_not_drown_a_bad_one_in_small_units() -> None:
    boxes, scores = np.full((4, 2), 640.0), np.full((4, 3), 0.5)
    found = compared([scores, boxes], [-scores, boxes])
    assert found.sqnr_db == pytest.approx(10 * math.log10(1 / 4))
    assert [o.sqnr_db for o in found.outputs] == [found.sqnr_db, SQNR_CAP_DB]
    assert found.worst == found.outputs[0].worst == 1.0


@patient
@given(st.integers(1, 9), st.integers(1, 12), st.integers(0, 99))
def test_nothing_depends_on_the_batch(n: int, batch_size: int, seed: int) -> None:
    a, b = np.random.default_rng(seed).normal(size=(2, n, 3, 4, 5))
    whole, pieces = compared(a, b, batch_size=n), compared(a, b, batch_size=batch_size)
    for name, value in asdict(whole).items():
        if name != "outputs":
            assert getattr(pieces, name) == pytest.approx(value, rel=1e-12), name


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        *(((9, 3), 1), ((9, 7, 3), 2), ((9, 3, 5, 5), 1), ((9, 3, 2, 2, 2), 1)),
        *(((9,), None), ((9, 1), None), ((9, 7, 1), None), ((9, 1, 5, 5), None)),
    ],
)
def test_the_classes_lie_where_networks_of_that_rank_have_them(shape: tuple[int, ...], axis: int | None) -> None:
    assert class_axis(shape) == axis


def test_agreement_of_a_segmentation_is_the_mean_over_pictures() -> None:
    fp32 = np.zeros((2, 2, 2, 2))
    fp32[:, 0] = 1.0  # class 0 on all four pixels of both pictures
    other = fp32.copy()
    other[1, 1, 0, 0] = 2.0  # class 1 on one pixel of the second
    found = compared(fp32, other)
    assert (found.agreement, found.decisions) == (7 / 8, 4)
    assert not found.constant


def test_agreement_of_a_text_reader_is_counted_step_by_step() -> None:
    steps = np.eye(5)[np.array([[0, 1, 2, 0], [0, 3, 3, 4]])]
    other = np.eye(5)[np.array([[0, 1, 2, 0], [0, 3, 4, 4]])]
    assert compared(steps, other).agreement == 7 / 8


def test_a_map_of_probabilities_decides_at_one_half_and_any_other_map_not_at_all() -> None:
    fp32 = np.array([0.4, 0.6, 0.9, 0.1]).reshape(1, 1, 2, 2)
    other = np.array([0.55, 0.6, 0.8, 0.0]).reshape(1, 1, 2, 2)
    assert compared(fp32, other).agreement == 3 / 4
    depth = compared(3 * fp32, 3 * other)
    assert depth.agreement is depth.agreement_low is depth.agreement_high is None
    assert depth.sqnr_db == pytest.approx(compared(fp32, other).sqnr_db)


def test_one_value_outside_the_unit_interval_in_a_late_batch_ends_the_decisions() -> None:
    values = np.array([0.4, 0.6, 0.9, 1.5])
    assert compared(values, values, batch_size=1).agreement is None


def test_one_class_for_everything_is_constant_where_the_reference_has_several() -> None:
    blank = np.zeros((3, 4, 2))
    blank[..., 0] = 1.0
    speaks = blank.copy()
    speaks[0, 0] = [0.0, 1.0]
    assert compared(speaks, blank).constant
    assert not compared(blank, blank).constant


def test_agreement_of_a_classifier_has_its_wilson_interval() -> None:
    found = compared(np.eye(3)[[0, 1, 2, 0]], np.eye(3)[[0, 1, 2, 2]])
    interval = wilson(3, 4)
    assert (found.agreement_low, found.agreement_high) == (interval.low, interval.high)


def test_the_interval_over_pictures_is_that_of_scipy_s_t() -> None:
    shares = np.array([0.90, 0.95, 1.0, 0.85, 0.97])
    low, high = stats.t.interval(0.95, 4, loc=shares.mean(), scale=stats.sem(shares))
    assert mean_interval(shares, decisions=10_000) == pytest.approx((low, min(high, 1.0)))


def test_many_pixels_of_few_pictures_do_not_narrow_the_interval() -> None:
    """Ten pictures, one of them wholly wrong: a million pixels are still ten pictures."""
    low, high = mean_interval(np.array([1.0] * 9 + [0.0]), decisions=100_000)
    assert high - low > 0.3


def test_full_agreement_has_a_width_and_one_picture_says_nothing() -> None:
    assert mean_interval(np.ones(10), decisions=100)[0] < 1.0
    assert mean_interval(np.ones(10), decisions=100)[0] > mean_interval(np.ones(10), decisions=4)[0]
    assert mean_interval(np.ones(1), decisions=100) == (0.0, 1.0)


def test_the_interval_holds_the_true_mean_as_often_as_it_says() -> None:
    """400 draws of 30 pictures whose agreement is Beta(20, 1); from 0.90: a skewed mean costs t some of its 95 %."""
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        low, high = mean_interval(generator.beta(20, 1, 30), decisions=1_000)
        held += low <= 20 / 21 <= high
    assert 0.90 <= held / 400 <= 0.99


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_output_that_is_no_number_is_refused_with_its_sample(bad: float) -> None:
    other = np.ones((5, 2, 2))
    other[3, 0, 1] = bad
    with pytest.raises(BadInputError, match="output 0 of the model is NaN or infinite for sample 3"):
        compared(np.ones((5, 2, 2)), other, batch_size=2)
    with pytest.raises(BadInputError, match="output 0 of the reference is NaN"):
        compared(other, np.ones((5, 2, 2)))


def test_outputs_of_other_shapes_or_numbers_are_refused() -> None:
    with pytest.raises(BadInputError, match=r"output 0 has shape \(2, 4\), the reference's \(2, 3\)"):
        compared(np.ones((2, 3)), np.ones((2, 4)))
    with pytest.raises(BadInputError, match="the model has 2 outputs, its reference 1"):
        compared([np.ones((2, 3))], [np.ones((2, 3))] * 2)
    with pytest.raises(BadInputError, match="no samples"):
        compared(np.ones((0, 3)), np.ones((0, 3)))
    with pytest.raises(BadInputError, match="no samples to compare"):
        Comparison().result()


def test_whole_numbers_and_half_precision_are_compared_without_overflow() -> None:
    found = compared([np.array([[250], [3]], dtype=np.uint8)], [np.array([[3], [3]], dtype=np.uint8)])
    assert found.worst == 247
    assert (
        compared(np.full((1, 2), 60_000, dtype=np.float16), np.full((1, 2), -60_000, dtype=np.float16)).worst == 120_000
    )


def test_real_files_are_compared(make_net: Callable[..., Path], tmp_path: Path) -> None:
    runs = []
    for gain in (1.0, 1.01):
        session = open_session(make_net(tmp_path / f"{gain}.onnx", gain=gain), SessionOptions())
        runs.append(run_all(session, facts(session, tmp_path)))
    images = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 1), dtype=np.uint8)
    found = compare(runs[0], runs[1], images, batch_size=4)
    assert found.sqnr_db == pytest.approx(40, abs=0.01)  # 1 % of the amplitude
    assert (found.n, found.agreement) == (10, 1.0)
