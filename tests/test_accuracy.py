"""Accuracy numbers equal those worked by hand, and outputs that mean nothing are refused or marked."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax

from edgekd.accuracy import Accuracy, Paired, assess, measure, predictions
from edgekd.errors import BadInputError
from edgekd.fidelity import compare
from edgekd.recorded import Recorded, record
from edgekd.statistics import newcombe_paired, wilson

patient = settings(deadline=None)  # a shared machine may pause at any time

CLASSES = ("boot", "bag", "coat")
LABELS = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 0, 1, 1, 0, 0])


def one_hot(predicted: np.ndarray, num_classes: int = 3, height: float = 4.0) -> np.ndarray:
    return height * np.eye(num_classes, dtype=np.float32)[predicted]


def measured(outputs: np.ndarray, labels: np.ndarray | None = LABELS, **more: object) -> Accuracy:
    arguments = {"classes": CLASSES, "isa": "avx2", **more}
    return measure(outputs, labels=labels, **arguments)  # type: ignore[arg-type]


def test_six_samples_worked_by_hand() -> None:
    accuracy = measured(one_hot(PREDICTED))
    assert accuracy.confusion == ((2, 1, 0), (1, 1, 0), (1, 0, 0))
    assert accuracy.top1 == pytest.approx(3 / 6)
    boot, bag, coat = accuracy.per_class
    assert (boot.n, boot.recall, boot.precision, boot.f1) == pytest.approx((3, 2 / 3, 2 / 4, 4 / 7))
    assert (bag.n, bag.recall, bag.precision, bag.f1) == pytest.approx((2, 1 / 2, 1 / 2, 1 / 2))
    assert (coat.name, coat.n, coat.recall, coat.precision, coat.f1) == ("coat", 1, 0.0, 0.0, 0.0)
    assert accuracy.macro_f1 == pytest.approx((4 / 7 + 1 / 2 + 0) / 3)
    interval = wilson(3, 6)
    assert (accuracy.top1_low, accuracy.top1_high) == (interval.low, interval.high)
    assert (accuracy.n, accuracy.labelled, accuracy.isa, accuracy.constant) == (6, True, "avx2", False)


def test_macro_f1_leaves_out_a_class_that_no_label_has() -> None:
    accuracy = measured(one_hot(np.array([0, 0, 1])), np.array([0, 0, 1]))
    assert accuracy.per_class[2].n == 0
    assert accuracy.macro_f1 == 1.0


def test_calibration_error_of_two_bins_worked_by_hand() -> None:
    outputs = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]], dtype=np.float32)
    accuracy = measured(outputs, np.array([0, 1, 0, 1]), classes=("a", "b"))
    # 0.9 falls in bin 14 of 15, half of it right: gap 0.4; 0.6 in bin 9, all right: gap 0.4
    assert accuracy.ece == pytest.approx((2 * 0.4 + 2 * 0.4) / 4, abs=1e-6)
    assert accuracy.outputs == "probabilities"


@patient
@given(arrays(np.float32, (7, 3), elements=st.floats(-50, 50, width=32)))
def test_logits_and_their_probabilities_have_the_same_calibration_error(logits: np.ndarray) -> None:
    labels = np.array([0, 1, 2, 0, 1, 2, 0])
    logits[0] = [-1, 2, 0]  # so that they are never taken for probabilities
    from_logits = measured(logits, labels)
    right = predictions(logits) == labels
    confidence = softmax(logits.astype(np.float64), axis=1).max(axis=1)
    bins = [np.ceil(confidence * 15) == k for k in range(1, 16)]
    expected = sum(abs(right[b].mean() - confidence[b].mean()) * b.mean() for b in bins if b.any())
    assert from_logits.outputs == "logits"
    assert from_logits.ece == pytest.approx(expected, abs=1e-12)


def test_logits_of_a_thousand_do_not_overflow() -> None:
    assert measured(one_hot(LABELS, height=1_000.0)).ece == 0.0


def test_top5_counts_the_five_greatest_only_above_ten_classes() -> None:
    ranked = -np.tile(np.arange(11, dtype=np.float32), (4, 1))  # class 0 first, class 10 last
    classes = tuple("abcdefghijk")
    assert measured(ranked, np.array([0, 4, 5, 10]), classes=classes).top5 == 2 / 4
    assert measured(one_hot(PREDICTED)).top5 is None


def test_a_constant_output_is_measured_and_marked_and_wins_no_top5_by_its_ties() -> None:
    labels = np.arange(11)
    accuracy = measured(np.zeros((11, 11), dtype=np.float32), labels, classes=tuple("abcdefghijk"))
    assert accuracy.constant
    assert accuracy.top1 == pytest.approx(1 / 11)
    assert accuracy.top5 == pytest.approx(5 / 11)
    assert measured(np.zeros((11, 3), dtype=np.float32), None, fp32_predictions=labels % 3).constant


def test_one_class_is_not_constant_when_the_labels_have_one_too() -> None:
    zeros = np.zeros(6, dtype=np.int64)
    assert not measured(one_hot(zeros), zeros).constant


def test_without_labels_only_agreement_is_measured() -> None:
    accuracy = measured(one_hot(PREDICTED), None, fp32_predictions=LABELS)
    assert not accuracy.labelled
    for name in ("top1", "top1_low", "top1_high", "top5", "macro_f1", "ece", "top1_drop", "agreement_teacher"):
        assert getattr(accuracy, name) is None
    assert accuracy.per_class == accuracy.confusion == ()
    interval = wilson(3, 6)
    assert accuracy.agreement_fp32 == 0.5
    assert (accuracy.agreement_fp32_low, accuracy.agreement_fp32_high) == (interval.low, interval.high)


def test_the_drop_against_fp32_is_paired_and_positive_when_worse() -> None:
    fp32 = np.array([0, 0, 0, 1, 0, 2])  # right on 5 of 6; the outputs on 3, all of them among the 5
    accuracy = measured(one_hot(PREDICTED), fp32_predictions=fp32)
    interval = newcombe_paired(3, 2, 0, 1)
    assert accuracy.top1_drop == pytest.approx(2 / 6)
    assert (accuracy.top1_drop_low, accuracy.top1_drop_high) == (interval.low, interval.high)
    assert accuracy.paired == Paired(both=3, only_fp32=2, only_model=0, neither=1)
    assert accuracy.mcnemar_p == 0.5  # two of two coins on one side: 2 / 4


def test_fp32_itself_has_no_drop_and_agrees_with_itself_exactly() -> None:
    accuracy = measured(one_hot(PREDICTED), is_fp32=True)
    assert (accuracy.top1_drop, accuracy.top1_drop_low, accuracy.top1_drop_high) == (0, 0, 0)
    assert (accuracy.agreement_fp32, accuracy.agreement_fp32_low, accuracy.agreement_fp32_high) == (1, 1, 1)
    assert accuracy.paired is accuracy.mcnemar_p is None
    assert measured(one_hot(PREDICTED)).top1_drop is measured(one_hot(PREDICTED)).paired is None


def test_agreement_with_the_teacher_does_not_ask_the_labels() -> None:
    accuracy = measured(one_hot(PREDICTED), teacher_predictions=PREDICTED)
    assert accuracy.agreement_teacher == accuracy.agreement_teacher_high == 1.0


def test_the_result_is_written_as_json_as_it_is() -> None:
    written = json.loads(json.dumps(asdict(measured(one_hot(PREDICTED))), allow_nan=False))
    assert written["confusion"] == [[2, 1, 0], [1, 1, 0], [1, 0, 0]]
    assert written["per_class"][2] == {"name": "coat", "n": 1, "recall": 0.0, "precision": 0.0, "f1": 0.0}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_output_that_is_no_number_is_refused_with_its_sample(bad: float) -> None:
    outputs = one_hot(PREDICTED)
    outputs[4, 1] = bad
    with pytest.raises(BadInputError, match=r"sample 4 is NaN or infinite \(1 of 6 samples\)"):
        measured(outputs)
    with pytest.raises(BadInputError, match="sample 4"):
        predictions(outputs)


@pytest.mark.parametrize("shape", [(6, 4), (6,), (0, 3), (6, 3, 1)])
def test_outputs_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadInputError, match=r"expected \(n, 3\)"):
        measured(np.zeros(shape, dtype=np.float32))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS[:5], r"labels have shape \(5,\); expected \(6,\)"),
        (np.array([0, 0, 3, 1, 1, 2]), "labels hold 3 at sample 2; expected 0 to 2"),
        (np.array([0, -1, 0, 1, 1, 2]), "labels hold -1 at sample 1"),
        (LABELS.astype(np.float32), "labels are float32; expected whole numbers"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: np.ndarray, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        measured(one_hot(PREDICTED), labels)


def test_reference_predictions_that_do_not_fit_are_refused_by_name() -> None:
    with pytest.raises(BadInputError, match="teacher predictions have shape"):
        measured(one_hot(PREDICTED), teacher_predictions=LABELS[:2])
    with pytest.raises(BadInputError, match="fp32 predictions hold 9"):
        measured(one_hot(PREDICTED), fp32_predictions=LABELS + 9)


def file_of(outputs: np.ndarray, *, keep_bytes: int = 1 << 20) -> Recorded:
    """A file that puts out these, (n, ...), for the places of the samples."""
    return record(lambda batch: [outputs[batch]], np.arange(len(outputs)), batch_size=4, keep_bytes=keep_bytes)


def assessed(
    outputs: np.ndarray, fp32: np.ndarray | None = None, labels: np.ndarray | None = None, **more: int
) -> Accuracy:
    reference = None if fp32 is None else file_of(fp32, **more)
    return assess(file_of(outputs, **more), reference=reference, labels=labels, classes=(), isa="avx2")


@pytest.mark.parametrize("keep_bytes", [0, 1 << 20])
def test_a_classifier_is_assessed_as_it_is_measured_and_has_a_distance_to_fp32_too(keep_bytes: int) -> None:
    outputs, fp32 = one_hot(PREDICTED), one_hot(LABELS) + 1
    found = assessed(outputs, fp32, LABELS, keep_bytes=keep_bytes)
    plain = measured(outputs, classes=("0", "1", "2"), fp32_predictions=LABELS)
    names = plain.__slots__
    assert {n: getattr(found, n) for n in names if n != "sqnr_db"} == {
        n: getattr(plain, n) for n in names if n != "sqnr_db"
    }
    # fp32: one 5 and two 1 a sample, 27; the outputs are 1 less everywhere, and three have the 4 elsewhere
    assert found.sqnr_db == pytest.approx(10 * np.log10(6 * 27 / (3 * 3 + 3 * (25 + 9 + 1))))
    assert plain.sqnr_db is None


def test_fp32_itself_agrees_by_definition_whatever_it_is() -> None:
    for shape in ((5, 3), (5, 4, 3), (5, 2, 4, 4), (5, 1, 4, 4)):
        found = assessed(np.random.default_rng(0).uniform(size=shape))
        assert (found.agreement_fp32, found.agreement_fp32_low, found.agreement_fp32_high) == (1, 1, 1)
        assert found.sqnr_db == 200
        assert found.n == 5


def test_a_network_that_is_no_classifier_has_agreement_over_samples_and_no_classes() -> None:
    fp32 = np.random.default_rng(0).normal(size=(30, 4, 6, 6))
    other = fp32 + 0.3 * np.random.default_rng(1).normal(size=fp32.shape)
    found = assessed(other, fp32)
    fidelity = compare(lambda i: [fp32[i]], lambda i: [other[i]], np.arange(30), batch_size=7)
    assert (found.agreement_fp32, found.agreement_fp32_low, found.agreement_fp32_high) == (
        fidelity.agreement,
        fidelity.agreement_low,
        fidelity.agreement_high,
    )
    assert found.agreement_fp32 is not None
    assert 0.5 < found.agreement_fp32 < 1
    assert found.sqnr_db == pytest.approx(fidelity.sqnr_db)
    assert found.sqnr_db == pytest.approx(10.46, abs=0.3)  # 1 / 0.3 in amplitude
    assert (found.outputs, found.labelled, found.per_class, found.confusion) == ("values", False, (), ())
    assert found.top1 is found.top1_drop is found.agreement_teacher is None


def test_one_probability_a_sample_decides_at_one_half_and_not_by_the_greatest_of_one() -> None:
    fp32 = np.array([[0.1], [0.9], [0.6], [0.2]])
    assert assessed(np.array([[0.1], [0.9], [0.4], [0.2]]), fp32).agreement_fp32 == 3 / 4


def test_a_network_that_decides_nothing_has_a_distance_alone() -> None:
    depth = np.linspace(1, 9, 64).reshape(4, 1, 4, 4)
    found = assessed(depth * 1.01, depth)
    assert found.agreement_fp32 is None
    assert found.sqnr_db == pytest.approx(40)
    assert assessed(depth).agreement_fp32 is None


def test_a_reader_that_says_nothing_any_more_is_constant() -> None:
    blank = np.zeros((6, 5, 3))
    blank[..., 0] = 1
    speaks = blank.copy()
    speaks[2, 1] = [0, 1, 0]
    assert assessed(blank, speaks).constant


@pytest.mark.parametrize("shape", [(3,), (1,), (2, 4, 4), (5, 6)])
def test_the_very_same_numbers_for_different_samples_are_constant_whatever_the_network(shape: tuple[int, ...]) -> None:
    same = np.broadcast_to(np.random.default_rng(0).normal(size=shape), (6, *shape))
    assert assessed(same).constant and assessed(same, np.random.default_rng(1).normal(size=same.shape)).constant
    other = same.copy()
    other[5].flat[0] += 1e-6
    assert not assessed(other).constant
    assert not assessed(same[:1]).constant, "one sample tells nothing"


def test_the_same_numbers_for_the_same_samples_or_for_nothing_found_are_not_constant() -> None:
    inputs = np.zeros((4, 2))
    file = record(lambda batch: [np.ones((len(batch), 2))], inputs, batch_size=2)
    assert not assess(file, reference=None, labels=None, classes=(), isa="avx2").constant
    boxes = record(lambda batch: [np.zeros((1, 0, 6))], np.arange(4), batch_size=1)
    assert not assess(boxes, reference=None, labels=None, classes=(), isa="avx2").constant


def test_labels_for_a_network_that_is_no_classifier_are_refused() -> None:
    with pytest.raises(BadInputError, match=r"first output has shape \(4, 3\) a sample; expected \(classes,\)"):
        assessed(np.zeros((6, 4, 3)), labels=LABELS)


def test_an_assessed_classifier_says_which_of_its_samples_are_no_numbers() -> None:
    outputs = one_hot(PREDICTED)
    outputs[4:, 1] = np.nan
    with pytest.raises(BadInputError, match=r"sample 4 is NaN or infinite \(2 of 6 samples\)"):
        assessed(outputs, one_hot(LABELS))
    with pytest.raises(BadInputError, match="output 0 of the model is NaN or infinite for sample 4"):
        assessed(outputs[:, None], one_hot(LABELS)[:, None])
