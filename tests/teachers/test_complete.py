"""From what a teacher emits to logits of the data's classes, and what is refused on the way."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.teachers import Opened, OpenTeacher, complete
from edgekd.teachers.ensemble import join, mean_logits
from edgekd.teachers.order import reordered

LOGITS = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]], dtype=np.float32)
PROBE = np.zeros((2, 8, 8, 1), dtype=np.uint8)
CLASSES = ("a", "b", "c")


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def says(values: np.ndarray, *, classes: tuple[str, ...] | None = None, **changes: object) -> OpenTeacher:
    """A teacher that answers `values` for two samples."""
    given = {"name": "t", "ask": lambda inputs, ids: values, "classes": classes}
    own = {key: changes.pop(key) for key in ("on_device", "by_sample") if key in changes}
    asked = {"kind": "onnx", "data_classes": CLASSES, "probe": PROBE, "ids": None}
    return complete(Opened(**given | own), **asked | changes)  # type: ignore[arg-type]


def test_logits_in_the_datas_order_come_back_as_they_are() -> None:
    teacher = says(LOGITS)
    assert teacher.outputs == "logits" and teacher.class_order == "assumed"
    np.testing.assert_array_equal(teacher.predict(PROBE, None), LOGITS)


def test_columns_are_brought_into_the_datas_order_by_name() -> None:
    teacher = says(LOGITS[:, [2, 0, 1]], classes=("c", "a", "b"))
    assert teacher.class_order == "by name"
    np.testing.assert_array_equal(teacher.predict(PROBE, None), LOGITS)


def test_columns_of_other_classes_are_left_out() -> None:
    wide = np.concatenate([np.full((2, 1), 9.0, np.float32), LOGITS], axis=1)
    np.testing.assert_array_equal(says(wide, classes=("other", *CLASSES)).predict(PROBE, None), LOGITS)


def test_of_probabilities_the_log_is_taken_and_a_zero_is_clamped() -> None:
    teacher = says(np.array([[1.0, 0.0, 0.0], [0.25, 0.25, 0.5]], dtype=np.float32))
    assert teacher.outputs == "probabilities"
    # ln 1e-7 = -16.1181, ln 0.25 = -1.3863, ln 0.5 = -0.6931.
    np.testing.assert_allclose(
        teacher.predict(PROBE, None), [[0, -16.1181, -16.1181], [-1.3863, -1.3863, -0.6931]], atol=1e-4
    )


@given(st.lists(st.lists(st.floats(-8, 8), min_size=3, max_size=3), min_size=2, max_size=2))
def test_the_log_of_probabilities_has_the_softmax_of_the_logits(values: list[list[float]]) -> None:
    logits = np.array(values, dtype=np.float32)
    found = says(softmax(logits), outputs="probabilities").predict(PROBE, None)
    np.testing.assert_allclose(softmax(found), softmax(logits), atol=1e-6)


def test_the_same_on_the_device_as_on_the_host() -> None:
    values = softmax(LOGITS)[:, [1, 2, 0]]
    teacher = says(values, classes=("b", "c", "a"), on_device=lambda batch: torch.from_numpy(values))
    assert teacher.on_device is not None
    np.testing.assert_allclose(teacher.on_device(torch.zeros(2)).numpy(), teacher.predict(PROBE, None), rtol=1e-6)


@pytest.mark.parametrize(
    ("values", "changes", "message"),
    [
        (softmax(LOGITS), {"outputs": "logits"}, "declared outputs = 'logits', but its outputs are probabilities"),
        (LOGITS, {"outputs": "probabilities"}, r"range from -2 to 3 and their rows sum to between 1 and 1.5"),
        (100 * softmax(LOGITS), {}, "are never negative and their rows sum to 100 up to 100"),
        (np.array([[0.9, 0.8, 0.1], [0.2, 0.1, 0.3]], np.float32), {}, r"are all in 0 to 1 and their rows sum to 0.6"),
        (LOGITS[:, :2], {}, r"teacher t tells 2 classes apart, the data has 3; set teacher.classes"),
        (LOGITS, {"classes": ("a", "b")}, r"has 3 outputs, and 2 class names a, b"),
        (LOGITS, {"classes": ("a", "b", "d")}, r"knows no class 'c', which the data has"),
        (LOGITS, {"classes": ("a", "a", "c")}, r"calls two outputs 'a'"),
        (LOGITS[:1], {}, r"answers float32 of shape \(1, 3\) for 2 samples; expected \(2, classes\)"),
        (np.array([[1, 2, 3], [1, np.nan, 3]], np.float32), {}, r"returns NaN or infinity for sample 1 of 2"),
    ],
)
def test_what_cannot_be_right_is_refused_with_the_teachers_name(
    values: np.ndarray, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(BadInputError, match=message) as raised:
        says(values, **changes)  # type: ignore[arg-type]
    assert "teacher t" in str(raised.value)


def test_classes_that_contradict_the_teachers_own_are_refused() -> None:
    opened = Opened(name="t", ask=lambda inputs, ids: LOGITS, classes=CLASSES)
    with pytest.raises(BadInputError, match=r"teacher.classes says c, b, a, the teacher itself a, b, c"):
        complete(opened, kind="onnx", data_classes=CLASSES, probe=PROBE, ids=None, classes=("c", "b", "a"))


def test_nan_names_the_sample_where_it_has_a_name() -> None:
    with pytest.raises(BadInputError, match=r"returns NaN or infinity for sample 'cat/2.png'"):
        says(np.array([[1, 2, 3], [1, 2, np.inf]], np.float32), ids=np.array(["cat/1.png", "cat/2.png"]))


def test_an_error_of_the_machine_stays_one_and_names_the_teacher() -> None:
    def down(inputs: object, ids: object) -> np.ndarray:
        raise EnvironmentFault("is down")

    with pytest.raises(EnvironmentFault, match="teacher t: is down"):
        complete(Opened(name="t", ask=down), kind="onnx", data_classes=CLASSES, probe=PROBE, ids=None)


def test_the_mean_of_probabilities_by_hand() -> None:
    # Members say (1/2, 1/2) and (9/10, 1/10); with shares 1/4 and 3/4 that is (0.8, 0.2): a difference of ln 4.
    members = np.log(np.array([[[0.5, 0.5]], [[0.9, 0.1]]], dtype=np.float32))
    mixed = mean_logits(members, np.array([0.25, 0.75]), combine="probabilities")
    np.testing.assert_allclose(mixed, np.log([[0.8, 0.2]]), atol=1e-6)
    # Their logits: 0.75 x ln 9 apart.
    geometric = mean_logits(members, np.array([0.25, 0.75]), combine="logits")
    np.testing.assert_allclose(geometric[0, 0] - geometric[0, 1], 0.75 * np.log(9), atol=1e-6)


@given(st.floats(-30, 30), st.floats(-30, 30), st.floats(0.01, 0.99))
def test_a_mixture_does_not_depend_on_the_members_scale_and_lies_between_them(a: float, b: float, share: float) -> None:
    members = np.array([[[a, 0.0]], [[b, 0.0]]])
    shares = np.array([share, 1 - share])
    found = mean_logits(members, shares, combine="probabilities")
    moved = mean_logits(members + np.array([7.0, -5.0])[:, None, None], shares, combine="probabilities")
    np.testing.assert_allclose(softmax(found), softmax(moved), atol=1e-6)
    assert min(a, b) - 1e-4 <= found[0, 0] - found[0, 1] <= max(a, b) + 1e-4


@pytest.mark.parametrize("combine", ["probabilities", "logits"])
def test_an_ensemble_says_the_same_on_the_device(combine: str) -> None:
    members = [
        (says(values, on_device=lambda batch, values=values: torch.from_numpy(values)), weight)
        for values, weight in ((LOGITS, 1.0), (LOGITS[:, ::-1].copy(), 3.0))
    ]
    joined = join(members, combine=combine, classes=CLASSES)
    assert joined.on_device is not None and joined.name == "0.25 t + 0.75 t"
    np.testing.assert_allclose(joined.on_device(torch.zeros(2)).numpy(), joined.ask(PROBE, None), atol=1e-6)


def test_an_ensemble_answers_for_whole_samples_where_a_member_does() -> None:
    members = [(says(LOGITS, on_device=torch.from_numpy), 1.0), (says(LOGITS, by_sample=True), 1.0)]
    joined = join(members, combine="probabilities", classes=CLASSES)
    assert joined.by_sample and joined.on_device is None and joined.parameters is None


def test_the_order_that_explains_the_labels_is_found_and_noise_explains_nothing() -> None:
    labels = np.arange(300) % 3
    assert reordered((labels + 1) % 3, labels, CLASSES) == ("c", "a", "b")
    noise = np.random.default_rng(0).integers(0, 3, 300)
    assert reordered(noise, labels, CLASSES) is None
