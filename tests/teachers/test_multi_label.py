"""Teachers of samples with several classes: one sigmoid a class instead of a softmax over all."""

import numpy as np
import pytest
import torch

from edgekd.errors import BadInputError
from edgekd.teachers import Opened, OpenTeacher, complete
from edgekd.teachers.complete import log_odds
from edgekd.teachers.ensemble import mean_logits
from edgekd.teachers.order import chance_map, reordered_sets

LOGITS = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]], dtype=np.float32)
PROBE = np.zeros((2, 8, 8, 1), dtype=np.uint8)


def sigmoid(values: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-values)))


def says(values: np.ndarray, outputs: str = "auto") -> OpenTeacher:
    opened = Opened(name="t", ask=lambda inputs, ids: values, on_device=lambda inputs: torch.from_numpy(values))
    return complete(
        opened,
        kind="onnx",
        data_classes=("a", "b", "c"),
        probe=PROBE,
        ids=None,
        outputs=outputs,
        multi_label=True,
    )


def test_the_log_odds_of_probabilities_are_the_logits_and_rows_need_not_sum_to_1() -> None:
    teacher = says(sigmoid(LOGITS).astype(np.float32))
    assert teacher.outputs == "probabilities" and teacher.on_device is not None
    np.testing.assert_allclose(teacher.predict(PROBE, None), LOGITS, atol=1e-5)
    np.testing.assert_allclose(teacher.on_device(torch.from_numpy(PROBE)).numpy(), LOGITS, atol=1e-5)
    # Clamped at 1e-7 of either end: ln(1e-7 / (1 - 1e-7)) = -16.118.
    np.testing.assert_allclose(log_odds(np.array([[0.0, 1.0]], np.float32)), [[-16.118, 16.118]], atol=1e-3)


def test_logits_stay_and_what_contradicts_itself_is_refused() -> None:
    np.testing.assert_array_equal(says(LOGITS).predict(PROBE, None), LOGITS)
    probabilities = sigmoid(LOGITS).astype(np.float32)
    softmax = (np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)).astype(np.float32)
    for values, declared, told in (
        (softmax, "auto", "a softmax over exclusive classes"),
        (LOGITS, "probabilities", "range from -2 to 3"),
        (probabilities, "logits", "all are in 0 to 1"),
    ):
        with pytest.raises(BadInputError, match=told):
            says(values, declared)


def test_an_ensembles_probability_of_each_class_is_the_mean_of_its_members() -> None:
    members, shares = np.stack([LOGITS, LOGITS - 1.5]), np.array([0.25, 0.75])
    found = mean_logits(members, shares, combine="probabilities", multi_label=True)
    np.testing.assert_allclose(sigmoid(found), 0.25 * sigmoid(LOGITS) + 0.75 * sigmoid(LOGITS - 1.5), rtol=1e-5)


def test_a_teacher_in_another_order_is_at_chance_and_its_order_is_found() -> None:
    generator = np.random.default_rng(0)
    labels = (generator.random((400, 4)) < 0.3).astype(np.int8)
    logits = (4.0 * labels - 2 + generator.normal(0, 0.5, labels.shape)).astype(np.float32)
    assert reordered_sets(logits[:, [2, 0, 3, 1]], labels, ("a", "b", "c", "d")) == ("c", "a", "d", "b")
    assert reordered_sets(generator.normal(size=logits.shape).astype(np.float32), labels, tuple("abcd")) is None
    # Random answers reach about the classes' frequency, 0.3.
    assert 0.28 < chance_map(generator.normal(size=logits.shape).astype(np.float32), labels) < 0.45
